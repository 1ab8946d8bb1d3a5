//! `POST /v1/callbacks/<token>`: records what an outside system calls back with, once.

use std::sync::Arc;

use axum::{
    Json as JsonBody,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Gateway, checks, problem::Problem, record};
use crate::cluster::error_chain;
use signoff_api::{Digest, Run, RunStatus, bounds, run::CallbackRecord};
use signoff_engine::callback_token::CallbackAddress;

/// Largest callback, in bytes.
pub(super) const MAX_BODY: usize = 16 * 1024;

pub(super) async fn receive(
    State(gateway): State<Arc<Gateway>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let address = gateway
        .keys
        .verify(&token)
        .filter(|address| gateway.is_for(&address.namespace))
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no callback at this address"))?;
    let bytes = read(&headers, body).await?;
    let run = find(&gateway, &address).await?;
    let checks = checks::of(&gateway, &run, &address).await?;
    checks.signature(&headers, &bytes)?;
    let sha256 = Digest::of(&bytes);
    if let Some(known) = recorded(&run, &address) {
        return answer_again(known, &sha256);
    }
    expired(&run, &address)?;
    let value = parse(&bytes)?;
    let (checked, value) = gateway
        .context
        .evaluate(&address.namespace, move || {
            (checks.payload(&headers, &value), value)
        })
        .await;
    checked?;
    record::record(&gateway, run, &address, &sha256, value).await
}

/// Reads the body, up to the limit.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    if let Some(content_type) = content_type {
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if essence != "application/json" && !essence.ends_with("+json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a callback is application/json",
            ));
        }
    }
    let too_large = || {
        let detail = format!("a callback has at most {MAX_BODY} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).with("limit", MAX_BODY)
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        // the limit is an error of its own within axum's
        let over = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if over {
            too_large()
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "the body could not be read")
        }
    })
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    bounds::nesting_of_json(bytes, bounds::MAX_NESTING).map_err(|error| {
        let detail = format!("the body cannot be taken: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("limit", bounds::MAX_NESTING)
    })?;
    bounds::exact_integers_of_json(bytes).map_err(|error| {
        let detail = format!("the body cannot be taken: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    })?;
    serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!(
            "the body is not JSON: line {}, column {}",
            error.line(),
            error.column()
        );
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// The run a token is for. The token is a good one, so its owner may know that the run is gone.
async fn find(gateway: &Gateway, address: &CallbackAddress) -> Result<Run, Problem> {
    let found = gateway
        .context
        .namespaced::<Run>(&address.namespace)
        .get_opt(&address.run)
        .await;
    let found = found.map_err(|error| {
        tracing::warn!(run = %address.run, error = %error_chain(&error), "a callback could not be looked up");
        Problem::unavailable()
    })?;
    found
        .filter(|run| run.uid().as_deref() == Some(address.uid.as_str()))
        .ok_or_else(gone)
}

fn gone() -> Problem {
    Problem::new(StatusCode::GONE, "the run that this callback was for is gone")
}

/// What was recorded for a wait.
pub(super) fn recorded<'a>(run: &'a Run, address: &CallbackAddress) -> Option<&'a CallbackRecord> {
    run.status.as_ref()?.callbacks.get(&address.record_key())
}

/// The answer to a callback when there is one already: the same for the same body, a refusal for another.
pub(super) fn answer_again(known: &CallbackRecord, sha256: &Digest) -> Result<Response, Problem> {
    if known.sha256 == *sha256 {
        return Ok((StatusCode::OK, JsonBody(receipt(known))).into_response());
    }
    let detail = format!("another callback was recorded at {}", known.received_at.0);
    Err(Problem::new(StatusCode::CONFLICT, detail)
        .with("receivedAt", known.received_at.0.to_string())
        .with("sha256", known.sha256.as_str()))
}

/// What a sender gets for a callback that was recorded.
pub(super) fn receipt(record: &CallbackRecord) -> Value {
    json!({"sha256": record.sha256.as_str(), "receivedAt": record.received_at.0.to_string()})
}

/// Whether nobody waits for a callback any more.
pub(super) fn expired(run: &Run, address: &CallbackAddress) -> Result<(), Problem> {
    let Some(status) = &run.status else { return Ok(()) };
    let over =
        status.phase.is_finished() || run.metadata.deletion_timestamp.is_some() || is_over(status, address);
    if over {
        Err(Problem::new(
            StatusCode::GONE,
            "nothing waits for this callback any more",
        ))
    } else {
        Ok(())
    }
}

fn is_over(status: &RunStatus, address: &CallbackAddress) -> bool {
    status.steps.iter().any(|step| {
        step.name == address.step
            && (step.iteration > address.iteration
                || step.iteration == address.iteration && step.phase.is_finished())
    })
}
