//! The steps of `finally`: one after another, when everything else is over and it is known how the run will end.

use super::{Turn, cut};
use signoff_api::{
    reason::StepReason,
    run::{EndingOutcome, StepError, StepPhase},
};

impl Turn<'_> {
    /// Stops the run without the steps of `finally`. A success that has not come to its end is none.
    pub(crate) fn terminate(&mut self) {
        self.terminated = true;
        let message = cut(format!("the run was terminated{}", self.facts.run.stopped()));
        if self.ending == Some(EndingOutcome::Succeeded) && self.plan.has_finally() {
            self.ending = None;
            self.end_message = None;
            self.state.output = None;
        }
        self.end_because(EndingOutcome::Cancelled, StepReason::Cancelled, message);
    }

    /// Whether a step belongs to `finally`, and may still go on.
    pub(super) fn is_last(&self, step: usize) -> bool {
        self.plan.steps[step].is_finally && !self.terminated
    }

    pub(super) fn is_last_entry(&self, entry: usize) -> bool {
        let step = self.plan.index_of(&self.state.steps[entry].name);
        step.is_some_and(|step| self.is_last(step))
    }

    /// Whether steps of `finally` are to run before the run ends: not if nothing began.
    pub(super) fn has_last_steps(&self) -> bool {
        self.plan.has_finally()
            && !self.terminated
            && !self.state.steps.is_empty()
            && !self.is_without_place()
    }

    /// Begins the next steps of `finally`, if everything before them is over.
    pub(super) fn begin_last_steps(&mut self) {
        if !self.has_last_steps() {
            return;
        }
        let is_open =
            |entry: usize| !self.state.steps[entry].phase.is_finished() && !self.is_last_entry(entry);
        if (0..self.state.steps.len()).any(is_open) {
            return;
        }
        for step in self.plan.main..self.plan.steps.len() {
            if self.view().current(step).is_none() {
                if self.facts.run.suspend {
                    return;
                }
                self.start(step);
            }
            if !self.has_finished(step) {
                return;
            }
        }
    }

    pub(super) fn last_steps_are_over(&self) -> bool {
        let mut last = self.plan.main..self.plan.steps.len();
        self.state.steps.iter().all(|step| step.phase.is_finished())
            && (!self.has_last_steps() || last.all(|step| self.has_finished(step)))
    }

    fn has_finished(&self, step: usize) -> bool {
        let entry = self.view().current(step);
        entry.is_some_and(|entry| self.state.steps[entry].phase.is_finished())
    }

    /// Why a run that would succeed fails: the first step of `finally` that failed.
    pub(super) fn failed_last_step(&self) -> Option<StepError> {
        let failed = self.state.steps.iter().find(|entry| {
            let step = self.plan.index_of(&entry.name);
            let step = step.map(|step| &self.plan.steps[step]);
            entry.phase == StepPhase::Failed
                && step.is_some_and(|step| step.is_finally && !step.continues_after_failure)
        })?;
        let why = failed.error.as_ref().map(|error| error.message.as_str());
        Some(StepError {
            reason: StepReason::FinallyFailed,
            message: cut(format!("step {}: {}", failed.name, why.unwrap_or_default())),
        })
    }

    /// Whether a call is the first thing that happens of how the run will end. It waits until that is written down: after
    /// a crash, the run might otherwise end in another way than it told.
    pub(super) fn is_first_of_finally(&self, step: usize) -> bool {
        self.plan.steps[step].is_finally && self.before.ending.is_none()
    }
}
