//! How a request authenticates.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OAuth2;
use crate::{address, connection::SecretKeyRef, header};

/// The name of a header, as HTTP has it.
pub(super) const HEADER_NAME: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

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
    /// Sends the secret as a query parameter.
    Query(QueryAuth),
    /// Fetches an access token from a token endpoint (OAuth 2.0), and sends it as `Authorization: Bearer <token>`.
    #[serde(rename = "oauth2")]
    OAuth2(Box<OAuth2>),
    /// Signs each request with AWS Signature Version 4.
    #[serde(rename = "sigv4")]
    SigV4(SigV4),
}

impl HttpAuth {
    /// The Secrets that it names.
    pub(in crate::connection) fn secrets(&self) -> Vec<&SecretKeyRef> {
        match self {
            Self::Bearer(token) => vec![token],
            Self::Basic(basic) => vec![&basic.password],
            Self::Header(header) => vec![&header.value],
            Self::Query(query) => vec![&query.value],
            Self::OAuth2(oauth2) => oauth2.secrets(),
            Self::SigV4(sigv4) => {
                let keys = [&sigv4.access_key_id, &sigv4.secret_access_key];
                keys.into_iter().chain(&sigv4.session_token).collect()
            }
        }
    }
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
#[x_kube(validation = Rule::new(header::NAME_RULE).message(header::OF_THE_CLIENT_MESSAGE))]
pub struct HeaderAuth {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128), regex(pattern = HEADER_NAME))]
    pub name: String,
    /// Secret that holds the value.
    pub value: SecretKeyRef,
}

/// Name and value of the query parameter.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryAuth {
    /// Name of the query parameter.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Secret that holds the value.
    pub value: SecretKeyRef,
}

/// Keys and scope of AWS signatures.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.stsURL) || has(self.roleARN)").message("stsURL belongs to roleARN"))]
#[x_kube(validation = Rule::new(address::STS_URL_RULE).message(address::CREDENTIALS))]
pub struct SigV4 {
    /// Region, such as `eu-central-1`.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9-]+$"))]
    pub region: String,
    /// Service, such as `s3` or `execute-api`.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9-]+$"))]
    pub service: String,
    /// Secret that holds the access key ID.
    #[serde(rename = "accessKeyID")]
    pub access_key_id: SecretKeyRef,
    /// Secret that holds the secret access key.
    pub secret_access_key: SecretKeyRef,
    /// Secret that holds the session token of temporary credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretKeyRef>,
    /// Role to assume with the keys, such as `arn:aws:iam::123456789012:role/reports`. Requests are then signed with
    /// temporary credentials of the role, which are kept in memory until shortly before they end.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 20, max = 2048),
        regex(pattern = "^arn:[A-Za-z0-9-]+:iam::[0-9]{12}:role/[!-~]+$")
    )]
    pub role_arn: Option<String>,
    /// Address of the Security Token Service that gives the credentials of the role. Defaults to
    /// `https://sts.<region>.amazonaws.com/`. Other partitions and private endpoints need it.
    #[serde(default, rename = "stsURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub sts_url: Option<String>,
}
