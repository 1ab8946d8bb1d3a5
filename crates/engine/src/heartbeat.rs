//! Heartbeats of callbacks: whoever will call back says that it is still at work.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::callback_token::record_key;
use signoff_api::{
    RunStatus, bounds,
    run::{StepPhase, StepStatus},
};

/// What a heartbeat does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Its wait has not begun, and the clock neither.
    NotBegun,
    /// The last one is so new that it is not written. The wait is lost at this time unless another one comes.
    Unwritten(Timestamp),
    /// It is written. The wait is lost at this time unless another one comes.
    Written(Timestamp),
}

/// What a heartbeat does to the wait that it is for. At most two are written in the time of one.
pub fn renew(
    status: &RunStatus,
    (step, iteration, item): (&str, i64, Option<i64>),
    heartbeat: Duration,
    now: Timestamp,
) -> Renewal {
    let waits = |entry: &&StepStatus| {
        entry.name == step
            && entry.iteration == iteration
            && entry.item == item
            && entry.items.is_none()
            && entry.phase == StepPhase::Waiting
    };
    let entry = status.steps.iter().rfind(waits);
    let Some(last) = entry.and_then(|entry| last(status, entry)) else {
        return Renewal::NotBegun;
    };
    if later(last, heartbeat / 2) > now {
        Renewal::Unwritten(later(last, heartbeat))
    } else {
        Renewal::Written(later(now, heartbeat))
    }
}

/// When the heartbeat of a step that waits is lost unless another one comes.
pub(crate) fn lost_at(status: &RunStatus, entry: &StepStatus, heartbeat: Duration) -> Option<Timestamp> {
    last(status, entry).map(|last| later(last, heartbeat))
}

/// The last sign of life: a heartbeat, or that the wait began.
fn last(status: &RunStatus, entry: &StepStatus) -> Option<Timestamp> {
    let began = entry.started_at.as_ref().map(|at| at.0)?;
    let key = record_key(&entry.name, entry.iteration, entry.item);
    let newest = status.heartbeats.get(&key).map(|record| record.received_at.0);
    Some(newest.map_or(began, |newest| newest.max(began)))
}

/// This long after a time, or the last time that the status takes.
pub(crate) fn later(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    let later = at.checked_add(span).unwrap_or(Timestamp::MAX);
    later.min(bounds::LATEST_TIME)
}

/// Takes out the heartbeats of waits that are over.
pub fn forget_ended(status: &mut RunStatus) {
    if status.heartbeats.is_empty() {
        return;
    }
    let open = status.steps.iter().filter(|entry| !entry.phase.is_finished());
    let open: BTreeSet<String> = open
        .map(|entry| record_key(&entry.name, entry.iteration, entry.item))
        .collect();
    status.heartbeats.retain(|key, _| open.contains(key));
}
