//! From notifications to plans of messages.

use std::time::Duration;

use super::compile::Compiler;
use crate::{
    expression::Template,
    kinds::http::fragment_of,
    notification::{ChannelPlan, NotificationPlan},
};
use serde_json::Value;
use signoff_api::{
    Definition, HumanDuration,
    notification::{MAX_NOTIFICATIONS, Notification, NotificationChannel},
};

/// Longest time for which messages are collected.
const LONGEST_GROUP: Duration = Duration::from_secs(24 * 3600);

/// Compiles the notifications of a definition. What is wrong with them goes to the compiler.
pub(super) fn compile(compiler: &mut Compiler<'_>, definition: &Definition) -> Vec<NotificationPlan> {
    let notifications = definition.notifications.as_deref().unwrap_or_default();
    if notifications.len() > MAX_NOTIFICATIONS {
        let message = format!(
            "there are {} notifications, at most {MAX_NOTIFICATIONS} may be",
            notifications.len()
        );
        compiler.problem("notifications", message);
        return Vec::new();
    }
    let all = notifications.iter().enumerate();
    all.map(|(i, notification)| one(compiler, &format!("notifications[{i}]"), notification))
        .collect()
}

fn one(compiler: &mut Compiler<'_>, at: &str, notification: &Notification) -> NotificationPlan {
    let Notification {
        events,
        when,
        group,
        channel,
    } = notification;
    if events.is_empty() {
        compiler.problem(
            format!("{at}.events"),
            "a notification is about at least one event",
        );
    }
    let group = group.as_ref().map(HumanDuration::duration);
    if group.is_some_and(|group| group > LONGEST_GROUP) {
        compiler.problem(format!("{at}.group"), "messages are collected for at most 24h");
    }
    let is_for_programs = match channel {
        NotificationChannel::Slack(_)
        | NotificationChannel::Email(_)
        | NotificationChannel::Teams(_)
        | NotificationChannel::Discord(_) => false,
        NotificationChannel::Webhook(_) | NotificationChannel::CloudEvent(_) => true,
    };
    if group.is_some() && is_for_programs {
        let message = "programs get each message: webhook and cloudEvent have no group";
        compiler.problem(format!("{at}.group"), message);
    }
    let mut declarations = compiler.environment.declarations_of_notification(events);
    let when = when
        .as_ref()
        .and_then(|when| compiler.condition(&format!("{at}.when"), when, &declarations));
    if let Some(when) = &when {
        // a message is made only where it holds
        let proven = when.proves(&declarations);
        declarations.facts = declarations.facts.and(proven);
        declarations = declarations.closed();
    }
    let declarations = &declarations;
    let mut text = |field: &str, text: Option<&String>| {
        text.and_then(|text| compiler.template(&format!("{at}.{field}"), text, declarations))
    };
    let channel = match channel {
        NotificationChannel::Slack(slack) => ChannelPlan::Slack {
            connection: slack.connection.clone(),
            channel: text("slack.channel", Some(&slack.channel)).unwrap_or_default(),
            text: text("slack.text", slack.text.as_ref()),
        },
        NotificationChannel::Teams(teams) => ChannelPlan::Teams {
            connection: teams.connection.clone(),
            text: text("teams.text", teams.text.as_ref()),
        },
        NotificationChannel::Discord(discord) => ChannelPlan::Discord {
            connection: discord.connection.clone(),
            text: text("discord.text", discord.text.as_ref()),
        },
        NotificationChannel::Email(email) => {
            let (subject, message) = (
                text("email.subject", email.subject.as_ref()),
                text("email.text", email.text.as_ref()),
            );
            let to = Value::Array(email.to.iter().cloned().map(Value::String).collect());
            ChannelPlan::Email {
                connection: email.connection.clone(),
                to: compiler.json(&format!("{at}.email.to"), &to, declarations),
                subject,
                text: message,
            }
        }
        NotificationChannel::Webhook(webhook) => {
            let path = text("webhook.path", webhook.path.as_ref());
            let message = webhook.message.as_ref();
            ChannelPlan::Webhook {
                connection: webhook.connection.clone(),
                path: whole(compiler, &format!("{at}.webhook.path"), path),
                message: message.and_then(|message| {
                    compiler.json(&format!("{at}.webhook.message"), &message.0, declarations)
                }),
            }
        }
        NotificationChannel::CloudEvent(event) => {
            let path = text("cloudEvent.path", event.path.as_ref());
            let source = text("cloudEvent.source", event.source.as_ref());
            let subject = text("cloudEvent.subject", event.subject.as_ref());
            if event.type_.as_ref().is_some_and(|type_| type_.contains("${")) {
                let message = "the type of an event is literal text";
                compiler.problem(format!("{at}.cloudEvent.type"), message);
            }
            let data = event.data.as_ref();
            ChannelPlan::CloudEvent {
                connection: event.connection.clone(),
                path: whole(compiler, &format!("{at}.cloudEvent.path"), path),
                type_: event.type_.clone(),
                source,
                subject,
                data: data
                    .and_then(|data| compiler.json(&format!("{at}.cloudEvent.data"), &data.0, declarations)),
            }
        }
    };
    NotificationPlan {
        on: events.iter().copied().collect(),
        when,
        group,
        channel,
    }
}

/// A path that is sent whole.
fn whole(compiler: &mut Compiler<'_>, at: &str, path: Option<Template>) -> Option<Template> {
    if let Some(why) = path.as_ref().and_then(fragment_of) {
        compiler.problem(at, why);
    }
    path
}
