//! `git`: a git remote.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef};
use crate::address;

/// Credentials for a git remote. The scheme of its address determines which of them are used.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(address::REMOTE_RULE).message(address::CREDENTIALS))]
pub struct GitConnection {
    /// Address of the remote: `https://`, `http://`, `ssh://`, or `git@host:path`. With it, `git` steps can name the
    /// Connection, and the credentials are sent to no other address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
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
    /// Author of the commits of `git` steps. Defaults to Signoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<GitAuthor>,
    /// Private key with which commits of `git` steps are signed, as SSH signatures: Ed25519, ECDSA or RSA, in OpenSSH
    /// format without a passphrase. Do not use a key that a Repository accepts in `verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<SecretKeyRef>,
}

/// Author of commits.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitAuthor {
    /// Name.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[^<>\\x00-\\x1f]+$"))]
    pub name: String,
    /// E-mail address.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[^<>\\x00-\\x20]+$"))]
    pub email: String,
}

impl ConnectionType for GitConnection {
    /// Without one, the Repository says it.
    fn address(&self) -> Option<&str> {
        self.url.as_deref()
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        let Self {
            url: _,
            username: _,
            password,
            private_key,
            known_hosts,
            author: _,
            signing_key,
        } = self;
        [password, private_key, known_hosts, signing_key]
            .into_iter()
            .flatten()
            .collect()
    }
}
