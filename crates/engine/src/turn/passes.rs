//! Passes of loops: after a pass, whether another one follows, and what is kept of those before.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::Turn;
use crate::object::Closing;
use signoff_api::{
    reason::StepReason,
    run::{LoopStatus, StepOutcome, StepStatus},
};

/// Most passes of one loop in a run, however often the loops around it enter it anew.
pub(super) const MAX_PASSES: i64 = 100_000;

impl Turn<'_> {
    /// Looks after every loop whose last step ended in this turn: it is over, or another pass follows.
    pub(super) fn look_after_loops(&mut self) {
        while self.ending.is_none()
            && let Some((step, entry)) = self.pass_that_ended()
        {
            self.after_pass(step, entry);
            self.forget_old_passes();
        }
    }

    /// A step that ends a loop, and ended just now with an outcome after which its condition is read.
    fn pass_that_ended(&self) -> Option<(usize, usize)> {
        (0..self.plan.main)
            .filter(|step| self.plan.steps[*step].repeat.is_some() && self.is_ended(*step))
            .find_map(|step| {
                let entry = self.view().current(step)?;
                let ended = &self.state.steps[entry];
                // a pass without its last step is the last pass
                let is_read = match ended.outcome? {
                    StepOutcome::Skipped | StepOutcome::Omitted => false,
                    StepOutcome::Succeeded
                    | StepOutcome::Failed
                    | StepOutcome::Approved
                    | StepOutcome::Rejected
                    | StepOutcome::ChangesRequested
                    | StepOutcome::TimedOut
                    | StepOutcome::Callback
                    | StepOutcome::Event
                    | StepOutcome::Elapsed
                    | StepOutcome::Cancelled => true,
                };
                let is_same = |other: &&StepStatus| {
                    other.name == ended.name && other.iteration == ended.iteration && other.item.is_none()
                };
                let known = self.before.steps.iter().find(is_same);
                let is_new = known.is_none_or(|known| !known.phase.is_finished());
                let is_last = || self.last_passes.contains(&(ended.name.clone(), ended.iteration));
                (is_read && is_new && !is_last()).then_some((step, entry))
            })
    }

    fn after_pass(&mut self, step: usize, entry: usize) {
        let planned = &self.plan.steps[step];
        let Some(repeat) = &planned.repeat else { return };
        let ended = &self.state.steps[entry];
        let (last, of_run) = ((ended.name.clone(), ended.iteration), ended.iteration);
        let scope = self.step_view(step, entry).scope();
        let next = repeat.is_over(&scope).and_then(|is_over| {
            if is_over {
                Ok(None)
            } else {
                repeat.pause(&scope).map(Some)
            }
        });
        let pause = match next {
            Ok(None) => {
                self.last_passes.insert(last);
                return;
            }
            Ok(Some(pause)) => pause,
            Err(failure) => {
                self.last_passes.insert(last);
                return self.fail(entry, failure.reason, failure.message);
            }
        };
        let pass = self.view().pass_of(&planned.name);
        if pass >= repeat.max || of_run >= MAX_PASSES {
            self.last_passes.insert(last);
            let message = if pass >= repeat.max {
                format!("the loop is not over after {pass} passes")
            } else {
                format!("the loop has had {of_run} passes in this run, and no loop has more")
            };
            return self.fail(entry, StepReason::RepeatLimit, message);
        }
        let resume_at = pause.map(|pause| self.view().after(pause));
        let why = format!("step {} begins another pass", planned.name);
        self.begin_pass(step, &repeat.again, resume_at, &why);
    }

    /// Makes the steps of a loop due again. What is still under way of the pass that is over is stopped.
    pub(super) fn begin_pass(
        &mut self,
        last: usize,
        again: &BTreeSet<usize>,
        resume_at: Option<Timestamp>,
        why: &str,
    ) {
        for entry in self.current_of(again) {
            if !self.state.steps[entry].phase.is_finished() {
                self.stop(entry, Closing::Superseded, why);
            }
        }
        let names: BTreeSet<&str> = again
            .iter()
            .map(|step| self.plan.steps[*step].name.as_str())
            .collect();
        let over = self.state.steps.iter_mut();
        for entry in over.filter(|entry| names.contains(entry.name.as_str())) {
            entry.repeated = Some(true);
        }
        // a loop within this one is entered anew
        let inner: Vec<&String> = self
            .plan
            .steps
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != last && again.contains(other))
            .filter(|(_, planned)| planned.loops().all(|(_, inner)| inner.len() < again.len()))
            .map(|(_, planned)| &planned.name)
            .collect();
        self.state.loops.retain(|name, _| !inner.contains(&name));
        let state = self.state.loops.entry(self.plan.steps[last].name.clone());
        let state = state.or_insert(LoopStatus {
            pass: 1,
            resume_at: None,
        });
        state.pass = state.pass.saturating_add(1);
        state.resume_at = resume_at.map(MicroTime);
    }

    pub(super) fn current_of(&self, steps: &BTreeSet<usize>) -> Vec<usize> {
        let view = self.view();
        steps.iter().filter_map(|step| view.current(*step)).collect()
    }

    /// When the pass begins that a step is the first of, if its loop pauses.
    pub(super) fn pauses_until(&self, step: usize) -> Option<Timestamp> {
        let paused = self.plan.steps.iter().filter(|planned| {
            let repeat = planned.repeat.as_ref();
            repeat.is_some_and(|repeat| repeat.first == step)
        });
        let times = paused.filter_map(|planned| {
            let state = self.state.loops.get(&planned.name)?;
            state.resume_at.as_ref().map(|at| at.0)
        });
        times.filter(|at| *at > self.now).max()
    }

    /// When the next pause is over, and of which loop.
    pub(super) fn next_pass(&self) -> Option<(Timestamp, &str)> {
        let pauses = self.state.loops.iter().filter_map(|(name, state)| {
            let at = state.resume_at.as_ref()?;
            Some((at.0, name.as_str()))
        });
        pauses.filter(|(at, _)| *at > self.now).min()
    }

    /// Forgets passes before the previous one, and pauses that are over.
    pub(super) fn forget_old_passes(&mut self) {
        if self.state.loops.is_empty() {
            return;
        }
        for state in self.state.loops.values_mut() {
            state.resume_at.take_if(|at| at.0 <= self.now);
        }
        let mut steps = std::mem::take(&mut self.state.steps);
        // of what is repeated, the newest iteration of each step
        let mut newest: BTreeMap<String, i64> = BTreeMap::new();
        for entry in steps.iter().filter(|entry| entry.repeated == Some(true)) {
            newest.insert(entry.name.clone(), entry.iteration);
        }
        steps.retain(|entry| {
            entry.repeated != Some(true) || newest.get(&entry.name) == Some(&entry.iteration)
        });
        self.state.steps = steps;
    }
}
