//! Bodies in and out: collecting with a limit, JSON and YAML, headers every response carries.

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, WARNING};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::convert::Infallible;

use super::decode::{self, Decoded};
use super::protobuf;
use crate::clock;
use crate::status::ApiError;
use signoff_api::{bounds, yaml_budget};

/// Body of every response.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Largest request body, in bytes.
pub const LIMIT: usize = 3 << 20;

/// Reads a body whole, up to the limit.
pub async fn collect<B>(body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    if body.size_hint().lower() > LIMIT as u64 {
        return Err(ApiError::too_large(LIMIT));
    }
    let mut body = std::pin::pin!(body);
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("the body could not be read: {e}")))?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > LIMIT {
                return Err(ApiError::too_large(LIMIT));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// The media type of the body, without parameters; JSON when none is given.
pub fn media_type(headers: &HeaderMap) -> String {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("application/json");
    given
        .split(';')
        .next()
        .unwrap_or(given)
        .trim()
        .to_ascii_lowercase()
}

/// Parses an object sent as JSON or YAML.
pub fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Decoded, ApiError> {
    match media_type(headers).as_str() {
        "application/json" | "" | "*/*" => json(bytes),
        "application/yaml" | "text/yaml" => yaml(bytes),
        protobuf::MEDIA_TYPE => protobuf::decode(bytes).map(|value| Decoded {
            value,
            ..Decoded::default()
        }),
        _ => Err(ApiError::unsupported_media_type(&[
            "application/json",
            "application/yaml",
        ])),
    }
}

/// Parses JSON.
pub fn json(bytes: &[u8]) -> Result<Decoded, ApiError> {
    bounds::nesting_of_json(bytes, bounds::MAX_BODY_NESTING).map_err(|e| unrecognized(&e))?;
    let mut text = serde_json::Deserializer::from_slice(bytes);
    decode::decode(&mut text)
        .and_then(|decoded| text.end().map(|()| decoded))
        .map_err(|e| unrecognized(&e))
}

/// Parses YAML (of which JSON is a part).
pub fn yaml(bytes: &[u8]) -> Result<Decoded, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|e| unrecognized(&e))?;
    yaml_budget::check(text, LIMIT).map_err(|e| unrecognized(&e))?;
    decode::decode(serde_yaml::Deserializer::from_str(text)).map_err(|e| unrecognized(&e))
}

fn unrecognized(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("the object provided is unrecognized: {error}"))
}

/// A body that is whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A response with JSON already rendered.
pub fn rendered(code: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
    respond(code, "application/json", full(json))
}

/// A response with an object.
pub fn object(code: StatusCode, value: &Value) -> Response<Body> {
    rendered(code, value.to_string())
}

/// A response with plain text.
pub fn text(code: StatusCode, text: &str) -> Response<Body> {
    respond(code, "text/plain; charset=utf-8", full(text.to_owned()))
}

/// A response with an error.
pub fn error(error: &ApiError) -> Response<Body> {
    let mut response = object(error.code(), &error.to_value());
    if let Some(seconds) = error.retry_after() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A response of a content type, with the headers all responses have.
pub fn respond(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Ok(date) = HeaderValue::from_str(&clock::http_date()) {
        headers.insert(DATE, date);
    }
    response
}

/// Adds warnings, which kubectl prints.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
