//! Reads a response's body up to a limit and parses it. A call that succeeded does not fail because its body is not quite
//! as it should be: it may begin with a byte order mark, have another character set, or be nothing but white space.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::SET_COOKIE};
use serde_json::Value;

use crate::{
    net::{self, BodyError, ContentType, redact::Secrets},
    perform::error,
};
use signoff_api::{bounds, reason::StepReason};
use signoff_engine::facts::{EffectError, HttpResponse};

/// Largest body read, in bytes. What is beyond it is never received.
pub const MAX_BODY: usize = 1 << 20;

/// Longest wait for the body of an answer of which only the status counts.
const EXPLAINING: Duration = Duration::from_secs(2);

/// Reads a response whole, or stops at the limit.
pub(super) async fn read(
    place: &str,
    response: reqwest::Response,
    secrets: &Secrets,
) -> Result<HttpResponse, EffectError> {
    let (status, received) = (response.status(), response.headers().clone());
    let bytes = net::read_body(response, MAX_BODY)
        .await
        .map_err(|failure| match failure {
            BodyError::TooLarge(limit) => error::unusable(
                StepReason::ResponseTooLarge,
                format!("the response of {place} is larger than {} KiB", limit / 1024),
            ),
            BodyError::Broken(broken) => error::transport(place, broken, secrets),
        })?;
    understand_elsewhere(place, status, received, bytes, secrets).await
}

/// The status of a response. Where it says that something went wrong, the body may say what; it is waited for a moment only.
pub(super) async fn only_status(place: &str, response: reqwest::Response, secrets: &Secrets) -> HttpResponse {
    let (status, received) = (response.status(), response.headers().clone());
    if !status.is_success()
        && let Ok(Ok(whole)) = tokio::time::timeout(EXPLAINING, read(place, response, secrets)).await
    {
        return whole;
    }
    HttpResponse {
        status: status.as_u16(),
        headers: headers(&received, secrets),
        body: Value::Null,
    }
}

/// Parses a response that was received.
pub(super) async fn understand_elsewhere(
    place: &str,
    status: StatusCode,
    received: HeaderMap,
    bytes: Bytes,
    secrets: &Secrets,
) -> Result<HttpResponse, EffectError> {
    let (at, secrets) = (place.to_owned(), secrets.clone());
    // the longest body takes a while, in which this thread would serve nobody else
    let read = tokio::task::spawn_blocking(move || understand(&at, status, &received, &bytes, &secrets));
    read.await.unwrap_or_else(|_| {
        Err(error::unusable(
            StepReason::InvalidResponse,
            format!("the response of {place} could not be read"),
        ))
    })
}

/// Parses a response and takes the secrets out of it.
fn understand(
    place: &str,
    status: StatusCode,
    received: &HeaderMap,
    bytes: &[u8],
    secrets: &Secrets,
) -> Result<HttpResponse, EffectError> {
    let body = match parse(received, bytes) {
        Ok(body) => body,
        // an error page that claims to be JSON still says what went wrong
        Err(_) if !status.is_success() => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        Err(problem) => {
            let message = format!(
                "{place} answered {status} with a body that is not the JSON its content type says: {problem}"
            );
            return Err(error::unusable(StepReason::InvalidResponse, message));
        }
    };
    Ok(HttpResponse {
        status: status.as_u16(),
        headers: headers(received, secrets),
        body: secrets.redact_value(body),
    })
}

fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let content_type = ContentType::of(headers);
    let text = content_type.decode(bytes);
    if !content_type.is_json() {
        return Ok(Value::String(text.into_owned()));
    }
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    // an integer that would be rounded is kept as text
    let text = bounds::with_inexact_integers_as_strings(&text);
    // the message of serde_json may quote the body; line and column are enough
    serde_json::from_str(&text).map_err(|error| format!("line {} column {}", error.line(), error.column()))
}

/// The headers as the flow sees them. Cookies are credentials of the other side and are left out.
pub(super) fn headers(headers: &HeaderMap, secrets: &Secrets) -> BTreeMap<String, String> {
    let mut found = BTreeMap::<String, String>::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != SET_COOKIE) {
        let value = secrets.redact(&String::from_utf8_lossy(value.as_bytes()));
        found
            .entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert(value);
    }
    found
}
