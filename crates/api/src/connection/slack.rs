//! `slack`: a Slack workspace.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef};
use crate::address;

/// A Slack workspace, and the app that writes there.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(address::OPTIONAL_BASE_URL_RULE).message(address::CREDENTIALS))]
#[x_kube(validation = Rule::new(address::OPTIONAL_BASE_RULE).message(address::BASE_MESSAGE))]
pub struct SlackConnection {
    /// Secret with the token of the app (`xoxb-…`). It needs the scope `chat:write`.
    pub token: SecretKeyRef,
    /// Address of the API. Defaults to `https://slack.com/api`.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub base_url: Option<String>,
}

impl SlackConnection {
    /// The address of the API.
    pub fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or("https://slack.com/api")
    }
}

impl ConnectionType for SlackConnection {
    fn address(&self) -> Option<&str> {
        Some(self.base_url())
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        vec![&self.token]
    }
}
