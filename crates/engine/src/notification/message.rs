//! Messages: rendered for their channel, and collected into requests.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Asked, ChannelPlan, Known, NotMade, wording};
use crate::{
    effect::{EmailRequest, HttpBody, HttpChannel, HttpRequest, HttpTarget, Request},
    expression::{JsonTemplate, Scope, Template},
    facts::{EffectError, Response},
    kinds::{
        self, Failure,
        notify::{self, words},
    },
};
use signoff_api::{name::ObjectName, run::PendingNotification, step::HttpMethod, text::into_visible};

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Where to.
    pub to: Destination,
    /// Its text, escaped for its channel. For programs, its document as text.
    pub text: String,
    /// What it says in one line, for the subject of a mail.
    pub subject: String,
    /// What it says to programs.
    pub document: Value,
}

/// Where a message goes. Messages to the same place may be sent as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A channel of Slack.
    Slack(ObjectName, String),
    /// Mail addresses.
    Email(ObjectName, Vec<String>),
    /// A channel of Microsoft Teams.
    Teams(ObjectName),
    /// A channel of Discord.
    Discord(ObjectName),
    /// An address that takes JSON.
    Webhook(ObjectName, String),
    /// An address that takes `CloudEvents`.
    CloudEvent(ObjectName, String),
}

impl Destination {
    /// The Connection that it is reached through.
    pub fn connection(&self) -> &ObjectName {
        match self {
            Self::Slack(name, _)
            | Self::Email(name, _)
            | Self::Teams(name)
            | Self::Discord(name)
            | Self::Webhook(name, _)
            | Self::CloudEvent(name, _) => name,
        }
    }

    /// The channel, as manifests name it.
    pub fn channel(&self) -> &'static str {
        match self {
            Self::Slack(..) => "slack",
            Self::Email(..) => "email",
            Self::Teams(_) => "teams",
            Self::Discord(_) => "discord",
            Self::Webhook(..) => "webhook",
            Self::CloudEvent(..) => "cloudEvent",
        }
    }

    /// Whether people read what is sent there. Programs get each message by itself.
    pub fn is_for_people(&self) -> bool {
        match self {
            Self::Slack(..) | Self::Email(..) | Self::Teams(_) | Self::Discord(_) => true,
            Self::Webhook(..) | Self::CloudEvent(..) => false,
        }
    }
}

/// What a message tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) known: Known<'a>,
    pub(super) pending: &'a PendingNotification,
    pub(super) asked: Option<&'a Asked>,
}

impl From<Failure> for NotMade {
    fn from(failure: Failure) -> Self {
        Self::Invalid(failure.message)
    }
}

pub(super) fn of(
    channel: &ChannelPlan,
    scope: &Scope,
    told: Told<'_>,
    document: Value,
) -> Result<Message, NotMade> {
    let headline = || wording::headline(told, ToOwned::to_owned);
    let for_people = |to, subject: Option<String>, text| Message {
        to,
        text,
        subject: words::cut(into_visible(subject.unwrap_or_else(headline)), words::SUBJECT),
        document: document.clone(),
    };
    match channel {
        ChannelPlan::Slack {
            connection,
            channel,
            text,
        } => {
            let to = Destination::Slack(connection.clone(), channel.text(scope)?);
            let text = words_of(text.as_ref(), scope, told, words::slack, "\n")?;
            Ok(for_people(to, None, text))
        }
        ChannelPlan::Teams { connection, text } => {
            // a card takes one line break for none
            let text = words_of(text.as_ref(), scope, told, words::teams, "\n\n")?;
            Ok(for_people(Destination::Teams(connection.clone()), None, text))
        }
        ChannelPlan::Discord { connection, text } => {
            let text = words_of(text.as_ref(), scope, told, words::discord, "\n")?;
            Ok(for_people(Destination::Discord(connection.clone()), None, text))
        }
        ChannelPlan::Email {
            connection,
            to,
            subject,
            text,
        } => {
            let to = notify::addresses("to", to.as_ref(), scope)?;
            if to.is_empty() || to.len() > notify::MOST_RECIPIENTS {
                let message = format!("to: a mail has 1 to {} recipients", notify::MOST_RECIPIENTS);
                return Err(NotMade::Invalid(message));
            }
            let subject = subject.as_ref().map(|subject| subject.text(scope)).transpose()?;
            let text = words_of(text.as_ref(), scope, told, words::plain, "\n")?;
            Ok(for_people(
                Destination::Email(connection.clone(), to),
                subject,
                text,
            ))
        }
        ChannelPlan::Webhook {
            connection,
            path,
            message,
        } => {
            let to = Destination::Webhook(connection.clone(), path_of(path.as_ref(), scope)?);
            let own = present(message.as_ref(), scope)?;
            Ok(for_programs(to, notify::webhook_message(own.unwrap_or(document))))
        }
        ChannelPlan::CloudEvent {
            connection,
            path,
            type_,
            source,
            subject,
            data,
        } => {
            let to = Destination::CloudEvent(connection.clone(), path_of(path.as_ref(), scope)?);
            let text = |template: Option<&Template>| {
                let text = template.map(|template| template.present_text(scope)).transpose();
                text.map(|text| text.flatten().filter(|text| !text.is_empty()))
            };
            let subject = text(subject.as_ref())?.unwrap_or_else(|| told.known.run.name.clone());
            let type_ = type_
                .clone()
                .unwrap_or_else(|| format!("dev.signoff.{}", told.pending.event));
            let of = (
                told.known.run.namespace.as_str(),
                told.known.release.flow.as_str(),
            );
            let data = present(data.as_ref(), scope)?.unwrap_or(document);
            let event =
                notify::new_cloud_event(of, &type_, text(source.as_ref())?, Some(subject), Some(data))?;
            Ok(for_programs(to, event))
        }
    }
}

fn for_programs(to: Destination, document: Value) -> Message {
    Message {
        to,
        text: document.to_string(),
        subject: String::new(),
        document,
    }
}

fn present(template: Option<&JsonTemplate>, scope: &Scope) -> Result<Option<Value>, NotMade> {
    let value = template.map(|template| template.present(scope)).transpose()?;
    Ok(value.flatten())
}

/// A path below the address of a Connection. A value in it leads nowhere else.
fn path_of(path: Option<&Template>, scope: &Scope) -> Result<String, NotMade> {
    let Some(path) = path else {
        return Ok(String::new());
    };
    Ok(kinds::http::rendered_path(path, scope)?)
}

fn words_of(
    text: Option<&Template>,
    scope: &Scope,
    told: Told<'_>,
    escape: impl Fn(&str) -> String,
    line_break: &str,
) -> Result<String, NotMade> {
    let text = match text {
        None => wording::lines(told, escape).join(line_break),
        Some(text) => text.text_with(scope, |value| escape(&value))?,
    };
    if text.trim().is_empty() {
        return Err(NotMade::Invalid("text: it is empty".to_owned()));
    }
    Ok(text)
}

/// The request that sends messages to one place. For programs there is one message.
pub fn request(to: &Destination, messages: &[Message]) -> Option<Request> {
    let (first, newest) = (messages.first()?, messages.last()?);
    let text = |most: usize| words::cut(collected(messages, most), most);
    let request = match to {
        Destination::Slack(name, channel) => {
            let message = notify::slack_message(channel, &text(words::SLACK), None);
            post(
                (HttpChannel::Slack, name),
                notify::SLACK_PATH,
                HttpBody::Json(message),
            )
        }
        Destination::Teams(name) => {
            let message = notify::teams_message(&text(words::TEAMS));
            post((HttpChannel::Teams, name), "", HttpBody::Json(message))
        }
        Destination::Discord(name) => {
            let message = notify::discord_message(&text(words::DISCORD));
            post((HttpChannel::Discord, name), "", HttpBody::Json(message))
        }
        Destination::Email(name, to) => Request::Email(EmailRequest {
            connection: name.clone(),
            bound: None,
            to: to.clone(),
            cc: vec![],
            reply_to: None,
            subject: if messages.len() == 1 {
                first.subject.clone()
            } else {
                let more = format!("{} (and {} more)", newest.subject, messages.len() - 1);
                words::cut(more, words::SUBJECT)
            },
            text: text(words::EMAIL),
            attachments: vec![],
        }),
        Destination::Webhook(name, path) => {
            let body = HttpBody::Json(first.document.clone());
            post((HttpChannel::Webhook, name), path, body)
        }
        Destination::CloudEvent(name, path) => {
            let body = HttpBody::CloudEvent(first.document.clone());
            post((HttpChannel::Webhook, name), path, body)
        }
    };
    Some(request)
}

/// The texts of messages as one. As many as fit are written out, the first ones first.
fn collected(messages: &[Message], most: usize) -> String {
    let [first, others @ ..] = messages else {
        return String::new();
    };
    if others.is_empty() {
        return first.text.clone();
    }
    // what the last line takes
    let room = most.saturating_sub(40);
    let mut text = format!("{} notifications", messages.len());
    let mut length = text.len();
    let mut written = 0;
    for message in messages {
        length = length
            .saturating_add(message.text.chars().count())
            .saturating_add(2);
        if length > room && written > 0 {
            break;
        }
        text.push_str("\n\n");
        text.push_str(&message.text);
        written += 1;
    }
    if written < messages.len() {
        text = format!("{text}\n\nand {} more", messages.len() - written);
    }
    text
}

fn post((channel, name): (HttpChannel, &ObjectName), path: &str, body: HttpBody) -> Request {
    Request::Http(HttpRequest {
        target: HttpTarget::Channel {
            channel,
            name: name.clone(),
            path: path.to_owned(),
            bound: None,
        },
        method: HttpMethod::Post,
        headers: BTreeMap::new(),
        query: BTreeMap::new(),
        body: Some(body),
        redirects: 0,
        save: None,
        // Slack alone says in its answer whether a message was taken
        reads_body: matches!(channel, HttpChannel::Slack),
    })
}

/// What is wrong with the answer to a message, if it was not taken.
pub fn refused(to: &Destination, response: &Response, now: Timestamp) -> Option<EffectError> {
    let response = response.as_http()?;
    kinds::http::failed_status(response, &[], now).or_else(|| {
        let is_refused = matches!(to, Destination::Slack(..)) && response.body["ok"] != json!(true);
        is_refused.then(|| notify::refused_by_slack(response, now))
    })
}
