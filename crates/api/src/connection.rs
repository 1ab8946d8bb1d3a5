//! Connection: where a step or a Repository connects, and which Secret it uses.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, canonical,
    name::{ObjectName, SecretKey},
};

/// Where a step or a Repository connects, and which Secret it uses. The Secret is in the namespace of the Connection.
/// It is read each time a call is made.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Connection",
    plural = "connections",
    shortname = "conn",
    category = "signoff",
    namespaced,
    derive = "PartialEq",
    doc = "Where a step or a Repository connects, and which Secret it uses.",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.http.baseURL"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSpec {
    /// What the Connection connects to. Exactly one kind is set.
    #[serde(flatten)]
    pub kind: ConnectionKind,
}

impl ConnectionSpec {
    /// Digest of all it says: a change of it is a change of where a step calls, or as whom.
    ///
    /// # Errors
    /// When it has no JSON form, which no spec that was read lacks.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(canonical::digest_of_value(&serde_json::to_value(self)?))
    }

    /// The address that it leads to, if it is one to an HTTP API.
    pub fn address(&self) -> Option<&str> {
        match &self.kind {
            ConnectionKind::Http(http) => Some(&http.base_url),
            ConnectionKind::Git(_) => None,
        }
    }
}

/// What a Connection connects to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionKind {
    /// An HTTP API.
    Http(HttpConnection),
    /// A git remote.
    Git(GitConnection),
}

/// Base address of an HTTP API and how requests authenticate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(super::address::BASE_URL_RULE).message(super::address::CREDENTIALS))]
pub struct HttpConnection {
    /// Address to which the `path` of a step is appended: http or https, without query or fragment.
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    #[serde(rename = "baseURL")]
    pub base_url: String,
    /// How requests authenticate. Without it, they carry no credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
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

/// One key of a Secret in the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: ObjectName,
    /// Key in the `data` of the Secret.
    pub key: SecretKey,
}

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
