//! Notifications: messages about the questions and the ends of runs.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Json, name::ObjectName};

/// Most notifications of a flow.
pub const MAX_NOTIFICATIONS: usize = 16;

/// Messages about runs of the flow, through one channel. Runs of a draft send none. A message that cannot be sent never
/// fails a run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Events that a message is sent about.
    #[schemars(length(min = 1, max = 6))]
    pub events: Vec<NotificationEvent>,
    /// Condition: one `${…}` expression over `event`, `run`, `inputs`, `release` and `trigger` that returns true or false.
    /// If it is false, no message is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
    /// Time for which messages to the same recipients are collected, over all runs of the flow, and then sent as one. At
    /// most 24h. Without it, a message is sent at once, and further ones of the next 30 seconds are sent together. Not for
    /// `webhook` and `cloudEvent`, which get each message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<HumanDuration>,
    /// Channel. Exactly one is set.
    #[serde(flatten)]
    pub channel: NotificationChannel,
}

/// Event that a message is sent about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NotificationEvent {
    /// A question was put to people.
    ApprovalOpened,
    /// A question is still open when a time of its `remindEvery` comes.
    ApprovalReminder,
    /// More people may decide on a question, as its `escalate` says.
    ApprovalEscalated,
    /// A question was answered, expired or was withdrawn.
    ApprovalClosed,
    /// The first step of a run began.
    RunStarted,
    /// A run ended.
    RunEnded,
}

impl NotificationEvent {
    /// All events.
    pub const ALL: [Self; 6] = [
        Self::ApprovalOpened,
        Self::ApprovalReminder,
        Self::ApprovalEscalated,
        Self::ApprovalClosed,
        Self::RunStarted,
        Self::RunEnded,
    ];

    /// Whether it is about a question.
    pub fn is_of_approval(self) -> bool {
        match self {
            Self::ApprovalOpened
            | Self::ApprovalReminder
            | Self::ApprovalEscalated
            | Self::ApprovalClosed => true,
            Self::RunStarted | Self::RunEnded => false,
        }
    }

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
    /// Sends a `CloudEvent` with POST.
    CloudEvent(CloudEventNotification),
}

/// A message to a Slack channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlackNotification {
    /// Name of a `slack` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Name or ID of the channel.
    #[schemars(length(min = 1, max = 4096))]
    pub channel: String,
    /// Text of the message. Defaults to one that says what happened and how to look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A mail.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailNotification {
    /// Name of an `smtp` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Addresses of the recipients. An element that is one `${…}` may give a list.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 4096)))]
    pub to: Vec<String>,
    /// Subject. Defaults to one that says what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub subject: Option<String>,
    /// Text of the mail. Defaults to one that says what happened and how to look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A message to a Microsoft Teams channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamsNotification {
    /// Name of a `teams` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Text of the message. Defaults to one that says what happened and how to look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A message to a Discord channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscordNotification {
    /// Name of a `discord` Connection in the run's namespace.
    pub connection: ObjectName,
    /// Text of the message. Defaults to one that says what happened and how to look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub text: Option<String>,
}

/// A JSON message to an address.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookNotification {
    /// Name of a `webhook` or `http` Connection in the run's namespace. A `webhook` Connection signs the message.
    pub connection: ObjectName,
    /// Path that is appended to the address of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// The message. Strings may contain `${…}` expressions. Defaults to an object with `event` and `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Json>,
}

/// A `CloudEvent` 1.0 in JSON. Its `id` is made of the run and the event, so a repetition has the same.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudEventNotification {
    /// Name of a `webhook` or `http` Connection in the run's namespace. A `webhook` Connection signs the event.
    pub connection: ObjectName,
    /// Path that is appended to the address of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// Type of the event. Defaults to `dev.signoff.` and the name of the event, such as `dev.signoff.ApprovalOpened`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^$\x00-\x1f\x7f]+$"))]
    pub type_: Option<String>,
    /// Source of the event, a URI reference. Defaults to one that names the namespace and the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub source: Option<String>,
    /// Subject of the event. Defaults to the name of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub subject: Option<String>,
    /// Data of the event. Defaults to an object with `event` and `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}
