//! `webhook`: a receiver of signed messages.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef, Tls};
use crate::{address, header};

/// A receiver of messages that are signed as Standard Webhooks says.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(address::URL_RULE).message(address::CREDENTIALS))]
#[x_kube(validation = Rule::new(address::WEBHOOK_URL_RULE).message(address::BASE_MESSAGE))]
#[x_kube(
    validation = Rule::new(header::WEBHOOK_HEADERS_RULE).message("credentials, headers of the connection and those of the signature are refused")
)]
pub struct WebhookConnection {
    /// Address to which the `path` of a step is appended: http or https, without query or fragment.
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub url: String,
    /// Secret that signs: `whsec_` and base64, or any other text of at least 16 bytes.
    pub secret: SecretKeyRef,
    /// Headers that every message carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<64, 4096>")]
    pub headers: Option<BTreeMap<String, String>>,
    /// How https connections are made: own certificate authorities, and a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl ConnectionType for WebhookConnection {
    fn address(&self) -> Option<&str> {
        Some(&self.url)
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        let tls = self.tls.iter().flat_map(Tls::secrets);
        std::iter::once(&self.secret).chain(tls).collect()
    }
}
