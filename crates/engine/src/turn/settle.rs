//! What becomes of steps that are under way when they are to stop.
//!
//! What was not sent is not begun. What was sent and may be repeated is broken off, and the step says that it was under way. What was sent and
//! must not be repeated keeps its outcome; where that cannot be known, people are asked.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Turn, attempts::INTERRUPTED, key_of, sentence};
use crate::{
    effect::{Effect, EffectKey},
    object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind, OpenJob, OwnedObject, StartRun},
};
use signoff_api::{
    reason::StepReason,
    run::{StepError, StepOutcome, StepPhase},
};

/// Whether a run is started for this pass or item. Its step names it only when it is there.
fn is_for(run: &StartRun, key: &EffectKey) -> bool {
    let parent = &run.parent;
    (parent.step.as_str(), parent.iteration, parent.item) == (key.step.as_str(), key.iteration, key.item)
}

/// The attempt that a Job is of.
fn job_key(job: &OpenJob) -> EffectKey {
    EffectKey {
        step: job.step.clone(),
        iteration: job.iteration,
        item: job.item,
        attempt: job.attempt,
    }
}

impl Turn<'_> {
    /// Whether a step was sent that must not be repeated, and it is not settled what came of it.
    pub(super) fn is_unsettled(&self, entry: usize) -> bool {
        let status = &self.state.steps[entry];
        if status.items.is_some() {
            let items = self.items_under_way(entry);
            return items.into_iter().any(|item| self.is_unsettled(item));
        }
        let at_most_once = || {
            self.plan
                .index_of(&status.name)
                .is_some_and(|step| self.is_at_most_once(step, entry))
        };
        match status.phase {
            StepPhase::Running => at_most_once() && self.was_sent(entry),
            // it waits for people to say whether it happened
            StepPhase::Waiting => at_most_once(),
            StepPhase::Retrying
            | StepPhase::Succeeded
            | StepPhase::Failed
            | StepPhase::Skipped
            | StepPhase::Omitted
            | StepPhase::Cancelled => false,
        }
    }

    /// Goes after the outcome of something that was sent.
    pub(super) fn settle(&mut self, entry: usize) {
        let Some(step) = self.plan.index_of(&self.state.steps[entry].name) else {
            return;
        };
        let status = &mut self.state.steps[entry];
        if status.phase == StepPhase::Waiting {
            self.outcome_question_open(step, entry);
        } else if self.facts.in_flight.contains(&key_of(status)) {
            status.waiting_on = Some(sentence(format!(
                "the outcome of step {}, which was sent",
                status.name
            )));
        } else {
            self.process_unknown(entry);
            self.outcome_question(step, entry, INTERRUPTED.to_owned());
        }
    }

    /// Takes in attempts that this process began beside a write that was lost: the state does not know them, but they were sent.
    pub(super) fn recall_unwritten(&mut self) {
        let heard = self.facts.outcomes.iter().map(|outcome| &outcome.key);
        let sent: Vec<EffectKey> = self.facts.in_flight.iter().chain(heard).cloned().collect();
        for key in sent {
            let Some(step) = self.plan.index_of(&key.step) else {
                continue;
            };
            if key.iteration < self.view().iteration(step) {
                continue;
            }
            let known = |turn: &Self, item: Option<i64>| {
                let entries = &turn.state.steps;
                entries.iter().rposition(|entry| {
                    entry.name == key.step && entry.iteration == key.iteration && entry.item == item
                })
            };
            let of_step = known(self, None);
            if key.item.is_some() && !self.recall_step_of(step, key.iteration, key.item, of_step) {
                continue;
            }
            let entry = known(self, key.item)
                .unwrap_or_else(|| self.begin(&self.plan.steps[step], key.iteration, key.item));
            let status = &mut self.state.steps[entry];
            if status.attempt < key.attempt && !status.phase.is_finished() {
                if status.attempt == 0 && self.plan.steps[step].rules.is_billable {
                    self.state.billable_steps += 1;
                }
                let status = &mut self.state.steps[entry];
                status.attempt = key.attempt;
                status.phase = StepPhase::Running;
                status.wake_at = None;
                status.waiting_on = None;
            }
        }
        self.hear_outcomes();
    }

    /// Makes sure that the step of an item is known. False if the item has ended by then.
    pub(super) fn recall_step_of(
        &mut self,
        step: usize,
        iteration: i64,
        item: Option<i64>,
        known: Option<usize>,
    ) -> bool {
        let Some(entry) = known else {
            let entry = self.begin(&self.plan.steps[step], iteration, None);
            self.know_items(step, entry);
            return self.state.steps[entry].items.is_some();
        };
        let status = &self.state.steps[entry];
        let has_ended = |item| {
            let items = status.items.as_ref();
            items.is_none_or(|items| items.outcome(item).is_some())
        };
        !status.phase.is_finished() && !item.is_none_or(has_ended)
    }

    /// Stops a step that is under way.
    pub(super) fn stop(&mut self, entry: usize, closing: Closing, why: &str) {
        let of = &self.state.steps[entry];
        if let (true, Some(step)) = (of.items.is_some(), self.plan.index_of(&of.name)) {
            return self.stop_items(step, entry, closing, why);
        }
        let (key, object) = {
            let status = &self.state.steps[entry];
            (key_of(status), ObjectKey::of(status))
        };
        // what this turn was about to begin is not begun
        self.effects.retain(|effect| match effect {
            Effect::Call(call) => call.key != key,
            Effect::Open(OwnedObject::Run(run)) => !is_for(run, &key),
            Effect::Open(OwnedObject::Job(job)) => job_key(job) != key,
            Effect::Open(open @ (OwnedObject::Approval(_) | OwnedObject::WorkItem(_))) => {
                Some(&open.key()) != object.as_ref()
            }
            Effect::Close(_) | Effect::Abort(_) => true,
        });
        if self.state.steps[entry].phase == StepPhase::Running && key.attempt > 0 {
            if let Some(job) = self.job_under_way(entry) {
                self.stop_job(entry, job, closing, why);
            } else if self.was_sent(entry) {
                self.process_unknown(entry);
                let message = format!(
                    "attempt {} was under way and was broken off: it may have happened",
                    key.attempt
                );
                self.state.steps[entry].error = Some(StepError {
                    reason: StepReason::OutcomeUnknown,
                    message,
                });
                self.effects.push(Effect::Abort(key));
            } else {
                self.take_back_attempt(entry);
            }
        }
        let is_over = |key: &ObjectKey| self.facts.objects.get(key).is_some_and(ObjectFact::is_closed);
        let ends_itself = |key: &ObjectKey| matches!(key.kind, ObjectKind::Run | ObjectKind::Job);
        if let Some(key) = object.filter(|key| !ends_itself(key) || !is_over(key)) {
            self.effects.push(Effect::Close(CloseObject {
                key,
                closing,
                message: why.to_owned(),
            }));
        }
        self.cancelled(entry);
    }

    /// An attempt was not sent, because the run was to end first.
    pub(super) fn withdraw(&mut self, entry: usize) {
        self.take_back_attempt(entry);
        self.cancelled(entry);
    }

    /// People say of something that was sent that it did not happen, and it is not done again.
    pub(super) fn did_not_happen(&mut self, entry: usize) {
        let status = &mut self.state.steps[entry];
        let by = status.decision.iter().flat_map(|decision| &decision.by);
        let by = by.map(String::as_str).collect::<Vec<_>>().join(" and ");
        let said = if by.is_empty() {
            String::new()
        } else {
            format!(", as {by} said")
        };
        status.error = Some(StepError {
            reason: StepReason::Cancelled,
            message: format!("attempt {} did not happen{said}", status.attempt),
        });
        self.cancelled(entry);
    }

    /// Whether the attempt that has begun may have been made.
    pub(super) fn was_sent(&self, entry: usize) -> bool {
        let key = key_of(&self.state.steps[entry]);
        key.attempt > 0
            && (self.facts.in_flight.contains(&key)
                || self
                    .before
                    .steps
                    .iter()
                    .any(|step| step.phase == StepPhase::Running && key_of(step) == key))
    }

    pub(super) fn take_back_attempt(&mut self, entry: usize) {
        let step = self.plan.index_of(&self.state.steps[entry].name);
        let before = step.and_then(|step| self.policy(step, entry));
        let before = before.map_or(0, |policy| policy.attempts_before);
        let status = &mut self.state.steps[entry];
        status.attempt -= 1;
        status.attempted_at = None;
        let first = status.attempt == before;
        if first && step.is_some_and(|step| self.plan.steps[step].rules.is_billable) {
            self.state.billable_steps -= 1;
        }
    }

    pub(super) fn cancelled(&mut self, entry: usize) {
        let status = &mut self.state.steps[entry];
        status.phase = StepPhase::Cancelled;
        status.outcome = Some(StepOutcome::Cancelled);
        status.finished_at = Some(MicroTime(self.now));
        status.wake_at = None;
        status.waiting_on = None;
    }
}
