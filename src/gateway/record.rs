//! Writes a callback into its run's status: only the one entry, and only if it is the first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError, Weak},
    time::Duration,
};

use axum::{
    Json as JsonBody,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use json_patch::{AddOperation, Patch as Operations, PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    Gateway,
    callbacks::{Delivery, answer_again, expired, receipt, recorded},
    problem::Problem,
};
use crate::cluster::{
    error_chain,
    fairness::{Permit, Permits},
    status::{self, is_missing},
};
use signoff_api::{Json, Run, bounds, names, run::CallbackRecord};
use signoff_engine::callback_token::CallbackAddress;

/// How often a write is tried when others write the same run at the same time.
pub(super) const ATTEMPTS: u64 = 30;

/// Records a callback, or answers as the one that was faster did.
pub(super) async fn record(
    gateway: &Gateway,
    mut run: Run,
    address: &CallbackAddress,
    delivery: Delivery,
    body: Value,
) -> Result<Response, Problem> {
    let api = gateway.context.namespaced::<Run>(&address.namespace);
    let record = CallbackRecord {
        received_at: MicroTime(gateway.context.now()),
        sha256: delivery.sha256.clone(),
        webhook_id: delivery.id.clone(),
        body: Json(body),
    };
    // those who call one run back at the same time would get into each other's way
    let turn = gateway.turns.of(&address.uid);
    let (_turn, mut is_stale) = match turn.try_lock() {
        Ok(turn) => (turn, false),
        Err(_) => (turn.lock().await, true),
    };
    for attempt in 0..ATTEMPTS {
        if is_stale {
            // somebody wrote meanwhile: perhaps the same callback, perhaps the run has ended
            run = again(&api, address).await?;
            if let Some(known) = recorded(&run, address) {
                return answer_again(known, &delivery);
            }
            expired(&run, address)?;
        }
        fits(&run, &record)?;
        match write(&api, &run, address, &record).await {
            Ok(_) => {
                tracing::info!(run = %address.run, step = %address.step, "a callback was recorded");
                return Ok((StatusCode::ACCEPTED, JsonBody(receipt(&record))).into_response());
            }
            Err(error) if is_missing(&error) => {
                return Err(Problem::new(
                    StatusCode::GONE,
                    "the run that this callback was for is gone",
                ));
            }
            Err(error) if status::is_stale(&error) => is_stale = true,
            Err(error) => {
                tracing::warn!(run = %address.run, error = %error_chain(&error), "a callback could not be recorded");
                return Err(Problem::unavailable());
            }
        }
        // another gateway should not come again at the same time
        pause(attempt).await;
    }
    Err(Problem::unavailable())
}

async fn again(api: &Api<Run>, address: &CallbackAddress) -> Result<Run, Problem> {
    let found = api.get_opt(&address.run).await;
    found
        .map_err(|_| Problem::unavailable())?
        .ok_or_else(|| Problem::new(StatusCode::GONE, "the run that this callback was for is gone"))
}

/// Turns to write runs: one request at a time writes a run. Each run has its own, so that none waits for another's.
/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    runs: Arc<StdMutex<HashMap<String, Weak<Mutex<()>>>>>,
    /// Requests whose events are offered to runs.
    events: EventTurns,
}

/// How many requests of one namespace offer events to runs at the same time. Each reads the runs that wait.
const OFFERS: usize = 4;

#[derive(Clone, Debug)]
struct EventTurns(Permits);

impl Default for EventTurns {
    fn default() -> Self {
        Self(Permits::of_which_one_may_hold(OFFERS))
    }
}

impl Turns {
    /// A turn to offer events to the runs of a namespace.
    pub(super) async fn to_offer(&self, namespace: &str) -> Permit {
        self.events.0.acquire(namespace).await
    }

    fn of(&self, uid: &str) -> Arc<Mutex<()>> {
        let mut turns = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(uid).and_then(Weak::upgrade) {
            return turn;
        }
        // what nobody waits for is forgotten, so there are no more than requests
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(uid.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Those who came at the same time should not come again at the same time.
pub(super) async fn pause(attempt: u64) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=2 * attempt))).await;
}

/// A status never outgrows its limit, however many callbacks come.
fn fits(run: &Run, record: &CallbackRecord) -> Result<(), Problem> {
    if size(&run.status) + size(record) > bounds::MAX_RUN_STATUS {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the run can hold no further callback of this size",
        ));
    }
    Ok(())
}

fn size(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |bytes| bytes.len())
}

async fn write(
    api: &Api<Run>,
    run: &Run,
    address: &CallbackAddress,
    record: &CallbackRecord,
) -> Result<Run, kube::Error> {
    let callbacks = run.status.as_ref().map(|status| &status.callbacks);
    let test = |path: &[&str], value: Value| {
        PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(path.iter().copied()),
            value,
        })
    };
    let operations = Operations(vec![
        test(&["metadata", "uid"], json!(address.uid)),
        test(&["status", "callbacks"], json!(callbacks)),
        PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(["status", "callbacks", &address.record_key()]),
            value: json!(record),
        }),
    ]);
    api.patch_status(&run.name_any(), &params(), &Patch::<()>::Json(operations))
        .await
}

pub(super) fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(names::FIELD_MANAGER_GATEWAY.to_owned()),
        ..PatchParams::default()
    }
}

#[cfg(test)]
mod tests;
