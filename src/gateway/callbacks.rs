//! `POST /v1/callbacks/<token>`: records what an outside system calls back with, once.

use std::sync::Arc;

use axum::{
    Json as JsonBody,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Gateway, checks, payload::Payload, problem::Problem, record};
use crate::cluster::error_chain;
use signoff_api::{Digest, Run, run::CallbackRecord};
use signoff_engine::callback_token::{CallbackAddress, is_over};

/// One callback, however often it is sent.
pub(super) struct Delivery {
    /// Digest of its body.
    pub(super) sha256: Digest,
    /// What its sender calls it. A sender may write the same delivery differently the second time.
    pub(super) id: Option<String>,
}

pub(super) async fn receive(
    State(gateway): State<Arc<Gateway>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let address = address(&gateway, &token)?;
    let payload = Payload::read(&headers, body).await?;
    let run = find(&gateway, &address).await?;
    let checks = checks::of(&gateway, &run, &address).await?;
    checks.signature(&headers, &payload)?;
    let delivery = Delivery {
        sha256: payload.sha256(),
        id: payload.delivery.clone(),
    };
    if let Some(known) = recorded(&run, &address) {
        return answer_again(known, &delivery);
    }
    expired(&run, &address)?;
    let value = payload.parse()?;
    let (checked, value) = gateway
        .context
        .evaluate(&address.namespace, move || {
            (checks.payload(&headers, &value), value)
        })
        .await;
    checked?;
    record::record(&gateway, run, &address, delivery, value).await
}

/// The wait a token is for.
pub(super) fn address(gateway: &Gateway, token: &str) -> Result<CallbackAddress, Problem> {
    let address = gateway.keys.verify(token);
    address
        .filter(|address| gateway.is_for(&address.namespace))
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no callback at this address"))
}

/// The run a token is for. The token is a good one, so its owner may know that the run is gone.
pub(super) async fn find(gateway: &Gateway, address: &CallbackAddress) -> Result<Run, Problem> {
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

/// The answer to a callback when there is one already: the same for the same delivery, a refusal for another.
pub(super) fn answer_again(known: &CallbackRecord, delivery: &Delivery) -> Result<Response, Problem> {
    let is_same_id = delivery.id.is_some() && delivery.id == known.webhook_id;
    if known.sha256 == delivery.sha256 || is_same_id {
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

#[cfg(test)]
mod tests;
