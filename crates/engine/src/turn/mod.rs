//! One turn of a run: the state as it changes while a decision is made.

mod approval;
mod connections;
mod ending;
mod http;
mod outcome_question;
mod scope;
mod settle;
mod wait;

use std::collections::BTreeSet;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use serde_json::Value;

use super::{
    effect::{Effect, EffectKey},
    facts::Facts,
    plan::{Action, Plan, PlannedStep},
};
use signoff_api::{
    Json, RunStatus, bounds,
    reason::StepReason,
    run::{EndingOutcome, StepError, StepOutcome, StepPhase, StepStatus},
    text::into_visible,
};

/// Largest output of a step, in bytes of JSON.
pub(super) const MAX_OUTPUT: usize = 64 * 1024;

pub(super) struct Turn<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    now: Timestamp,
    /// The state as it was acknowledged: an attempt that it does not know was not sent, unless this process is performing it.
    before: &'a RunStatus,
    state: RunStatus,
    effects: Vec<Effect>,
    ending: Option<EndingOutcome>,
    /// Steps that begin nothing in this turn: they are to be done again when something that was sent is settled.
    held: BTreeSet<usize>,
    /// Whether outputs are left out, because the status has no room for them.
    without_outputs: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(plan: &'a Plan, state: &'a RunStatus, facts: &'a Facts, now: Timestamp) -> Self {
        Self {
            plan,
            facts,
            now,
            before: state,
            state: state.clone(),
            effects: Vec::new(),
            ending: state.ending.as_ref().map(|ending| ending.outcome),
            held: BTreeSet::new(),
            without_outputs: false,
        }
    }

    /// Takes in what came of effects.
    pub(super) fn hear_outcomes(&mut self) {
        for outcome in &self.facts.outcomes {
            let entry = self.state.steps.iter().position(|entry| {
                entry.name == outcome.key.step
                    && entry.iteration == outcome.key.iteration
                    && entry.attempt == outcome.key.attempt
                    && entry.phase == StepPhase::Running
            });
            if let Some(entry) = entry {
                self.http_outcome(entry, outcome);
            }
        }
    }

    /// Looks at every step that has begun and not ended: is what it waits for there?
    pub(super) fn look_at_unfinished(&mut self) {
        let unfinished: Vec<usize> = (0..self.state.steps.len())
            .filter(|entry| !self.state.steps[*entry].phase.is_finished())
            .collect();
        for entry in unfinished {
            if self.ending.is_some() {
                return;
            }
            // a request for changes may have ended it in this very turn
            if self.state.steps[entry].phase.is_finished() {
                continue;
            }
            let Some(step) = self.plan.index_of(&self.state.steps[entry].name) else {
                continue;
            };
            match (&self.plan.steps[step].action, self.state.steps[entry].phase) {
                (Action::Http(_), StepPhase::Running) => self.http_running(entry, step),
                (Action::Http(_), StepPhase::Retrying) => self.http_retrying(entry, step),
                (Action::Http(_), StepPhase::Waiting) => self.outcome_question_open(entry, step),
                (Action::Wait(_), _) => self.wait_open(entry, step),
                (Action::Approval(_), _) => self.approval_open(entry, step),
                (Action::Set(_) | Action::Http(_), _) => {}
            }
        }
    }

    /// Begins every step whose turn it is, until there is none.
    pub(super) fn start_what_is_ready(&mut self) {
        while self.ending.is_none() && !self.facts.run.suspend {
            let Some(step) = (0..self.plan.steps.len()).find(|step| self.is_ready(*step)) else {
                return;
            };
            self.start(step);
        }
    }

    fn is_ready(&self, step: usize) -> bool {
        self.current(step).is_none()
            && !self.held.contains(&step)
            && self.plan.steps[step]
                .needs
                .iter()
                .all(|needed| self.is_done(*needed))
    }

    fn is_done(&self, step: usize) -> bool {
        self.current(step).is_some_and(|entry| {
            matches!(
                self.state.steps[entry].phase,
                StepPhase::Succeeded | StepPhase::Skipped
            )
        })
    }

    fn start(&mut self, step: usize) {
        let planned = &self.plan.steps[step];
        let entry = self.begin(planned, self.iteration(step));
        match planned.when.as_ref().map(|when| when.holds(&self.scope())) {
            Some(Err(error)) => {
                return self.fail(entry, error.reason(), format!("when: {error}"));
            }
            Some(Ok(false)) => return self.finish(entry, StepPhase::Skipped, StepOutcome::Skipped, None),
            Some(Ok(true)) | None => {}
        }
        match &planned.action {
            Action::Http(_) => self.http_attempt(entry, step),
            Action::Set(values) => match values.value(&self.scope()) {
                Ok(value) => self.finish(entry, StepPhase::Succeeded, StepOutcome::Succeeded, Some(value)),
                Err(error) => self.fail(entry, error.reason(), error.to_string()),
            },
            Action::Wait(wait) => self.wait_start(entry, step, wait),
            Action::Approval(approval) => self.approval_start(entry, step, approval),
        }
    }

    fn begin(&mut self, planned: &PlannedStep, iteration: i64) -> usize {
        let now = MicroTime(self.now);
        self.state.started_at.get_or_insert_with(|| now.clone());
        self.state.steps.push(StepStatus {
            name: planned.name.clone(),
            iteration,
            phase: StepPhase::Running,
            outcome: None,
            attempt: 0,
            started_at: Some(now),
            attempted_at: None,
            finished_at: None,
            wake_at: None,
            deadline: None,
            approval: None,
            digest: None,
            connections: vec![],
            decision: None,
            output: None,
            error: None,
            waiting_on: None,
        });
        self.state.steps.len() - 1
    }

    /// Which time round a step is due: once, once more for every request for changes that led back to it or before it, and once more each time
    /// that a Connection changed below its question.
    fn iteration(&self, step: usize) -> i64 {
        let requests = self.state.steps.iter().filter(|entry| {
            entry.outcome == Some(StepOutcome::ChangesRequested)
                && self
                    .done_again_after(&entry.name)
                    .is_some_and(|again| again.contains(&step))
        });
        let superseded = self.superseded(&self.plan.steps[step].name);
        1 + i64::try_from(requests.count() + superseded).unwrap_or(i64::MAX - 1)
    }

    fn done_again_after(&self, approval: &str) -> Option<&'a BTreeSet<usize>> {
        match &self.plan.steps[self.plan.index_of(approval)?].action {
            Action::Approval(approval) => approval.changes.as_ref().map(|changes| &changes.again),
            _ => None,
        }
    }

    /// The entry of a step's iteration that is due, if it has begun.
    fn current(&self, step: usize) -> Option<usize> {
        let (name, iteration) = (&self.plan.steps[step].name, self.iteration(step));
        self.state
            .steps
            .iter()
            .rposition(|entry| entry.name == *name && entry.iteration == iteration)
    }

    /// Ends a step well, or with an outcome the flow goes on with.
    fn finish(&mut self, entry: usize, phase: StepPhase, outcome: StepOutcome, output: Option<Value>) {
        if let Some(size) = output
            .as_ref()
            .map(|output| output.to_string().len())
            .filter(|size| *size > MAX_OUTPUT)
        {
            let message = format!("the output has {size} bytes; at most {MAX_OUTPUT} are kept");
            return self.fail(entry, StepReason::OutputTooLarge, message);
        }
        if let Some(Err(error)) = output
            .as_ref()
            .map(|output| bounds::nesting(output, bounds::MAX_NESTING))
        {
            return self.fail(
                entry,
                StepReason::OutputTooLarge,
                format!("the output cannot be kept: {error}"),
            );
        }
        let output = output.filter(|output| !output.is_null());
        let step = &mut self.state.steps[entry];
        step.phase = phase;
        step.outcome = Some(outcome);
        step.finished_at = Some(MicroTime(self.now));
        step.error = output
            .as_ref()
            .filter(|_| self.without_outputs)
            .map(|_| StepError {
                reason: StepReason::StatusTooLarge,
                message: "the status has no room for its output".to_owned(),
            });
        step.output = output.filter(|_| !self.without_outputs).map(Json);
        step.wake_at = None;
        step.waiting_on = None;
    }

    /// Ends a step badly, and with it the run, unless that ends for another reason already.
    fn fail(&mut self, entry: usize, reason: StepReason, message: impl AsRef<str>) {
        self.end_badly(
            entry,
            StepOutcome::Failed,
            reason,
            message.as_ref(),
            EndingOutcome::Failed,
        );
    }

    fn end_badly(
        &mut self,
        entry: usize,
        outcome: StepOutcome,
        reason: StepReason,
        message: &str,
        ending: EndingOutcome,
    ) {
        let step = &mut self.state.steps[entry];
        step.phase = StepPhase::Failed;
        step.outcome = Some(outcome);
        step.finished_at = Some(MicroTime(self.now));
        step.wake_at = None;
        step.waiting_on = None;
        step.error = Some(StepError {
            reason,
            message: cut(message.to_owned()),
        });
        if self.ending.is_none() {
            let message = cut(format!("step {}: {message}", step.name));
            self.state.error = Some(StepError { reason, message });
            self.ending = Some(ending);
        }
    }

    fn after(&self, span: std::time::Duration) -> Timestamp {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        self.now.checked_add(span).unwrap_or(Timestamp::MAX)
    }
}

fn key_of(step: &StepStatus) -> EffectKey {
    EffectKey {
        step: step.name.clone(),
        iteration: step.iteration,
        attempt: step.attempt,
    }
}

/// Fits a message into its field.
fn cut(message: String) -> String {
    let message = into_visible(message);
    match message.char_indices().nth(1_000) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// A sentence that fits `waitingOn`.
fn sentence(text: String) -> String {
    let text = into_visible(text);
    match text.char_indices().nth(500) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
