//! How requests authenticate. A file for each method that is more than one value.

mod assume_role;
mod jwt;
mod kept;
mod oauth2;
mod sigv4;
mod webhook;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use jiff::Timestamp;
use url::Url;

use self::{assume_role::RoleSource, oauth2::TokenSource, sigv4::Signer};
pub(super) use self::{
    assume_role::Roles,
    oauth2::Tokens,
    webhook::{ID as WEBHOOK_ID, SigningKey},
};
use super::{HttpExecutor, content::Content};
use crate::{
    net::{ClientTls, redact::Secrets},
    perform::{connection, error},
};
use signoff_api::{connection::HttpAuth, header, name::ObjectName, reason::StepReason};
use signoff_engine::facts::EffectError;

/// What authenticates the requests of one call.
pub(super) enum Auth {
    None,
    Header(HeaderName, HeaderValue),
    Query(String, String),
    OAuth2(Box<TokenSource>),
    SigV4(Signer),
    Role(Box<RoleSource>),
    /// A signature of Standard Webhooks.
    Webhook(SigningKey),
}

impl std::fmt::Debug for Auth {
    /// What it holds is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Header(..) => "Header",
            Self::Query(..) => "Query",
            Self::OAuth2(_) => "OAuth2",
            Self::SigV4(_) => "SigV4",
            Self::Role(_) => "Role",
            Self::Webhook(_) => "Webhook",
        })
    }
}

/// A request that is about to be sent.
pub(super) struct Unsent<'a> {
    pub method: &'a Method,
    pub url: &'a mut Url,
    pub headers: &'a mut HeaderMap,
    pub content: &'a Content,
}

impl Auth {
    /// Authenticates a request. `refused` says that the API has answered 401 to the token before.
    pub(super) async fn apply(
        &self,
        mut request: Unsent<'_>,
        now: Timestamp,
        refused: bool,
        secrets: &mut Secrets,
    ) -> Result<(), EffectError> {
        match self {
            Self::None => {}
            Self::Header(name, value) => {
                request.headers.insert(name.clone(), value.clone());
            }
            Self::Query(name, value) => {
                request.url.query_pairs_mut().append_pair(name, value);
            }
            Self::OAuth2(source) => {
                let token = source.token(refused, now, secrets).await?;
                let value = sensitive(&format!("Bearer {token}"))?;
                request.headers.insert(AUTHORIZATION, value);
            }
            Self::SigV4(signer) => sign(signer, &mut request, now)?,
            Self::Role(source) => sign(&source.signer(now, secrets).await?, &mut request, now)?,
            Self::Webhook(key) => key.sign(&mut request, now)?,
        }
        Ok(())
    }

    /// The query parameter that authenticates, if it is one.
    pub(super) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Query(name, _) => Some(name),
            Self::None
            | Self::Header(..)
            | Self::OAuth2(_)
            | Self::SigV4(_)
            | Self::Role(_)
            | Self::Webhook(_) => None,
        }
    }

    /// The header of its own that authenticates, if it is one.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name, _) => Some(name),
            Self::None
            | Self::Query(..)
            | Self::OAuth2(_)
            | Self::SigV4(_)
            | Self::Role(_)
            | Self::Webhook(_) => None,
        }
    }

    /// Whether another token may be accepted where this one was refused.
    pub(super) fn can_renew(&self) -> bool {
        match self {
            Self::OAuth2(_) => true,
            Self::None
            | Self::Header(..)
            | Self::Query(..)
            | Self::SigV4(_)
            | Self::Role(_)
            | Self::Webhook(_) => false,
        }
    }
}

impl HttpExecutor {
    /// Reads what a method of a Connection needs.
    pub(super) async fn authentication(
        &self,
        namespace: &str,
        name: &ObjectName,
        auth: &HttpAuth,
        tls: Option<&ClientTls>,
        target: &Url,
        secrets: &mut Secrets,
    ) -> Result<Auth, EffectError> {
        let client = &self.kube.0;
        Ok(match auth {
            HttpAuth::Bearer(reference) => {
                let token = connection::secret(client, namespace, reference, secrets).await?;
                Auth::Header(AUTHORIZATION, sensitive(&format!("Bearer {token}"))?)
            }
            HttpAuth::Basic(basic) => {
                let password = connection::secret(client, namespace, &basic.password, secrets).await?;
                let pair = STANDARD.encode(format!("{}:{password}", basic.username));
                secrets.add(&pair);
                Auth::Header(AUTHORIZATION, sensitive(&format!("Basic {pair}"))?)
            }
            HttpAuth::Header(own) => {
                let value = connection::secret(client, namespace, &own.value, secrets).await?;
                let name = HeaderName::try_from(&own.name).ok();
                let name = name.filter(|name| !header::is_of_the_client(name.as_str()));
                let name = name.ok_or_else(|| {
                    error::invalid(
                        StepReason::InvalidRequest,
                        "the header of the Connection's auth has no name that it may have",
                    )
                })?;
                Auth::Header(name, sensitive(&value)?)
            }
            HttpAuth::Query(query) => {
                let value = connection::secret(client, namespace, &query.value, secrets).await?;
                Auth::Query(query.name.clone(), value)
            }
            HttpAuth::OAuth2(oauth2) => {
                let source = self
                    .token_source(namespace, name, oauth2, tls, target, secrets)
                    .await?;
                Auth::OAuth2(Box::new(source))
            }
            HttpAuth::SigV4(sigv4) => {
                let session_token = match &sigv4.session_token {
                    Some(at) => Some(connection::secret(client, namespace, at, secrets).await?),
                    None => None,
                };
                let access_key_id =
                    connection::secret(client, namespace, &sigv4.access_key_id, secrets).await?;
                let secret_access_key =
                    connection::secret(client, namespace, &sigv4.secret_access_key, secrets).await?;
                let keys = Signer {
                    region: sigv4.region.clone(),
                    service: sigv4.service.clone(),
                    access_key_id,
                    secret_access_key,
                    session_token,
                };
                match &sigv4.role_arn {
                    None => Auth::SigV4(keys),
                    Some(role) => {
                        let sts_url = sigv4.sts_url.as_deref();
                        Auth::Role(Box::new(self.role(namespace, name, (role, sts_url), keys)?))
                    }
                }
            }
        })
    }
}

fn sign(signer: &Signer, request: &mut Unsent<'_>, now: Timestamp) -> Result<(), EffectError> {
    signer
        .sign(
            request.method,
            request.url,
            request.headers,
            &request.content.sha256(),
            now,
        )
        .map_err(|why| error::invalid(StepReason::InvalidRequest, why.to_string()))
}

/// The value of a header that nobody may see.
fn sensitive(text: &str) -> Result<HeaderValue, EffectError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        error::invalid(
            StepReason::InvalidRequest,
            "the Connection's secret has characters that no header may hold",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A signer for tests that verify signatures.
#[cfg(test)]
pub(super) fn test_signer(region: &str, service: &str, id: &str, secret: &str) -> Signer {
    Signer {
        region: region.to_owned(),
        service: service.to_owned(),
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: None,
    }
}

/// Signs a request in a test.
#[cfg(test)]
pub(super) fn sign_with(
    signer: &Signer,
    method: &Method,
    url: &mut Url,
    headers: &mut HeaderMap,
    body: &[u8],
    at: Timestamp,
) {
    signer
        .sign(method, url, headers, &signoff_api::Digest::of(body), at)
        .unwrap();
}
