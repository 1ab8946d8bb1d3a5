//! `notify`: tell people, through one channel. Each channel is a file.

mod webhook;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::webhook::NotifyWebhook;
use super::{Kind, Rules};

/// A message and where it is sent. Exactly one channel is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NotifyStep {
    /// Sends a JSON message to an address with POST.
    Webhook(NotifyWebhook),
}

impl Kind for NotifyStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "notify",
            attempts: true,
            retries: false,
            delivery: true,
            has_effect: true,
            is_billable: false,
        }
    }
}
