//! `POST /v1/callbacks/<token>/heartbeat`: whoever will call back says that it is still at work.

use std::sync::Arc;

use axum::{
    Json as JsonBody,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use kube::Api;
use serde_json::json;

use super::{
    Gateway, callbacks, checks,
    problem::Problem,
    record::{ATTEMPTS, params, pause},
};
use crate::cluster::{
    error_chain,
    status::{is_missing, is_stale, replace_in_status},
};
use signoff_api::{HumanDuration, Run, run::HeartbeatRecord};
use signoff_engine::{
    callback_token::CallbackAddress,
    heartbeat::{Renewal, renew},
};

pub(super) async fn receive(
    State(gateway): State<Arc<Gateway>>,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let address = callbacks::address(&gateway, &token)?;
    let api = gateway.context.namespaced::<Run>(&address.namespace);
    let mut heartbeat = None;
    for attempt in 0..ATTEMPTS {
        let run = callbacks::find(&gateway, &address).await?;
        // the release of a run never changes
        let heartbeat = match &heartbeat {
            Some(heartbeat) => heartbeat,
            None => heartbeat.insert(expected(&gateway, &run, &address).await?),
        };
        if callbacks::recorded(&run, &address).is_some() {
            return Err(Problem::new(StatusCode::GONE, "the callback was received"));
        }
        callbacks::expired(&run, &address)?;
        let now = gateway.context.now();
        let wait = (&*address.step, address.iteration, address.item);
        let status = run.status.as_ref();
        let renewal = status.map_or(Renewal::NotBegun, |status| {
            renew(status, wait, heartbeat.duration(), now)
        });
        match renewal {
            Renewal::NotBegun => return Ok(taken(None)),
            Renewal::Unwritten(expires_at) => return Ok(taken(Some(expires_at))),
            Renewal::Written(expires_at) => match write(&api, &run, &address, now).await {
                Ok(_) => return Ok(taken(Some(expires_at))),
                // the next look tells that it is gone
                Err(error) if is_missing(&error) || is_stale(&error) => {}
                Err(error) => {
                    tracing::warn!(run = %address.run, error = %error_chain(&error), "a heartbeat could not be recorded");
                    return Err(Problem::unavailable());
                }
            },
        }
        pause(attempt).await;
    }
    Err(Problem::unavailable())
}

/// The longest time between two heartbeats.
async fn expected(gateway: &Gateway, run: &Run, address: &CallbackAddress) -> Result<HumanDuration, Problem> {
    let wait = checks::wait_of(gateway, run, address).await?;
    wait.heartbeat
        .ok_or_else(|| Problem::new(StatusCode::CONFLICT, "this wait has no heartbeat"))
}

/// The answer, with the time until which the next one must come, once the wait has begun.
fn taken(expires_at: Option<Timestamp>) -> Response {
    let body = match expires_at {
        Some(at) => json!({ "expiresAt": at.to_string() }),
        None => json!({ "message": "the wait has not begun" }),
    };
    (StatusCode::ACCEPTED, JsonBody(body)).into_response()
}

/// Writes it, if the run is still as it was read.
async fn write(
    api: &Api<Run>,
    run: &Run,
    address: &CallbackAddress,
    now: Timestamp,
) -> Result<Run, kube::Error> {
    let status = run.status.as_ref();
    let mut heartbeats = status.map(|status| status.heartbeats.clone()).unwrap_or_default();
    let received_at = MicroTime(now);
    heartbeats.insert(address.record_key(), HeartbeatRecord { received_at });
    replace_in_status(api, run, "heartbeats", json!(heartbeats), &params()).await
}

#[cfg(test)]
mod tests;
