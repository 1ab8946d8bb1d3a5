//! `git`: a git remote.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef};

/// Credentials for a git remote. The scheme of the Repository's `url` determines which of them are used.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitConnection {
    /// User name for http(s) and ssh. Defaults to `git`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// Password or access token for http(s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretKeyRef>,
    /// Private key for ssh, in OpenSSH or PEM format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretKeyRef>,
    /// `known_hosts` lines for ssh. A host without a matching line is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<SecretKeyRef>,
}

impl ConnectionType for GitConnection {
    /// The Repository says it.
    fn address(&self) -> Option<&str> {
        None
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        let Self {
            username: _,
            password,
            private_key,
            known_hosts,
        } = self;
        [password, private_key, known_hosts]
            .into_iter()
            .flatten()
            .collect()
    }
}
