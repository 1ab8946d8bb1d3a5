//! `llm`: a language model behind an HTTP API.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, HttpAuth, SecretKeyRef, Tls};
use crate::address;

/// Address of the API of a language model, its protocol, and how requests authenticate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(address::BASE_URL_RULE).message(address::CREDENTIALS))]
#[x_kube(validation = Rule::new(address::BASE_RULE).message(address::BASE_MESSAGE))]
pub struct LlmConnection {
    /// Protocol of the API.
    pub provider: LlmProvider,
    /// Address of the API with its version, such as `https://api.openai.com/v1` or `https://api.anthropic.com/v1`.
    /// `/chat/completions` or `/messages` is appended.
    #[serde(rename = "baseURL")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub base_url: String,
    /// How requests authenticate. `OpenAI` takes `bearer`. Anthropic takes a `header` with the name `x-api-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
    /// How https connections are made: own certificate authorities, and a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Models that steps may use. Without it, they may use any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 256)))]
    pub models: Option<Vec<String>>,
}

/// Protocol of an API for language models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LlmProvider {
    /// Chat completions as `OpenAI` defines them, which many other servers offer too.
    OpenAI,
    /// Messages as Anthropic defines them.
    Anthropic,
}

impl ConnectionType for LlmConnection {
    fn address(&self) -> Option<&str> {
        Some(&self.base_url)
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        let auth = self.auth.iter().flat_map(HttpAuth::secrets);
        auth.chain(self.tls.iter().flat_map(Tls::secrets)).collect()
    }
}
