//! From notifications to who is told of what.

use std::time::Duration;

use serde_json::Value;
use signoff_expression::Declarations;

use super::compile::Compiler;
use crate::notification::{ChannelPlan, NotificationPlan};
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
    let declarations = compiler.environment.declarations_of_notification();
    let all = notifications.iter().enumerate();
    all.map(|(i, notification)| {
        one(
            compiler,
            &format!("notifications[{i}]"),
            notification,
            &declarations,
        )
    })
    .collect()
}

fn one(
    compiler: &mut Compiler<'_>,
    at: &str,
    notification: &Notification,
    declarations: &Declarations,
) -> NotificationPlan {
    let Notification {
        on,
        when,
        group,
        channel,
    } = notification;
    if on.is_empty() {
        compiler.problem(format!("{at}.on"), "a notification is about something");
    }
    let group = group.as_ref().map_or(Duration::ZERO, HumanDuration::duration);
    if group > LONGEST_GROUP {
        compiler.problem(format!("{at}.group"), "messages are collected for at most 24h");
    }
    let when = when
        .as_ref()
        .and_then(|when| compiler.condition(&format!("{at}.when"), when, declarations));
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
                path,
                message: message.and_then(|message| {
                    compiler.json(&format!("{at}.webhook.message"), &message.0, declarations)
                }),
            }
        }
    };
    NotificationPlan {
        on: on.iter().copied().collect(),
        when,
        group,
        channel,
    }
}
