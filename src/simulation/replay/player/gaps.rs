//! Passes that the record no longer has: the engine goes on after them.

use k8s_openapi::jiff::Timestamp;

use super::{Player, key_of};
use signoff_api::{RunStatus, run::StepStatus};

impl Player<'_> {
    /// Goes on where the newest pass of a step began. False if that is not later than now.
    pub(super) fn jump(&mut self, step: &str) -> bool {
        let Some(newest) = self.index.newest(step) else {
            return false;
        };
        let newest_pass = newest.iteration;
        let began = newest.started_at.as_ref().map(|at| at.0);
        // between two passes, all that is known is what was
        let is_over = newest.repeated == Some(true);
        let (Some(at), false) = (began, is_over) else {
            self.unproven.push(format!(
                "the passes of step {step}: the record does not have what they were decided from"
            ));
            self.has_gaps = true;
            let end = self.index.end();
            self.take_over(end, true);
            self.state.clone_from(&self.index.status);
            return false;
        };
        if at <= self.now {
            self.unproven.push(format!(
                "the passes of step {step}: the record does not say when they began"
            ));
            self.has_gaps = true;
            return false;
        }
        let first = self.index.status.steps.iter().filter(|entry| entry.name == step);
        let first = first.map(|entry| entry.iteration).min().unwrap_or(newest_pass);
        let before = if first > 2 {
            format!(
                "passes 1 to {} of step {step}, and of those that loop with it",
                first - 1
            )
        } else {
            format!("pass 1 of step {step}, and of those that loop with it")
        };
        self.unproven
            .push(format!("{before}: the record keeps the newest two passes"));
        self.has_gaps = true;
        self.take_over(at, false);
        true
    }

    /// Takes over the state of the run at a time, as far as the record says.
    fn take_over(&mut self, at: Timestamp, all: bool) {
        let recorded = &self.index.status;
        let ended = |entry: &&StepStatus| {
            let is_before = entry.started_at.as_ref().is_some_and(|began| began.0 < at);
            let is_over = entry.finished_at.as_ref().is_some_and(|ended| ended.0 <= at);
            entry.item.is_none() && is_over && (all || is_before || entry.repeated == Some(true))
        };
        let steps: Vec<StepStatus> = recorded.steps.iter().filter(ended).cloned().collect();
        let taken_over = steps
            .iter()
            .map(key_of)
            .filter(|key| !self.decided.contains_key(key));
        self.taken_over.extend(taken_over);
        let mut loops = recorded.loops.clone();
        loops.retain(|last, _| steps.iter().any(|entry| entry.name == *last));
        for state in loops.values_mut() {
            state.resume_at = None;
        }
        let mut callbacks = recorded.callbacks.clone();
        callbacks.retain(|_, callback| callback.received_at.0 <= at);
        self.state = RunStatus {
            steps,
            loops,
            callbacks,
            started_at: recorded.started_at.clone(),
            ..std::mem::take(&mut self.state)
        };
        self.calls.clear();
        self.facts.in_flight.clear();
        self.facts.outcomes.clear();
        self.now = at;
    }
}
