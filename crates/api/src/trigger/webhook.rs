//! `webhook`: start runs for requests to the gateway.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Json, connection::SecretKeyRef};

/// Starts a run for each request to `/v1/triggers/<namespace>/<flow>/<trigger>` of the gateway. The same event starts one
/// run, however often it is sent.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTrigger {
    /// How the sender proves who it is. Exactly one way is set.
    pub auth: WebhookAuth,
    /// JSON Schema of the body. A body that does not match is refused with status 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// One `${…}` expression over `body` and `headers` that returns true or false. If it is false, the request is accepted
    /// and starts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub when: Option<String>,
    /// Key that tells one event from another: text with `${…}` expressions over `body`, `headers` and `item`. Defaults to the
    /// sender's id of the delivery, such as `webhook-id` or `X-GitHub-Delivery`. Another body with the same text is refused
    /// with status 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub dedupe: Option<String>,
    /// Key by which waits take events: text with `${…}` expressions over `body`, `headers` and `item`. A `wait` of a run
    /// takes an event whose key it names in `event.keys`. Waits take no event whose key is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub key: Option<String>,
    /// When an event starts a run. `Always`, the default: also if a wait takes it. `Unmatched`: only if no wait takes it.
    /// `Never`: events are only for waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<EventStart>,
    /// One `${…}` expression over `body` and `headers` that returns a list of at most 100 items. Each `item` starts a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub each: Option<String>,
}

/// When an event starts a run. `Always`, the default: also if a wait takes it. `Unmatched`: only if no wait takes it.
/// `Never`: events are only for waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventStart {
    /// Each event starts a run, also if a wait takes it.
    #[default]
    Always,
    /// An event that no wait takes starts a run.
    Unmatched,
    /// No event starts a run.
    Never,
}

/// How the sender proves who it is. The secret has at least 16 bytes. Exactly one way is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WebhookAuth {
    /// Secret of Standard Webhooks signatures (`webhook-signature`).
    StandardWebhooks(SecretKeyRef),
    /// Secret of a webhook of GitHub, Gitea or Forgejo (`X-Hub-Signature-256`).
    Github(SecretKeyRef),
    /// Signing token or secret token of a webhook of GitLab.
    Gitlab(SecretKeyRef),
    /// Signing secret of a Slack app (`X-Slack-Signature`).
    Slack(SecretKeyRef),
    /// Token that the sender shows (`Authorization: Bearer`).
    Bearer(SecretKeyRef),
}

impl WebhookAuth {
    /// The Secret.
    pub fn secret(&self) -> &SecretKeyRef {
        match self {
            Self::StandardWebhooks(secret)
            | Self::Github(secret)
            | Self::Gitlab(secret)
            | Self::Slack(secret)
            | Self::Bearer(secret) => secret,
        }
    }
}
