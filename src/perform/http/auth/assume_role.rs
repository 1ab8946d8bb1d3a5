//! Temporary credentials of an AWS role, from the Security Token Service (STS). They are kept in memory until shortly
//! before they end, and fetched once for all who wait for them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::{HttpExecutor, kept::KeptByNamespace, sigv4::Signer};
use crate::{
    net::{self, BodyError, Network, redact::Secrets},
    perform::{error, http::place},
};
use signoff_api::{Digest, name::ObjectName, reason::StepReason};
use signoff_engine::{facts::EffectError, retry_after};

/// Credentials are not used in the last minutes of their life, or in the last fifth of a short one.
const MARGIN: Duration = Duration::from_mins(5);
/// How long they are used at most, whatever the answer says.
const LONGEST: Duration = Duration::from_hours(12);
/// How long STS may take.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest name of a session.
const MAX_SESSION: usize = 64;
/// Codes of errors after which another attempt may help, whatever their status.
const THROTTLED: [&str; 3] = ["Throttling", "ThrottlingException", "RequestLimitExceeded"];

/// The credentials that are kept.
pub(in crate::perform::http) type Roles = KeptByNamespace<Option<Temporary>>;

/// Temporary credentials.
#[derive(Clone)]
pub(in crate::perform::http) struct Temporary {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    until: Instant,
}

impl std::fmt::Debug for Temporary {
    /// They are not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Temporary").finish_non_exhaustive()
    }
}

/// Where the credentials of one call come from.
pub(in crate::perform::http) struct RoleSource {
    kept: Arc<tokio::sync::Mutex<Option<Temporary>>>,
    client: reqwest::Client,
    network: Network,
    /// The endpoint.
    url: Url,
    role: String,
    session: String,
    /// Signs requests to STS with the keys of the Connection.
    sts: Signer,
    /// Region and service that are called with the role.
    scope: (String, String),
}

impl HttpExecutor {
    /// The source of the credentials of a role that is assumed with these keys.
    pub(super) fn role(
        &self,
        namespace: &str,
        name: &ObjectName,
        (role, sts_url): (&str, Option<&str>),
        keys: Signer,
    ) -> Result<RoleSource, EffectError> {
        let scope = (keys.region.clone(), keys.service.clone());
        let url = sts_url.map_or_else(|| endpoint(&keys.region), str::to_owned);
        // other keys may be of another account
        let of = (&keys.access_key_id, &keys.secret_access_key, &keys.session_token);
        let key = serde_json::json!([name, role, url, of]).to_string();
        let kept = self
            .roles
            .entry(namespace, Digest::of(key.as_bytes()).to_string());
        Ok(RoleSource {
            kept,
            client: self.http.clone(),
            network: self.network.clone(),
            url: super::super::target::parse(&url)?,
            role: role.to_owned(),
            session: session(namespace, name),
            sts: Signer {
                service: "sts".to_owned(),
                ..keys
            },
            scope,
        })
    }
}

/// The endpoint of a region, unless the Connection names another one.
fn endpoint(region: &str) -> String {
    format!("https://sts.{region}.amazonaws.com/")
}

/// The name of the session, by which the log of the account shows who used the role.
fn session(namespace: &str, connection: &ObjectName) -> String {
    let name = format!("signoff-{namespace}-{connection}");
    name.chars().take(MAX_SESSION).collect()
}

impl RoleSource {
    /// A signer with the credentials of the role.
    pub(super) async fn signer(&self, now: Timestamp, secrets: &mut Secrets) -> Result<Signer, EffectError> {
        let mut kept = self.kept.lock().await;
        let usable = kept.take_if(|kept| kept.until > Instant::now());
        let temporary = match usable {
            Some(temporary) => temporary,
            None => self.assume(now, secrets).await?,
        };
        for secret in [
            &temporary.access_key_id,
            &temporary.secret_access_key,
            &temporary.session_token,
        ] {
            secrets.add(secret);
        }
        *kept = Some(temporary.clone());
        let (region, service) = self.scope.clone();
        Ok(Signer {
            region,
            service,
            access_key_id: temporary.access_key_id,
            secret_access_key: temporary.secret_access_key,
            session_token: Some(temporary.session_token),
        })
    }

    /// Asks for credentials. Nothing happens by that, so it may be asked again.
    async fn assume(&self, now: Timestamp, secrets: &Secrets) -> Result<Temporary, EffectError> {
        self.network
            .check_url(&self.url)
            .map_err(|refused| error::invalid(StepReason::AddressRefused, refused.to_string()))?;
        let asked = tokio::time::timeout(LONGEST_REQUEST, self.ask(now, secrets)).await;
        let asked = asked.unwrap_or_else(|_| Err(error::timed_out(&self.place(), LONGEST_REQUEST)));
        let (status, headers, body) = asked.map_err(|error| EffectError {
            may_have_happened: false,
            ..error
        })?;
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            return Err(self.refusal(status, &headers, &text, now, secrets));
        }
        let lacks = |what: &str| {
            let message = format!("{} answered without {what}", self.place());
            error::invalid(StepReason::CredentialsRefused, message)
        };
        let part = |name: &'static str| element(&text, name).ok_or_else(|| lacks(name));
        let expires_at: Timestamp = part("Expiration")?.parse().map_err(|_| lacks("Expiration"))?;
        let lifetime = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
        let lifetime = lifetime.min(LONGEST);
        Ok(Temporary {
            access_key_id: part("AccessKeyId")?,
            secret_access_key: part("SecretAccessKey")?,
            session_token: part("SessionToken")?,
            until: Instant::now() + lifetime.saturating_sub(MARGIN.min(lifetime / 5)),
        })
    }

    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role),
            ("RoleSessionName", &self.session),
        ]);
        form.finish()
    }

    async fn ask(
        &self,
        now: Timestamp,
        secrets: &Secrets,
    ) -> Result<(StatusCode, HeaderMap, Bytes), EffectError> {
        let body = self.form();
        let (mut url, mut headers) = (self.url.clone(), HeaderMap::new());
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        self.sts
            .sign(
                &Method::POST,
                &mut url,
                &mut headers,
                &signoff_api::Digest::of(body.as_bytes()),
                now,
            )
            .map_err(|why| error::invalid(StepReason::InvalidRequest, why.to_string()))?;
        let request = self.client.post(url).headers(headers).body(body);
        let sent = request.send().await;
        let response = sent.map_err(|error| error::transport(&self.place(), error, secrets))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = net::read_body(response, MAX_ANSWER).await;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge(_) => {
                let message = format!("{} answered with more than {MAX_ANSWER} bytes", self.place());
                error::invalid(StepReason::CredentialsRefused, message)
            }
            BodyError::Broken(error) => error::transport(&self.place(), error, secrets),
        })?;
        Ok((status, headers, body))
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        text: &str,
        now: Timestamp,
        secrets: &Secrets,
    ) -> EffectError {
        let code = element(text, "Code").unwrap_or_default();
        let message = element(text, "Message").unwrap_or_default();
        let message = format!("{} answered {status}: {code} {message}", self.place());
        let message = secrets.redact(message.trim_end_matches([' ', ':']));
        let is_passing = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || THROTTLED.contains(&code.as_str());
        let asked = headers.get(header::RETRY_AFTER);
        let asked = asked.and_then(|value| retry_after::parse(value.to_str().ok()?, now));
        EffectError {
            retryable: is_passing,
            retry_after: asked,
            ..error::invalid(StepReason::CredentialsRefused, message)
        }
    }

    fn place(&self) -> String {
        format!("the token service {}", place(&self.url))
    }
}

/// The text of the first element of this name in an answer of STS, which is XML of a fixed form without attributes.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    let value = value.trim();
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ]
    .into_iter()
    .fold(value.to_owned(), |value, (escaped, plain)| {
        value.replace(escaped, plain)
    });
    (!plain.is_empty()).then_some(plain)
}
