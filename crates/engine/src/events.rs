//! Events for runs that wait for them: which waits want one, and which of them has it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::{
    callback_body::holds,
    callback_token::{is_of_old_pass, record_key},
    plan::{
        Plan,
        check::{as_declared, body_of_webhook},
    },
    turn::is_due_again,
};
use signoff_api::{
    Definition, RunStatus,
    run::{StepPhase, StepStatus},
    step::EventWait,
    trigger::TriggerSource,
};

/// A wait that is open for an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenWait {
    /// When it began.
    pub since: Option<Timestamp>,
    /// Name of the step.
    pub step: String,
    /// Its key in `status.events` of the run.
    pub key: String,
}

/// How a wait stands to an event that is meant for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has taken the event.
    Taken,
    /// It is open.
    Open,
    /// It is over, or has taken another event.
    Over,
    /// What it took is not known any more: a later pass has begun.
    Forgotten,
}

/// The waits of a run that are open for events, each with the hash of trigger and key that it waits for, out of these.
pub fn open(status: &RunStatus, hashes: &BTreeSet<String>) -> Vec<(String, OpenWait)> {
    if status.phase.is_finished() {
        return vec![];
    }
    let mut open = Vec::new();
    for entry in status.steps.iter().filter(|entry| is_open(entry)) {
        let key = key_of(entry);
        if !is_free(status, &key) {
            continue;
        }
        let wanted = entry.event_keys.iter().filter(|hash| hashes.contains(*hash));
        let wait = || OpenWait {
            since: entry.started_at.as_ref().map(|at| at.0),
            step: entry.name.clone(),
            key: key.clone(),
        };
        open.extend(wanted.map(|hash| (hash.clone(), wait())));
    }
    open
}

/// How a wait, by its key, stands to an event, by its name.
pub fn standing(status: &RunStatus, key: &str, event: &str) -> Standing {
    match status.events.get(key) {
        Some(record) if record.name == event => return Standing::Taken,
        Some(_) => return Standing::Over,
        None => {}
    }
    if is_of_old_pass(status, key) {
        return Standing::Forgotten;
    }
    let mut entries = status.steps.iter().filter(|entry| is_open(entry));
    let is_open = entries.any(|entry| key_of(entry) == key && !entry.event_keys.is_empty());
    if is_open && is_free(status, key) && !status.phase.is_finished() {
        Standing::Open
    } else {
        Standing::Over
    }
}

/// The hashes of the events that steps begin to wait for. Whatever may cause one comes after the state that says so.
pub fn begun(before: Option<&RunStatus>, after: &RunStatus) -> BTreeSet<String> {
    let waits = |status: &RunStatus| -> BTreeSet<String> {
        let waits = status.steps.iter().filter(|entry| !entry.event_keys.is_empty());
        waits.map(key_of).collect()
    };
    let known = before.map(waits).unwrap_or_default();
    let new = after.steps.iter().filter(|entry| !known.contains(&key_of(entry)));
    new.flat_map(|entry| entry.event_keys.iter().cloned()).collect()
}

/// Whether a step of a run may still begin to wait for events of a trigger. The run uses a release of `of_flow`.
pub fn may_await((plan, of_flow): (&Plan, &str), status: &RunStatus, (flow, trigger): (&str, &str)) -> bool {
    (0..plan.steps.len()).any(|step| {
        let awaited = plan.steps[step].kind.awaits_event();
        awaited.is_some_and(|(of, name)| of.unwrap_or(of_flow) == flow && name == trigger)
            && may_begin(plan, status, step)
    })
}

/// Whether a step may still begin, itself or an item or a pass of it. A loop that is over for a reason that is not written
/// down counts as one that goes on.
pub(crate) fn may_begin(plan: &Plan, status: &RunStatus, step: usize) -> bool {
    let planned = &plan.steps[step];
    if status.phase.is_finished() || status.ending.is_some() && !planned.is_finally {
        return false;
    }
    let Some(entry) = current(plan, status, step) else {
        return true;
    };
    let has_more_items = || {
        let items = entry.items.as_ref();
        !entry.phase.is_finished()
            && items.is_some_and(|items| i64::try_from(items.ended_count()).unwrap_or(i64::MAX) < items.count)
    };
    let repeats = |last: usize| {
        let ends = current(plan, status, last);
        ends.is_none_or(|ends| !ends.phase.is_finished())
    };
    let mut loops = plan.steps.iter().enumerate();
    has_more_items()
        || loops.any(|(last, around)| around.loops().any(|(_, again)| again.contains(&step)) && repeats(last))
}

/// The entry of the pass of a step that is due, if it has begun.
fn current<'a>(plan: &Plan, status: &'a RunStatus, step: usize) -> Option<&'a StepStatus> {
    let name = &plan.steps[step].name;
    let newest = status.steps.iter().rev();
    let mut newest = newest.filter(|entry| entry.name == *name && entry.item.is_none());
    newest.next().filter(|entry| !is_due_again(entry))
}

fn is_open(entry: &StepStatus) -> bool {
    entry.phase == StepPhase::Waiting
}

/// Whether nothing has ended a wait that the run only has to take note of.
fn is_free(status: &RunStatus, key: &str) -> bool {
    !status.events.contains_key(key) && !status.callbacks.contains_key(key)
}

fn key_of(entry: &StepStatus) -> String {
    record_key(&entry.name, entry.iteration, entry.item)
}

/// Whether a wait takes an event with one of its keys; names of headers are in lower case.
///
/// # Errors
/// Why that cannot be told.
pub fn accepts(
    definition: &Definition,
    wait: &EventWait,
    headers: &BTreeMap<String, String>,
    body: &Value,
) -> Result<bool, String> {
    let Some(when) = &wait.when else { return Ok(true) };
    let mut triggers = definition.triggers.iter().flatten();
    let trigger = triggers.find(|trigger| wait.flow.is_none() && trigger.name == wait.trigger);
    let body = match trigger.map(|trigger| &trigger.kind) {
        Some(TriggerSource::Webhook(webhook)) => as_declared(body.clone(), &body_of_webhook(webhook)),
        Some(TriggerSource::Schedule(_) | TriggerSource::Flow(_)) | None => body.clone(),
    };
    holds(when, headers, body)
}

/// Takes out what is of no more use: the bodies of events whose waits are over, and all of passes that are not kept.
pub fn forget_ended(status: &mut RunStatus) {
    let keys = status.events.keys();
    let old: Vec<String> = keys.filter(|key| is_of_old_pass(status, key)).cloned().collect();
    for key in old {
        status.events.remove(&key);
    }
    let open = status.steps.iter().filter(|entry| !entry.phase.is_finished());
    let open: BTreeSet<String> = open.map(key_of).collect();
    for (key, record) in &mut status.events {
        if !open.contains(key) {
            record.body = None;
        }
    }
}
