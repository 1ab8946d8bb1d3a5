//! Tasks in queues: what a worker may write, and what follows from it. Pure, like the judge of decisions.

mod worker;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use serde_json::{Value, json};

pub use self::worker::{Lost, answer, claim, give_back, owns, renew};
use crate::{facts::WorkFact, heartbeat::later, schema::Schema, turn::MAX_OUTPUT};
use signoff_api::{
    Json, WorkItemPhase, WorkItemSpec, WorkItemStatus, bounds,
    condition::{self, ConditionStatus},
    text::visible,
    work_item::WorkError,
};

/// Condition of a task that has ended.
pub const COMPLETE: &str = "Complete";
/// How many answers of one claim are given back before the attempt has failed.
const MOST_GIVEN_BACK: i64 = 5;
/// Longest message in the status, in characters.
const MAX_MESSAGE: usize = 1_000;
/// Longest account of what does not fit, in characters.
const MAX_PROBLEM: usize = 2_000;

/// When a claim is lost, unless the worker renews it. `seen` is when the claim was first seen as it is: a worker whose clock
/// is wrong keeps a task no longer than one that is right.
pub fn lease_end(spec: &WorkItemSpec, status: &WorkItemStatus, seen: Timestamp) -> Option<Timestamp> {
    if status.phase != WorkItemPhase::Claimed {
        return None;
    }
    let latest = later(seen, spec.heartbeat.duration());
    Some(
        status
            .lease_until
            .as_ref()
            .map_or(latest, |until| until.0.min(latest)),
    )
}

/// When a task changes by itself: it is lost, or too late.
pub fn next_look(spec: &WorkItemSpec, status: &WorkItemStatus, seen: Timestamp) -> Option<Timestamp> {
    if status.phase.is_closed() {
        return None;
    }
    let expires = spec.expires_at.as_ref().map(|at| at.0);
    expires.into_iter().chain(lease_end(spec, status, seen)).min()
}

/// What follows from how a task stands: its next status, which may be the same. An answer that is there counts, however late
/// it is looked at: nobody else has had the task since.
pub fn judge(
    spec: &WorkItemSpec,
    status: &WorkItemStatus,
    seen: Timestamp,
    generation: Option<i64>,
    now: Timestamp,
) -> WorkItemStatus {
    let mut next = status.clone();
    if status.phase.is_closed() {
        return next;
    }
    let is_over = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
    match (&status.answer, status.phase) {
        (Some(answer), WorkItemPhase::Claimed) => match &answer.error {
            Some(error) => failed(spec, &mut next, error),
            None => result(spec, &mut next, answer.result.as_ref()),
        },
        _ if is_over(spec.expires_at.as_ref().map(|at| at.0)) => {
            end(
                &mut next,
                WorkItemPhase::Expired,
                "no worker gave a result in time",
            );
        }
        _ if is_over(lease_end(spec, status, seen)) => lost(spec, &mut next),
        _ => {}
    }
    conclude(&mut next, generation, now);
    next
}

/// Ends a task that nobody needs any more.
pub fn cancelled(
    status: &WorkItemStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> WorkItemStatus {
    let mut next = status.clone();
    end(&mut next, WorkItemPhase::Cancelled, message);
    conclude(&mut next, generation, now);
    next
}

/// The fields of the status that end a task of which nothing but its conditions can be read. The others stay.
pub fn ended_unread(
    conditions: &[Condition],
    phase: WorkItemPhase,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Value {
    let mut next = WorkItemStatus {
        conditions: conditions.to_vec(),
        ..WorkItemStatus::default()
    };
    end(&mut next, phase, message);
    conclude(&mut next, generation, now);
    json!({
        "phase": next.phase, "message": next.message, "conditions": next.conditions,
        "answer": null, "leaseUntil": null,
    })
}

/// What a run is told of its task.
pub fn fact(spec: &WorkItemSpec, status: &WorkItemStatus) -> WorkFact {
    WorkFact {
        step: spec.step.clone(),
        iteration: spec.iteration,
        item: spec.item,
        phase: status.phase,
        worker: status.worker.clone(),
        result: status.answer.as_ref().and_then(|answer| answer.result.clone()),
        message: status.message.clone(),
        is_lost: status.answer.is_none() && status.problem.is_none(),
    }
}

/// Why a result cannot be taken, if it cannot.
pub fn misfit(spec: &WorkItemSpec, result: Option<&Json>) -> Option<String> {
    let null = Json::default();
    let value = result.unwrap_or(&null).as_value();
    let size = value.to_string().len();
    if size > MAX_OUTPUT {
        return Some(format!(
            "the result has {size} bytes; at most {MAX_OUTPUT} may be"
        ));
    }
    // the result of an item lies within a list
    let deepest = bounds::MAX_NESTING - usize::from(spec.item.is_some());
    if let Err(error) = bounds::nesting(value, deepest) {
        return Some(format!("the result: {error}"));
    }
    let schema = match Schema::compile(spec.schema.as_ref()?.as_value()) {
        Ok(schema) => schema,
        // a release is not cut with one
        Err(error) => return Some(format!("the schema of the result: {error}")),
    };
    let misfits = schema.misfits(value);
    let told = misfits.iter().map(|misfit| match misfit.pointer.as_str() {
        "" => misfit.message.clone(),
        at => format!("{at}: {}", misfit.message),
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| {
        cut(
            &format!("the result does not match the schema: {}", told.join("; ")),
            MAX_PROBLEM,
        )
    })
}

fn result(spec: &WorkItemSpec, next: &mut WorkItemStatus, result: Option<&Json>) {
    let Some(problem) = misfit(spec, result) else {
        next.problem = None;
        return end(next, WorkItemPhase::Succeeded, "");
    };
    next.answer = None;
    next.given_back = next.given_back.saturating_add(1);
    next.problem = Some(problem);
    if next.given_back >= MOST_GIVEN_BACK {
        next.failures = next.failures.saturating_add(1);
        let problem = next.problem.as_deref().unwrap_or_default();
        let message = format!("{MOST_GIVEN_BACK} answers of the worker were no good; the last: {problem}");
        end(next, WorkItemPhase::Failed, &message);
    }
}

fn failed(spec: &WorkItemSpec, next: &mut WorkItemStatus, error: &WorkError) {
    next.failures = next.failures.saturating_add(1);
    let message = if error.message.trim().is_empty() {
        "the worker says that the task failed"
    } else {
        error.message.as_str()
    };
    if error.retryable && next.failures < spec.attempts {
        queue(next);
        next.message = Some(cut(message, MAX_MESSAGE));
        return;
    }
    let message = match next.failures {
        1 => message.to_owned(),
        failures => format!("{message} (attempt {failures} of {})", spec.attempts),
    };
    end(next, WorkItemPhase::Failed, &message);
}

fn lost(spec: &WorkItemSpec, next: &mut WorkItemStatus) {
    next.failures = next.failures.saturating_add(1);
    let worker = next.worker.clone().unwrap_or_default();
    let message = format!(
        "nothing was heard of worker {worker} for {}",
        spec.heartbeat.as_str()
    );
    if next.failures < spec.attempts {
        queue(next);
        next.message = Some(cut(&message, MAX_MESSAGE));
        return;
    }
    next.problem = None;
    let message = match next.failures {
        1 => message,
        failures => format!("{message} (attempt {failures} of {})", spec.attempts),
    };
    end(next, WorkItemPhase::Failed, &message);
}

/// Puts it back in the queue. How often it was claimed stays, so that the last worker's writes fail.
fn queue(next: &mut WorkItemStatus) {
    next.phase = WorkItemPhase::Queued;
    next.worker = None;
    next.lease_until = None;
    next.progress = None;
    next.answer = None;
    next.problem = None;
    next.given_back = 0;
}

fn end(next: &mut WorkItemStatus, phase: WorkItemPhase, message: &str) {
    next.phase = phase;
    next.lease_until = None;
    next.message = (!message.is_empty()).then(|| cut(message, MAX_MESSAGE));
}

fn conclude(next: &mut WorkItemStatus, generation: Option<i64>, now: Timestamp) {
    if next.phase.is_closed() {
        let (reason, message) = (next.phase.to_string(), next.message.clone().unwrap_or_default());
        let done = ConditionStatus::True;
        condition::set(
            &mut next.conditions,
            COMPLETE,
            done,
            &reason,
            &message,
            generation,
            now,
        );
    }
}

/// Fits a text of others into its field, on one line on which all is seen.
fn cut(text: &str, most: usize) -> String {
    let text = visible(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
