//! Access tokens from a token endpoint.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{address, connection::SecretKeyRef};

/// Where access tokens are fetched, and how. A token is kept in memory until shortly before it ends, and fetched anew once
/// if the API answers 401.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(address::TOKEN_URL_RULE).message(address::CREDENTIALS))]
#[x_kube(
    validation = Rule::new("self.grant != 'ClientCredentials' || has(self.clientID)").message("the grant ClientCredentials needs clientID")
)]
#[x_kube(
    validation = Rule::new("(self.grant == 'RefreshToken') == has(self.refreshToken)").message("refreshToken belongs to the grant RefreshToken, which needs it")
)]
#[x_kube(
    validation = Rule::new("(self.grant == 'JwtBearer') == has(self.privateKey)").message("privateKey belongs to the grant JwtBearer, which needs it")
)]
#[x_kube(
    validation = Rule::new("self.grant == 'JwtBearer' ? has(self.issuer) || has(self.clientID) : !has(self.keyID) && !has(self.issuer) && !has(self.subject)").message("keyID, issuer and subject belong to the grant JwtBearer, which needs issuer or clientID")
)]
pub struct OAuth2 {
    /// How a token is obtained.
    pub grant: OAuth2Grant,
    /// Address of the token endpoint. It is called through the same TLS settings as the API.
    #[serde(rename = "tokenURL")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub token_url: String,
    /// Client ID.
    #[serde(default, rename = "clientID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub client_id: Option<String>,
    /// Secret that holds the client secret. It is sent by HTTP basic authentication, or in the form if the endpoint refuses
    /// that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretKeyRef>,
    /// Scopes to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 512), regex(pattern = "^[!#-\\[\\]-~]+$"))
    )]
    pub scopes: Option<Vec<String>>,
    /// For whom the token is. For `JwtBearer`, the audience of the assertion, which defaults to `tokenURL`. Otherwise the
    /// parameter `audience`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub audience: Option<String>,
    /// Further parameters of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_texts::<32, 4096>")]
    pub parameters: Option<BTreeMap<String, String>>,
    /// Secret that holds the refresh token. If the endpoint returns a new one, the operator writes it there, which needs
    /// the verb `patch` on the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<SecretKeyRef>,
    /// Secret that holds the private key that signs assertions: RSA (RS256) or P-256 (ES256), as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretKeyRef>,
    /// ID of the private key, which assertions name as `kid`.
    #[serde(default, rename = "keyID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub key_id: Option<String>,
    /// Issuer of assertions. Defaults to `clientID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub issuer: Option<String>,
    /// Subject of assertions. Defaults to the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub subject: Option<String>,
}

/// How an access token is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OAuth2Grant {
    /// With the client's own credentials.
    ClientCredentials,
    /// With a refresh token that somebody obtained before.
    RefreshToken,
    /// With a signed assertion (RFC 7523), such as that of a service account.
    JwtBearer,
}

impl OAuth2 {
    /// The Secrets that it names.
    pub(super) fn secrets(&self) -> Vec<&SecretKeyRef> {
        [&self.client_secret, &self.refresh_token, &self.private_key]
            .into_iter()
            .flatten()
            .collect()
    }
}
