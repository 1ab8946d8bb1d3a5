//! `http`: an HTTP API.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef};
use crate::address;

/// Base address of an HTTP API and how requests authenticate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(address::BASE_URL_RULE).message(address::CREDENTIALS))]
pub struct HttpConnection {
    /// Address to which the `path` of a step is appended: http or https, without query or fragment.
    #[serde(rename = "baseURL")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub base_url: String,
    /// How requests authenticate. Without it, they carry no credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
}

impl ConnectionType for HttpConnection {
    fn address(&self) -> Option<&str> {
        Some(&self.base_url)
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        match &self.auth {
            None => vec![],
            Some(HttpAuth::Bearer(token)) => vec![token],
            Some(HttpAuth::Basic(basic)) => vec![&basic.password],
            Some(HttpAuth::Header(header)) => vec![&header.value],
        }
    }
}

/// How an HTTP request authenticates. Exactly one method is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HttpAuth {
    /// Sends `Authorization: Bearer <token>`.
    Bearer(SecretKeyRef),
    /// HTTP basic authentication.
    Basic(BasicAuth),
    /// Sends the secret as the value of a header, such as `X-Api-Key`.
    Header(HeaderAuth),
}

/// User name and password.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// User name.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// Secret that holds the password.
    pub password: SecretKeyRef,
}

/// Name and value of the header.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuth {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"))]
    pub name: String,
    /// Secret that holds the value.
    pub value: SecretKeyRef,
}
