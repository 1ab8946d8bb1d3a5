//! What a decision sees: the plan, the facts and the state as it is by now. Kinds of steps see it, and change nothing
//! of it.

use std::time::Duration;

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

    /// The name of the run that it starts.
    pub(crate) fn child_name(&self) -> String {
        let (run, status) = (&self.run.facts.run, self.status);
        names::child_run_name(&run.name, &run.uid, &status.name, status.iteration)
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

impl RunView<'_> {
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
            .set("inputs", self.plan.inputs_as_declared(&run.inputs))
            .set("steps", steps(self.plan, self.state, is_finally))
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

    /// Which iteration of a step is due: the newest one, unless it is to be done again.
    pub(super) fn iteration(&self, step: usize) -> i64 {
        let newest = self.newest(step).map(|entry| &self.state.steps[entry]);
        match newest {
            None => 1,
            Some(newest) if is_due_again(newest) => newest.iteration.saturating_add(1),
            Some(newest) => newest.iteration,
        }
    }

    fn newest(&self, step: usize) -> Option<usize> {
        let name = &self.plan.steps[step].name;
        self.state.steps.iter().rposition(|entry| entry.name == *name)
    }

    /// How often a question of this step was superseded in this pass.
    pub(crate) fn superseded(&self, step: &str) -> usize {
        let entries = self.state.steps.iter();
        entries
            .filter(|entry| entry.name == step && is_superseded(entry) && entry.repeated.is_none())
            .count()
    }

    /// The number of the pass that a loop is in, by the step that ends it.
    pub(crate) fn pass_of(&self, last: &str) -> i64 {
        self.state.loops.get(last).map_or(1, |state| state.pass)
    }

    /// The entry of a step's iteration that is due, if it has begun.
    pub(super) fn current(&self, step: usize) -> Option<usize> {
        self.newest(step)
            .filter(|entry| !is_due_again(&self.state.steps[*entry]))
    }
}

/// Whether another iteration takes the place of this one.
fn is_due_again(entry: &StepStatus) -> bool {
    entry.repeated == Some(true) || is_superseded(entry)
}

/// Whether a question was superseded because a Connection changed below it.
fn is_superseded(entry: &StepStatus) -> bool {
    entry.outcome == Some(StepOutcome::Cancelled)
        && entry
            .error
            .as_ref()
            .is_some_and(|error| error.reason == StepReason::ConnectionChanged)
}

/// The results of each step in this pass, and in the one before. What is not there is absent, never null. In `finally`, the
/// run has ended before every other step that did not begin.
fn steps(plan: &Plan, state: &RunStatus, is_finally: bool) -> Value {
    let entries = &state.steps;
    let results = plan.steps.iter().map(|step| {
        let of_step = |repeated: bool| {
            let newest = entries.iter().rev();
            newest.filter(move |entry| entry.name == step.name && (entry.repeated == Some(true)) == repeated)
        };
        let newest = of_step(false).find(|entry| entry.phase.is_finished());
        let decision = of_step(false).find_map(|entry| entry.decision.as_ref());
        let omitted = (is_finally && !step.is_finally).then_some(StepOutcome::Omitted);
        let mut result = outcome(
            step,
            newest,
            decision,
            newest.map_or(omitted, |entry| entry.outcome),
        );
        if let Some(last) = step.loop_end {
            let pass = state
                .loops
                .get(&plan.steps[last].name)
                .map_or(1, |state| state.pass);
            result.insert("pass".to_owned(), json!(pass));
            let before = of_step(true).next();
            let previous =
                before.map(|entry| outcome(step, Some(entry), entry.decision.as_ref(), entry.outcome));
            result.extend(previous.map(|previous| ("previous".to_owned(), Value::Object(previous))));
        }
        (step.name.clone(), Value::Object(result))
    });
    Value::Object(results.collect())
}

fn outcome(
    step: &PlannedStep,
    entry: Option<&StepStatus>,
    decision: Option<&StepDecision>,
    outcome: Option<StepOutcome>,
) -> Map<String, Value> {
    let output = entry.and_then(|entry| entry.output.as_ref());
    fields([
        (
            "output",
            output.map(|output| step.types.output_as_declared(output.0.clone())),
        ),
        ("outcome", outcome.map(|outcome| json!(outcome))),
        ("decision", decision.map(|decision| decided(step, decision))),
        ("error", entry.and_then(failure).map(|error| json!(error))),
    ])
}

/// Why a step failed.
fn failure(entry: &StepStatus) -> Option<&StepError> {
    entry.error.as_ref().filter(|_| entry.phase == StepPhase::Failed)
}

fn decided(step: &PlannedStep, decision: &StepDecision) -> Value {
    object([
        ("verdict", Some(json!(decision.verdict))),
        ("by", Some(json!(decision.by))),
        ("at", decision.at.as_ref().map(|at| json!(at))),
        (
            "comment",
            Some(json!(decision.comment.clone().unwrap_or_default())),
        ),
        (
            "values",
            Some(json!(
                step.types
                    .values_as_declared(decision.values.clone().unwrap_or_default().0)
            )),
        ),
    ])
}

/// An object of what is there.
fn object<const N: usize>(all: [(&str, Option<Value>); N]) -> Value {
    Value::Object(fields(all))
}

fn fields<const N: usize>(all: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let there = all
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    there.collect()
}
