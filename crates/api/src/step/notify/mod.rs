//! `notify`: tell people, through one channel. Each channel is a file.

mod cloud_event;
mod discord;
mod email;
mod slack;
mod teams;
mod webhook;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    cloud_event::NotifyCloudEvent, discord::NotifyDiscord, email::NotifyEmail, slack::NotifySlack,
    teams::NotifyTeams, webhook::NotifyWebhook,
};
use super::{Kind, Rules};

/// A message and where it is sent. Exactly one channel is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NotifyStep {
    /// Posts a message to a Slack channel.
    Slack(NotifySlack),
    /// Sends a mail.
    Email(NotifyEmail),
    /// Posts a message to a Microsoft Teams channel.
    Teams(NotifyTeams),
    /// Posts a message to a Discord channel.
    Discord(NotifyDiscord),
    /// Sends a JSON message to an address with POST.
    Webhook(NotifyWebhook),
    /// Sends a `CloudEvent` with POST.
    CloudEvent(NotifyCloudEvent),
}

impl Kind for NotifyStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "notify",
            attempts: true,
            delivery: true,
            has_effect: true,
            is_billable: false,
        }
    }
}
