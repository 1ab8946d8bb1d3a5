//! How TLS connections are made.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyRef;

/// Certificate authorities, and a client certificate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.certificate) == has(self.key)").message("certificate and key belong together")
)]
#[x_kube(validation = Rule::new("!has(self.serverName) || has(self.ca)").message("serverName needs ca"))]
pub struct Tls {
    /// Secret that holds the certificate authorities, as PEM. No others are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKeyRef>,
    /// Secret that holds the client certificate and its chain, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SecretKeyRef>,
    /// Secret that holds the private key of the client certificate, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretKeyRef>,
    /// Name that the certificate of the server must have, if it is not the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")
    )]
    pub server_name: Option<String>,
}

impl Tls {
    /// The Secrets that it names.
    pub(super) fn secrets(&self) -> Vec<&SecretKeyRef> {
        [&self.ca, &self.certificate, &self.key]
            .into_iter()
            .flatten()
            .collect()
    }
}
