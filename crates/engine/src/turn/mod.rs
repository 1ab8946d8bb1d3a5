//! One turn of a run: the state as it changes while a decision is made.

mod apply;
mod attempts;
mod children;
mod ending;
mod finally;
mod items;
mod items_question;
mod jobs;
mod notifications;
mod outcome_question;
mod passes;
mod place;
mod polls;
mod processes;
mod resolutions;
mod settle;
mod tasks;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use serde_json::Value;

use self::attempts::BEFORE;
#[cfg(test)]
pub(crate) use self::processes::LONGEST_ENDING;
pub(crate) use self::view::{CallView, Owned, RunView, StepView, is_due_again};
use super::{
    advance::MAX_BEGUN,
    effect::{Effect, EffectKey},
    facts::Facts,
    object::ObjectKey,
    plan::{Items, Plan, PlannedStep},
};
use signoff_api::{
    Json, RunStatus, bounds,
    reason::StepReason,
    run::{EndingOutcome, StepError, StepOutcome, StepPhase, StepStatus},
    text::into_visible,
};

/// Largest output of a step, in bytes of JSON.
pub(crate) const MAX_OUTPUT: usize = 64 * 1024;

pub(super) struct Turn<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    now: Timestamp,
    /// The state as it was acknowledged: an attempt that it does not know was not sent, unless this process is performing it.
    before: &'a RunStatus,
    state: RunStatus,
    effects: Vec<Effect>,
    ending: Option<EndingOutcome>,
    /// Why it is to end well before its last step.
    end_message: Option<String>,
    /// The step that made it end badly.
    failed_step: Option<String>,
    /// Whether it is to end without the steps of `finally`.
    terminated: bool,
    /// Names and iterations of steps after which a loop is over.
    last_passes: BTreeSet<(String, i64)>,
    /// How many steps this turn has begun.
    begun: usize,
    /// Steps that begin nothing in this turn: they are to be done again when something that was sent is settled.
    held: BTreeSet<usize>,
    /// Whether outputs are left out, because the status has no room for them.
    without_outputs: bool,
    /// The items of steps that are under way.
    items: BTreeMap<usize, Items>,
    item_callbacks: view::ItemCallbacks,
}

impl<'a> Turn<'a> {
    pub(super) fn new(plan: &'a Plan, state: &'a RunStatus, facts: &'a Facts, now: Timestamp) -> Self {
        let mut turn = Self {
            plan,
            facts,
            now,
            before: state,
            state: state.clone(),
            effects: Vec::new(),
            ending: state.ending.as_ref().map(|ending| ending.outcome),
            end_message: state.ending.as_ref().and_then(|ending| ending.message.clone()),
            failed_step: state
                .ending
                .as_ref()
                .and_then(|ending| ending.failed_step.clone()),
            terminated: false,
            last_passes: BTreeSet::new(),
            begun: 0,
            held: BTreeSet::new(),
            without_outputs: false,
            items: BTreeMap::new(),
            item_callbacks: view::ItemCallbacks::default(),
        };
        turn.read_items();
        turn
    }

    fn view(&self) -> RunView<'_> {
        RunView {
            plan: self.plan,
            facts: self.facts,
            state: &self.state,
            now: self.now,
            item_callbacks: &self.item_callbacks,
        }
    }

    fn step_view(&self, step: usize, entry: usize) -> StepView<'_> {
        let status = &self.state.steps[entry];
        let index = status.item.and_then(|item| usize::try_from(item).ok());
        let items = index.and_then(|index| self.items.get(&step)?.values.get(index));
        StepView {
            run: self.view(),
            planned: &self.plan.steps[step],
            status,
            item: items,
            call: None,
        }
    }

    /// Takes in what came of effects.
    pub(super) fn hear_outcomes(&mut self) {
        for outcome in &self.facts.outcomes {
            let entry = self.state.steps.iter().position(|entry| {
                entry.name == outcome.key.step
                    && entry.iteration == outcome.key.iteration
                    && entry.item == outcome.key.item
                    && entry.attempt == outcome.key.attempt
                    && entry.phase == StepPhase::Running
            });
            if let (Some(entry), Some(step)) = (entry, self.plan.index_of(&outcome.key.step)) {
                self.attempt_ended(step, entry, outcome);
            }
        }
    }

    /// Looks at every step that has begun and not ended: is what it waits for there?
    pub(super) fn look_at_unfinished(&mut self) {
        let unfinished: Vec<usize> = (0..self.state.steps.len())
            .filter(|entry| !self.state.steps[*entry].phase.is_finished())
            .collect();
        for entry in unfinished {
            // a request for changes may have ended it in this very turn
            if self.state.steps[entry].phase.is_finished() {
                continue;
            }
            let Some(step) = self.plan.index_of(&self.state.steps[entry].name) else {
                continue;
            };
            if self.ending.is_none() || self.is_last(step) {
                self.look_at(step, entry);
            }
        }
    }

    fn look_at(&mut self, step: usize, entry: usize) {
        let (planned, status) = (&self.plan.steps[step], &self.state.steps[entry]);
        if status.items.is_some() {
            // it goes on when its items have been looked at
            return;
        }
        match status.phase {
            StepPhase::Retrying => self.retry_if_due(step, entry),
            // people are to say whether it happened
            StepPhase::Waiting if self.is_at_most_once(step, entry) => {
                self.outcome_question_open(step, entry);
            }
            StepPhase::Running if planned.rules.attempts && ObjectKey::of(status).is_none() => {
                self.attempt_running(step, entry);
            }
            StepPhase::Running | StepPhase::Waiting => self.go_on_with(step, entry),
            StepPhase::Succeeded
            | StepPhase::Failed
            | StepPhase::Skipped
            | StepPhase::Omitted
            | StepPhase::Cancelled => {}
        }
    }

    /// Begins every step whose turn it is, until there is none, or this turn has done enough.
    pub(super) fn start_what_is_ready(&mut self) {
        loop {
            self.go_on_with_items();
            self.look_after_loops();
            if self.has_done_enough() {
                return;
            }
            let Some(step) = self.next_ready() else { return };
            self.begun += 1;
            self.start(step);
        }
    }

    /// The step to begin next.
    fn next_ready(&self) -> Option<usize> {
        if self.ending.is_some() || self.facts.run.suspend {
            return None;
        }
        (0..self.plan.main).find(|step| self.is_ready(*step))
    }

    fn has_done_enough(&self) -> bool {
        self.begun >= MAX_BEGUN
    }

    /// Whether this turn was enough, and steps are left that could begin now.
    pub(super) fn has_more_to_do(&self) -> bool {
        self.has_done_enough() && self.next_ready().is_some()
    }

    fn is_ready(&self, step: usize) -> bool {
        self.view().current(step).is_none()
            && !self.held.contains(&step)
            && self.pauses_until(step).is_none()
            && !self.ends_process_of(step)
            && self.plan.steps[step]
                .needs
                .iter()
                .all(|needed| self.is_ended(needed.step))
            && (self.state.retry.is_none() || self.is_asked_again_before(step))
    }

    /// Whether every approval before a step is decided: those before what was taken over are asked again.
    fn is_asked_again_before(&self, step: usize) -> bool {
        let needs = |step: usize| self.plan.steps[step].needs.iter().map(|needed| needed.step);
        let mut open: Vec<usize> = needs(step).collect();
        let mut seen = BTreeSet::new();
        while let Some(before) = open.pop() {
            if !self.is_ended(before) {
                return false;
            }
            let entry = self.view().current(before);
            let taken_over = entry.is_some_and(|entry| self.state.steps[entry].taken_over == Some(true));
            if taken_over && seen.insert(before) {
                open.extend(needs(before));
            }
        }
        true
    }

    /// Whether a step has ended, and the run goes on.
    fn is_ended(&self, step: usize) -> bool {
        let entry = self.view().current(step).map(|entry| &self.state.steps[entry]);
        entry.is_some_and(|entry| match entry.phase {
            StepPhase::Succeeded | StepPhase::Skipped | StepPhase::Omitted => true,
            StepPhase::Failed => {
                let reason = entry.error.as_ref().map(|error| error.reason);
                self.plan.steps[step].continues_after(reason)
            }
            StepPhase::Running | StepPhase::Retrying | StepPhase::Waiting | StepPhase::Cancelled => false,
        })
    }

    /// Whether everything that a step needs ended as it asks for.
    fn is_wanted(&self, step: usize) -> bool {
        let view = self.view();
        self.plan.steps[step].needs.iter().all(|needed| {
            let outcome = view
                .current(needed.step)
                .and_then(|entry| self.state.steps[entry].outcome);
            outcome.is_some_and(|outcome| needed.takes(outcome))
        })
    }

    fn start(&mut self, step: usize) {
        let planned = &self.plan.steps[step];
        let is_wanted = self.is_wanted(step);
        let entry = self.begin(planned, self.view().iteration(step), None);
        if !is_wanted {
            return self.finish(entry, StepPhase::Omitted, StepOutcome::Omitted, None);
        }
        match planned
            .when
            .as_ref()
            .map(|when| when.holds(&self.step_view(step, entry).scope()))
        {
            Some(Err(error)) => {
                return self.fail(entry, error.reason(), format!("when: {error}"));
            }
            Some(Ok(false)) => return self.finish(entry, StepPhase::Skipped, StepOutcome::Skipped, None),
            Some(Ok(true)) | None => {}
        }
        if planned.for_each.is_some() {
            return self.begin_items(step, entry);
        }
        if planned.rules.attempts {
            self.begin_attempt(step, entry);
        }
        if self.may_have_happened_before(step) {
            return self.outcome_question(step, entry, BEFORE.to_owned());
        }
        self.start_kind(step, entry);
    }

    /// Whether a run that this one retries may have performed a step. It says so once.
    fn may_have_happened_before(&mut self, step: usize) -> bool {
        let Some(retry) = &mut self.state.retry else {
            return false;
        };
        let name = &self.plan.steps[step].name;
        let known = retry.unknown.len();
        retry.unknown.retain(|unknown| unknown != name);
        retry.unknown.len() < known
    }

    fn begin(&mut self, planned: &PlannedStep, iteration: i64, item: Option<i64>) -> usize {
        let now = MicroTime(self.now);
        self.state.started_at.get_or_insert_with(|| now.clone());
        self.state.steps.push(StepStatus {
            name: planned.name.clone(),
            iteration,
            item,
            repeated: None,
            taken_over: None,
            phase: StepPhase::Running,
            outcome: None,
            attempt: 0,
            started_at: Some(now),
            attempted_at: None,
            finished_at: None,
            wake_at: None,
            deadline: None,
            reminded_at: None,
            event_keys: vec![],
            approval: None,
            run: None,
            task: None,
            job: None,
            log: None,
            worker: None,
            digest: None,
            connections: vec![],
            requests: vec![],
            decision: None,
            output: None,
            usage: None,
            agent: None,
            items: None,
            error: None,
            waiting_on: None,
        });
        self.state.steps.len() - 1
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
        // the output of an item lies within a list
        let within = usize::from(self.state.steps[entry].item.is_some());
        let deepest = bounds::MAX_NESTING - within;
        if let Some(Err(error)) = output.as_ref().map(|output| bounds::nesting(output, deepest)) {
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

    /// Ends a step badly, and with it the run, unless that goes on after the failure or ends for another reason
    /// already.
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
        let planned = self.plan.index_of(&step.name).map(|step| &self.plan.steps[step]);
        // an item ends its step, not the run
        let continues = step.item.is_some()
            || planned
                .is_some_and(|step| step.failures.contains(&outcome) && step.continues_after(Some(reason)));
        if self.ending.is_none() && !continues {
            let message = cut(format!("step {}: {message}", step.name));
            self.failed_step = Some(step.name.clone());
            self.state.error = Some(StepError { reason, message });
            self.ending = Some(ending);
        }
    }
}

fn key_of(step: &StepStatus) -> EffectKey {
    EffectKey {
        step: step.name.clone(),
        iteration: step.iteration,
        item: step.item,
        attempt: step.attempt,
    }
}

/// What the other side tells a repetition by: the same for every attempt.
fn idempotency_key(run: &str, step: &StepStatus) -> String {
    let (name, iteration) = (&step.name, step.iteration);
    let of_step = match step.item {
        None => format!("{run}/{name}/{iteration}"),
        Some(item) => format!("{run}/{name}/{iteration}/{item}"),
    };
    let Some(agent) = &step.agent else {
        return of_step;
    };
    // an agent makes many calls
    match agent.open.first() {
        Some(call) => format!("{of_step}/call-{}", call.number),
        None => format!("{of_step}/turn-{}", agent.turns.saturating_add(1)),
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
