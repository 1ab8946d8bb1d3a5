//! `http`: an HTTP API.

mod auth;
mod oauth2;

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    auth::{BasicAuth, HeaderAuth, HttpAuth, QueryAuth, SigV4},
    oauth2::{OAuth2, OAuth2Grant},
};
use super::{ConnectionType, SecretKeyRef, Tls};
use crate::{address, header};

/// Base address of an HTTP API and how requests authenticate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(address::BASE_URL_RULE).message(address::CREDENTIALS))]
#[x_kube(validation = Rule::new(address::BASE_RULE).message(address::BASE_MESSAGE))]
#[x_kube(validation = Rule::new(header::IDEMPOTENCY_RULE).message(header::OF_THE_CLIENT_MESSAGE))]
#[x_kube(
    validation = Rule::new(header::HEADERS_RULE).message("credentials belong to auth, and headers of the connection are set by Signoff")
)]
#[x_kube(validation = Rule::new(header::SAME_RULE).message(header::SAME_MESSAGE))]
#[x_kube(validation = Rule::new(header::SAME_AUTH_RULE).message(header::SAME_MESSAGE))]
pub struct HttpConnection {
    /// Address to which the `path` of a step is appended: http or https, without query or fragment.
    #[serde(rename = "baseURL")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub base_url: String,
    /// How requests authenticate. Without it, they carry no credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
    /// Headers that every request carries, such as a version of the API. A header of the step with the same name is not
    /// sent. Credentials belong to `auth`. `Host`, `Content-Length` and others of the connection itself, and the header of
    /// the idempotency key, are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 4096>")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Name of the header with the idempotency key. Defaults to `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = auth::HEADER_NAME))]
    pub idempotency_header: Option<String>,
    /// How https connections are made: own certificate authorities, and a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl ConnectionType for HttpConnection {
    fn address(&self) -> Option<&str> {
        Some(&self.base_url)
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        let auth = self.auth.iter().flat_map(HttpAuth::secrets);
        auth.chain(self.tls.iter().flat_map(Tls::secrets)).collect()
    }
}
