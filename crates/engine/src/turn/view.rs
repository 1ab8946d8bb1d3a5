//! What a decision sees: the plan, the facts and the state as it is by now. Kinds of steps see it, and change nothing
//! of it.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    callback_token::{CallbackAddress, record_key},
    expression::{CALLBACKS, Scope},
    facts::Facts,
    object::{ObjectFact, ObjectKey},
    plan::{Plan, PlannedStep},
};
use signoff_api::{
    Digest, RunStatus, names,
    reason::StepReason,
    run::{CallbackRecord, StepDecision, StepError, StepOutcome, StepPhase, StepStatus},
};

/// A run in the middle of a decision.
#[derive(Clone, Copy)]
pub(crate) struct RunView<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) facts: &'a Facts,
    pub(crate) state: &'a RunStatus,
    pub(crate) now: Timestamp,
}

/// One iteration of a step in the middle of a decision.
#[derive(Clone, Copy)]
pub(crate) struct StepView<'a> {
    pub(crate) run: RunView<'a>,
    pub(crate) planned: &'a PlannedStep,
    pub(crate) status: &'a StepStatus,
}

/// What is known of the object that a step owns.
pub(crate) enum Owned<'a> {
    /// It owns none.
    Nothing,
    /// It is not there yet.
    Absent,
    /// The API server refuses to create it.
    Refused(&'a str),
    /// It is there.
    There(&'a ObjectFact),
}

impl<'a> StepView<'a> {
    /// What expressions see now.
    pub(crate) fn scope(&self) -> Scope {
        self.run.scope_of(self.planned.is_finally)
    }

    /// This long after now.
    pub(crate) fn after(&self, span: Duration) -> Timestamp {
        self.run.after(span)
    }

    /// The callback that came for this iteration.
    pub(crate) fn callback(&self) -> Option<&'a CallbackRecord> {
        let key = record_key(&self.status.name, self.status.iteration);
        self.run.state.callbacks.get(&key)
    }

    /// The object that it owns. One that is about something else is not ours, whoever put it there.
    pub(crate) fn object(&self) -> Owned<'a> {
        let Some(key) = ObjectKey::of(self.status) else {
            return Owned::Nothing;
        };
        let facts = self.run.facts;
        let known = facts.objects.get(&key).filter(|fact| fact.is_of(self.status));
        match (known, facts.refused.get(&key)) {
            (Some(fact), _) => Owned::There(fact),
            (None, Some(why)) => Owned::Refused(why),
            (None, None) => Owned::Absent,
        }
    }

    /// The name of its question.
    pub(crate) fn approval_name(&self) -> String {
        let (run, status) = (&self.run.facts.run, self.status);
        names::approval_name(&run.name, &run.uid, &status.name, status.iteration, None)
    }

    /// Digest of a Connection that it uses, as it was when people last decided on what comes after.
    pub(crate) fn bound(&self, connection: &str) -> Option<Digest> {
        let decided = self.run.state.steps.iter().rev().filter(|entry| {
            entry.phase == StepPhase::Succeeded
                && matches!(
                    entry.outcome,
                    Some(StepOutcome::Approved | StepOutcome::Rejected | StepOutcome::TimedOut)
                )
        });
        let binds = |name: &str| {
            let index = self.run.plan.index_of(name)?;
            self.run.plan.steps[index].binds.get(connection)
        };
        decided
            .filter(|entry| binds(&entry.name).is_some_and(|steps| steps.contains(&self.planned.name)))
            .find_map(|entry| entry.connections.iter().find(|bound| bound.name == connection))
            .map(|bound| bound.digest.clone())
    }
}

impl<'a> RunView<'a> {
    /// What expressions see now; callbacks are those of the iteration that is due.
    pub(crate) fn scope(&self) -> Scope {
        self.scope_of(false)
    }

    /// What expressions see now, in a step of `finally` or elsewhere.
    fn scope_of(&self, is_finally: bool) -> Scope {
        let ending = self.state.ending.as_ref().filter(|_| is_finally);
        let error = self.state.error.as_ref().filter(|_| is_finally);
        let (run, release) = (&self.facts.run, &self.facts.release);
        let mut scope = Scope::default();
        scope
            .set("inputs", run.inputs.to_value())
            .set("steps", steps(self.plan, &self.state.steps, is_finally))
            .set(
                "run",
                object([
                    ("name", Some(json!(run.name))),
                    ("namespace", Some(json!(run.namespace))),
                    ("uid", Some(json!(run.uid))),
                    ("requestedBy", run.requested_by.as_ref().map(|user| json!(user))),
                    ("outcome", ending.map(|ending| json!(ending.outcome))),
                    ("error", error.map(|error| json!(error))),
                    (
                        "failedStep",
                        ending
                            .and_then(|ending| ending.failed_step.as_ref())
                            .map(|step| json!(step)),
                    ),
                ]),
            )
            .set(
                "release",
                object([
                    ("name", Some(json!(release.name))),
                    ("digest", Some(json!(release.digest))),
                    ("commit", release.commit.as_ref().map(|commit| json!(commit))),
                    ("flow", Some(json!(release.flow))),
                ]),
            )
            .set(CALLBACKS, self.callbacks());
        scope
    }

    /// Address and token of the callback of each step that waits for one.
    pub(super) fn callbacks(&self) -> Value {
        let mut all = Map::new();
        for (i, step) in self.plan.steps.iter().enumerate() {
            if !step.kind.takes_callback() {
                continue;
            }
            let run = &self.facts.run;
            let token = self.facts.callbacks.keys.token(&CallbackAddress {
                namespace: run.namespace.clone(),
                run: run.name.clone(),
                uid: run.uid.clone(),
                step: step.name.clone(),
                iteration: self.iteration(i),
            });
            all.insert(
                step.name.clone(),
                json!({ "url": self.facts.callbacks.url(&token), "token": token }),
            );
        }
        Value::Object(all)
    }

    /// This long after now.
    pub(super) fn after(&self, span: Duration) -> Timestamp {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        self.now.checked_add(span).unwrap_or(Timestamp::MAX)
    }

    /// Which time round a step is due: once, once more for every request for changes that led back to it or before it,
    /// and once more each time that a Connection changed below its question.
    pub(super) fn iteration(&self, step: usize) -> i64 {
        let requests = self.state.steps.iter().filter(|entry| {
            entry.outcome == Some(StepOutcome::ChangesRequested)
                && self
                    .done_again_after(&entry.name)
                    .is_some_and(|again| again.contains(&step))
        });
        let superseded = self.superseded(&self.plan.steps[step].name);
        1 + i64::try_from(requests.count() + superseded).unwrap_or(i64::MAX - 1)
    }

    /// The steps that are done again when people want changes at this one.
    pub(super) fn done_again_after(&self, step: &str) -> Option<&'a BTreeSet<usize>> {
        let question = self.plan.steps[self.plan.index_of(step)?].kind.question()?;
        question.changes.as_ref().map(|changes| &changes.again)
    }

    /// How often a question of this step was superseded.
    pub(crate) fn superseded(&self, step: &str) -> usize {
        let is_superseded = |error: &StepError| error.reason == StepReason::ConnectionChanged;
        self.state
            .steps
            .iter()
            .filter(|entry| entry.name == step && entry.outcome == Some(StepOutcome::Cancelled))
            .filter(|entry| entry.error.as_ref().is_some_and(is_superseded))
            .count()
    }

    /// The entry of a step's iteration that is due, if it has begun.
    pub(super) fn current(&self, step: usize) -> Option<usize> {
        let (name, iteration) = (&self.plan.steps[step].name, self.iteration(step));
        self.state
            .steps
            .iter()
            .rposition(|entry| entry.name == *name && entry.iteration == iteration)
    }
}

/// The newest result of each step. What is not there is absent, never null. In `finally`, the run has ended before every
/// other step that did not begin.
fn steps(plan: &Plan, entries: &[StepStatus], is_finally: bool) -> Value {
    let results = plan.steps.iter().map(|step| {
        let newest = entries
            .iter()
            .rfind(|entry| entry.name == step.name && entry.phase.is_finished());
        let decision = entries
            .iter()
            .rfind(|entry| entry.name == step.name && entry.decision.is_some())
            .and_then(|entry| entry.decision.as_ref());
        let omitted = (is_finally && !step.is_finally).then_some(StepOutcome::Omitted);
        let outcome = newest.map_or(omitted, |entry| entry.outcome);
        let result = object([
            (
                "output",
                newest
                    .and_then(|entry| entry.output.as_ref())
                    .map(|output| output.0.clone()),
            ),
            ("outcome", outcome.map(|outcome| json!(outcome))),
            ("decision", decision.map(decided)),
            ("error", newest.and_then(failure).map(|error| json!(error))),
        ]);
        (step.name.clone(), result)
    });
    Value::Object(results.collect())
}

/// Why a step failed.
fn failure(entry: &StepStatus) -> Option<&StepError> {
    entry.error.as_ref().filter(|_| entry.phase == StepPhase::Failed)
}

fn decided(decision: &StepDecision) -> Value {
    object([
        ("verdict", Some(json!(decision.verdict))),
        ("by", Some(json!(decision.by))),
        ("at", decision.at.as_ref().map(|at| json!(at))),
        (
            "comment",
            Some(json!(decision.comment.clone().unwrap_or_default())),
        ),
        ("values", Some(json!(decision.values.clone().unwrap_or_default()))),
    ])
}

/// An object of what is there.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}
