//! `discord`: a Discord channel.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef};

/// A Discord channel. Messages are posted to a webhook of the channel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscordConnection {
    /// Secret with the address of the webhook. Everybody who knows the address can post to the channel.
    pub url: SecretKeyRef,
}

impl ConnectionType for DiscordConnection {
    /// It is a secret.
    fn address(&self) -> Option<&str> {
        None
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        vec![&self.url]
    }
}
