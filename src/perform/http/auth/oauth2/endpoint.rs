//! A request to a token endpoint, and its answer.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::super::jwt;
use crate::{
    net::{self, BodyError, Network, redact::Secrets},
    perform::{error, http::place},
};
use signoff_api::reason::StepReason;
use signoff_engine::{facts::EffectError, retry_after};

/// How long an assertion lasts, in seconds.
const ASSERTION_LIFETIME: i64 = 300;
/// Longest lifetime of a token that is believed, in seconds.
const LONGEST_LIFETIME: f64 = 30.0 * 24.0 * 3_600.0;
/// Longest token, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// A token endpoint and what it is asked.
pub(super) struct Endpoint {
    pub(super) client: reqwest::Client,
    pub(super) network: Network,
    pub(super) url: Url,
    pub(super) grant: Grant,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) parameters: BTreeMap<String, String>,
}

/// How a token is obtained, with the secrets for it.
pub(super) enum Grant {
    ClientCredentials,
    RefreshToken,
    JwtBearer {
        key: String,
        key_id: Option<String>,
        issuer: String,
        subject: String,
    },
}

impl Grant {
    /// The secret that stays the same, and whose change makes a token of another kind.
    pub(super) fn fixed_secret(&self) -> Option<&str> {
        match self {
            Self::JwtBearer { key, .. } => Some(key),
            Self::ClientCredentials | Self::RefreshToken => None,
        }
    }
}

impl std::fmt::Debug for Endpoint {
    /// What it holds is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &place(&self.url))
            .finish_non_exhaustive()
    }
}

/// What an endpoint has given.
pub(super) struct Issued {
    /// The token, unless it is none that can be sent. A refresh token that came with it is good all the same.
    pub(super) access_token: Result<String, EffectError>,
    pub(super) expires_in: Option<Duration>,
    pub(super) refresh_token: Option<String>,
}

/// An answer that gives no token.
struct Refusal {
    status: StatusCode,
    headers: HeaderMap,
    /// The error code of OAuth, if the answer has one.
    code: Option<String>,
    description: Option<String>,
}

impl Endpoint {
    /// Asks for a token. Endpoints differ in where they take the client's credentials: the first one that is accepted is
    /// remembered in `in_form`.
    pub(super) async fn ask(
        &self,
        refresh_token: Option<&str>,
        in_form: &mut bool,
        now: Timestamp,
        secrets: &mut Secrets,
    ) -> Result<Issued, EffectError> {
        self.network
            .check_url(&self.url)
            .map_err(|refused| error::invalid(StepReason::AddressRefused, refused.to_string()))?;
        let fields = self.fields(refresh_token, now, secrets)?;
        let first = self.send(&fields, *in_form, secrets).await?;
        let refusal = match first {
            Ok(issued) => return Ok(issued),
            Err(refusal) => refusal,
        };
        if *in_form || self.client_secret.is_none() || !refusal.is_of_the_client() {
            return Err(self.failure(&refusal, now, secrets));
        }
        match self.send(&fields, true, secrets).await? {
            Ok(issued) => {
                *in_form = true;
                Ok(issued)
            }
            Err(refusal) => Err(self.failure(&refusal, now, secrets)),
        }
    }

    fn fields(
        &self,
        refresh_token: Option<&str>,
        now: Timestamp,
        secrets: &mut Secrets,
    ) -> Result<Vec<(String, String)>, EffectError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        match &self.grant {
            Grant::ClientCredentials => add("grant_type", "client_credentials"),
            Grant::RefreshToken => {
                add("grant_type", "refresh_token");
                add("refresh_token", refresh_token.unwrap_or_default());
            }
            Grant::JwtBearer { .. } => {
                let assertion = self.assertion(now)?;
                secrets.add(&assertion);
                add("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                add("assertion", &assertion);
            }
        }
        if let Some(scope) = &self.scope {
            add("scope", scope);
        }
        if let (Some(audience), Grant::ClientCredentials | Grant::RefreshToken) =
            (&self.audience, &self.grant)
        {
            add("audience", audience);
        }
        for (name, value) in &self.parameters {
            add(name, value);
        }
        Ok(fields)
    }

    fn assertion(&self, now: Timestamp) -> Result<String, EffectError> {
        let Grant::JwtBearer {
            key,
            key_id,
            issuer,
            subject,
        } = &self.grant
        else {
            return Ok(String::new());
        };
        let at = now.as_second();
        let mut claims = json!({
            "iss": issuer,
            "sub": subject,
            "aud": self.audience.as_deref().unwrap_or(self.url.as_str()),
            "iat": at,
            "exp": at + ASSERTION_LIFETIME,
            "jti": format!("{:032x}", rand::random::<u128>()),
        });
        // some endpoints read it there only
        if let Some(scope) = &self.scope {
            claims["scope"] = scope.as_str().into();
        }
        jwt::sign(key, key_id.as_deref(), &claims)
            .map_err(|why| error::invalid(StepReason::CredentialsRefused, why.to_string()))
    }

    async fn send(
        &self,
        fields: &[(String, String)],
        in_form: bool,
        secrets: &mut Secrets,
    ) -> Result<Result<Issued, Refusal>, EffectError> {
        let mut fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match (&self.client_id, &self.client_secret) {
            (Some(id), Some(secret)) if !in_form => {
                let encode =
                    |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
                secrets.add(&pair);
                request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
            }
            (id, secret) => {
                fields.extend(id.iter().map(|id| ("client_id", &**id)));
                fields.extend(secret.iter().map(|secret| ("client_secret", &**secret)));
            }
        }
        let place = place(&self.url);
        // the call itself has not begun
        let unreached = |failure: EffectError| EffectError {
            may_have_happened: false,
            ..failure
        };
        let response = request
            .body(urlencoded(&fields))
            .send()
            .await
            .map_err(|failure| unreached(error::transport(&place, failure, secrets)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = net::read_body(response, MAX_ANSWER)
            .await
            .map_err(|failure| match failure {
                BodyError::TooLarge(_) => {
                    refused(format!("the answer of the token endpoint {place} is too large"))
                }
                BodyError::Broken(broken) => unreached(error::transport(&place, broken, secrets)),
            })?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let answer: Value = serde_json::from_slice(bytes).unwrap_or_default();
        if !status.is_success() {
            let text = |name: &str| answer[name].as_str().map(str::to_owned);
            return Ok(Err(Refusal {
                status,
                headers,
                code: text("error"),
                description: text("error_description"),
            }));
        }
        Ok(Ok(issued(&answer, |what| {
            refused(format!(
                "the token endpoint {place} answered {status} without {what}"
            ))
        })))
    }

    fn failure(&self, refusal: &Refusal, now: Timestamp, secrets: &Secrets) -> EffectError {
        let mut message = format!(
            "the token endpoint {} answered {}",
            place(&self.url),
            refusal.status
        );
        for text in [&refusal.code, &refusal.description].into_iter().flatten() {
            message.push_str(": ");
            // what was cut would not be found any more
            message.extend(secrets.redact(text).chars().take(200));
        }
        let asked = refusal.headers.get(header::RETRY_AFTER);
        let asked = asked.and_then(|value| retry_after::parse(value.to_str().ok()?, now));
        EffectError {
            retryable: matches!(refusal.status.as_u16(), 408 | 429 | 500..=599),
            retry_after: asked,
            ..refused(secrets.redact(&message))
        }
    }
}

impl Refusal {
    /// Whether it is about the client's credentials, or where they were.
    fn is_of_the_client(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
            || self.status == StatusCode::BAD_REQUEST && self.code.as_deref() == Some("invalid_client")
    }
}

fn urlencoded(fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}

fn refused(message: String) -> EffectError {
    error::invalid(StepReason::CredentialsRefused, message)
}

/// What an answer gives. `without` makes an error of what it lacks.
fn issued(answer: &Value, without: impl FnOnce(&str) -> EffectError) -> Issued {
    let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty());
    let lacks = match text("access_token") {
        None => Some("an access token"),
        Some(token) if !is_sendable(token) => {
            Some("an access token that can be sent: at most 16 KiB of visible ASCII characters")
        }
        Some(_) if text("token_type").is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) => {
            Some("a token of type Bearer")
        }
        Some(_) => None,
    };
    Issued {
        access_token: match lacks {
            Some(lacks) => Err(without(lacks)),
            None => Ok(text("access_token").unwrap_or_default().to_owned()),
        },
        expires_in: lifetime(&answer["expires_in"]),
        refresh_token: text("refresh_token")
            .filter(|token| is_sendable(token))
            .map(str::to_owned),
    }
}

/// Whether a token has only characters that RFC 6749 allows and a header may hold.
fn is_sendable(token: &str) -> bool {
    token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Seconds, which some write as a string or with a fraction. A negative number is as good as none left.
fn lifetime(expires_in: &Value) -> Option<Duration> {
    let seconds = expires_in
        .as_f64()
        .or_else(|| expires_in.as_str()?.trim().parse().ok())
        .filter(|seconds| !seconds.is_nan())?;
    Some(Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_LIFETIME)))
}
