//! Messages: rendered for their channel, and collected into requests.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{ChannelPlan, Happened, Known, NotMade, event, run, wording};
use crate::{
    effect::{EmailRequest, HttpBody, HttpChannel, HttpRequest, HttpTarget, Request},
    expression::{Scope, Template},
    facts::{EffectError, Response},
    kinds::{
        self,
        notify::{self, words},
    },
};
use signoff_api::{name::ObjectName, step::HttpMethod, text::visible};

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Where to.
    pub to: Destination,
    /// Its text, escaped for its channel.
    pub text: String,
    /// What it says in one line, for the subject of a mail.
    pub subject: String,
    /// What it says to programs.
    pub json: Value,
}

/// Where a message goes. Messages to the same place are collected.
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
    /// An address.
    Webhook(ObjectName, String),
}

impl Destination {
    /// The Connection that it is reached through.
    pub fn connection(&self) -> &ObjectName {
        match self {
            Self::Slack(name, _)
            | Self::Email(name, _)
            | Self::Teams(name)
            | Self::Discord(name)
            | Self::Webhook(name, _) => name,
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
        }
    }
}

/// Most messages that are written out in one.
const MOST_IN_ONE: usize = 20;

pub(super) fn of(
    channel: &ChannelPlan,
    scope: &Scope,
    known: Known<'_>,
    happened: &Happened,
) -> Result<Message, NotMade> {
    let (to, text, subject, json) = match channel {
        ChannelPlan::Slack {
            connection,
            channel,
            text,
        } => {
            let to = Destination::Slack(connection.clone(), channel.text(scope)?);
            (
                to,
                words_of(text.as_ref(), scope, known, happened, words::slack)?,
                None,
                None,
            )
        }
        ChannelPlan::Teams { connection, text } => {
            let text = words_of(text.as_ref(), scope, known, happened, words::teams)?;
            (Destination::Teams(connection.clone()), text, None, None)
        }
        ChannelPlan::Discord { connection, text } => {
            let text = words_of(text.as_ref(), scope, known, happened, words::discord)?;
            (Destination::Discord(connection.clone()), text, None, None)
        }
        ChannelPlan::Email {
            connection,
            to,
            subject,
            text,
        } => {
            let to = match to {
                Some(to) => {
                    notify::addresses("to", Some(to), scope).map_err(|why| NotMade::Invalid(why.message))?
                }
                None => vec![],
            };
            if to.is_empty() || to.len() > notify::MOST_RECIPIENTS {
                return Err(NotMade::Invalid(format!(
                    "to: a mail has 1 to {} recipients",
                    notify::MOST_RECIPIENTS
                )));
            }
            let subject = subject.as_ref().map(|subject| subject.text(scope)).transpose()?;
            let text = words_of(text.as_ref(), scope, known, happened, words::plain)?;
            (Destination::Email(connection.clone(), to), text, subject, None)
        }
        ChannelPlan::Webhook {
            connection,
            path,
            message,
        } => {
            let path = path
                .as_ref()
                .map(|path| path.text(scope))
                .transpose()?
                .unwrap_or_default();
            let message = message.as_ref().map(|message| message.value(scope)).transpose()?;
            (
                Destination::Webhook(connection.clone(), path),
                String::new(),
                None,
                message,
            )
        }
    };
    let subject = subject.unwrap_or_else(|| wording::headline(known, happened, ToOwned::to_owned));
    Ok(Message {
        to,
        text,
        subject: words::cut(visible(&subject).into_owned(), words::SUBJECT),
        json: json.unwrap_or_else(|| json!({ "event": event(known, happened), "run": run(known) })),
    })
}

fn words_of(
    text: Option<&Template>,
    scope: &Scope,
    known: Known<'_>,
    happened: &Happened,
    escape: impl Fn(&str) -> String,
) -> Result<String, NotMade> {
    let text = match text {
        None => wording::text(known, happened, escape),
        Some(text) => text.text_with(scope, |value| escape(&value))?,
    };
    if text.trim().is_empty() {
        return Err(NotMade::Invalid("text: it is empty".to_owned()));
    }
    Ok(text)
}

/// The requests that send messages to one place: one for people, and one for each message for programs.
pub fn requests(to: &Destination, messages: &[Message]) -> Vec<Request> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        return vec![];
    };
    let text = |most: usize| words::cut(collected(messages), most);
    vec![match to {
        Destination::Slack(name, channel) => post(
            (HttpChannel::Slack, name),
            notify::SLACK_PATH,
            notify::slack_message(channel, &text(words::SLACK), None),
        ),
        Destination::Teams(name) => post(
            (HttpChannel::Teams, name),
            "",
            notify::teams_message(&text(words::TEAMS)),
        ),
        Destination::Discord(name) => post(
            (HttpChannel::Discord, name),
            "",
            notify::discord_message(&text(words::DISCORD)),
        ),
        Destination::Email(name, to) => Request::Email(EmailRequest {
            connection: name.clone(),
            bound: None,
            to: to.clone(),
            cc: vec![],
            reply_to: None,
            subject: if messages.len() == 1 {
                first.subject.clone()
            } else {
                let more = format!("{} (and {} more)", last.subject, messages.len() - 1);
                words::cut(more, words::SUBJECT)
            },
            text: text(words::EMAIL),
            attachments: vec![],
        }),
        Destination::Webhook(name, path) => {
            let each = messages.iter().map(|message| {
                let through = (HttpChannel::Webhook, name);
                post(through, path, message.json.clone())
            });
            return each.collect();
        }
    }]
}

/// The texts of messages as one. Of many, the first are written out.
fn collected(messages: &[Message]) -> String {
    let shown = messages
        .iter()
        .take(MOST_IN_ONE)
        .map(|message| message.text.as_str());
    let mut text = shown.collect::<Vec<_>>().join("\n\n");
    if messages.len() > MOST_IN_ONE {
        text = format!("{text}\n\nand {} more", messages.len() - MOST_IN_ONE);
    }
    if messages.len() > 1 {
        text = format!("{} notifications\n\n{text}", messages.len());
    }
    text
}

fn post((channel, name): (HttpChannel, &ObjectName), path: &str, body: Value) -> Request {
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
        body: Some(HttpBody::Json(body)),
        redirects: 0,
        save: None,
    })
}

/// What is wrong with the answer to a message, if it was not taken.
pub fn refused(request: &Request, response: &Response, now: Timestamp) -> Option<EffectError> {
    let Response::Http(response) = response else {
        return None;
    };
    let is_slack = matches!(
        request,
        Request::Http(HttpRequest {
            target: HttpTarget::Channel {
                channel: HttpChannel::Slack,
                ..
            },
            ..
        })
    );
    let failed = kinds::http::failed_status(response, &[], now);
    failed.or_else(|| {
        (is_slack && response.body["ok"] != true).then(|| notify::refused_by_slack(response, now))
    })
}
