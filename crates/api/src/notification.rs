//! Notifications: who is told of the questions and the ends of runs.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Json, name::ObjectName};

/// Most notifications of a flow.
pub const MAX_NOTIFICATIONS: usize = 16;

/// People who are told of something, through one channel. A message that cannot be sent never fails a run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// What people are told of.
    #[schemars(length(min = 1, max = 6))]
    pub on: Vec<NotificationEvent>,
    /// Condition: one `${…}` expression over `event`, `run`, `inputs`, `release` and `trigger` that returns true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
    /// Time for which messages to the same place are collected, over all runs of the flow. They are sent as one message.
    /// At most 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<HumanDuration>,
    /// Channel. Exactly one is set.
    #[serde(flatten)]
    pub channel: NotificationChannel,
}

/// What people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NotificationEvent {
    /// People are asked.
    ApprovalOpened,
    /// People are still asked (`remindEvery` of the approval).
    ApprovalReminder,
    /// More people may decide (`escalate` of the approval).
    ApprovalEscalated,
    /// A question is over.
    ApprovalClosed,
    /// A run begins.
    RunStarted,
    /// A run has ended.
    RunEnded,
}

impl NotificationEvent {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApprovalOpened => "ApprovalOpened",
            Self::ApprovalReminder => "ApprovalReminder",
            Self::ApprovalEscalated => "ApprovalEscalated",
            Self::ApprovalClosed => "ApprovalClosed",
            Self::RunStarted => "RunStarted",
            Self::RunEnded => "RunEnded",
        }
    }
}

impl fmt::Display for NotificationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Channel of a notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NotificationChannel {
    /// Posts a message to a Slack channel.
    Slack(SlackNotification),
    /// Sends a mail.
    Email(EmailNotification),
    /// Posts a message to a Microsoft Teams channel.
    Teams(TeamsNotification),
    /// Posts a message to a Discord channel.
    Discord(DiscordNotification),
    /// Sends a JSON message with POST.
    Webhook(WebhookNotification),
}

/// A message to a Slack channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlackNotification {
    /// Name of a `slack` Connection.
    pub connection: ObjectName,
    /// Name or ID of the channel.
    #[schemars(length(min = 1, max = 4096))]
    pub channel: String,
    /// The message, as in a `notify` step. By default it says what happened and how to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A mail.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailNotification {
    /// Name of an `smtp` Connection.
    pub connection: ObjectName,
    /// Addresses of the recipients, as in a `notify` step.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 4096)))]
    pub to: Vec<String>,
    /// Subject. By default it says what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub subject: Option<String>,
    /// The message. By default it says what happened and how to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A message to a Microsoft Teams channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamsNotification {
    /// Name of a `teams` Connection.
    pub connection: ObjectName,
    /// The message, as in a `notify` step. By default it says what happened and how to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A message to a Discord channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscordNotification {
    /// Name of a `discord` Connection.
    pub connection: ObjectName,
    /// The message, as in a `notify` step. By default it says what happened and how to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A JSON message to an address. Messages that are collected are sent one by one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookNotification {
    /// Name of a `webhook` or `http` Connection.
    pub connection: ObjectName,
    /// Path that is appended to the address of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// The message. Strings may contain `${…}` expressions. By default it has `event` and `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Json>,
}
