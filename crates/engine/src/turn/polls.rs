//! Polls: loops of one call that may be repeated. Their passes need not be written one by one.

use super::Turn;
use signoff_api::{RunPhase, RunStatus, condition};

impl Turn<'_> {
    /// Whether nothing has happened in this turn but passes of polls that go on.
    pub(super) fn is_only_polling(&self) -> bool {
        let (before, after) = (self.before, &self.state);
        if after.phase.is_finished() || after.ending.is_some() {
            return false;
        }
        let polls: Vec<&str> = (0..self.plan.main)
            .filter(|step| self.is_poll(*step) && self.is_polling(*step))
            .map(|step| self.plan.steps[step].name.as_str())
            .collect();
        before == after || !polls.is_empty() && without(before, &polls) == without(after, &polls)
    }

    /// Whether a step is a loop of its own, and a call that may be repeated.
    fn is_poll(&self, step: usize) -> bool {
        let planned = &self.plan.steps[step];
        let is_alone = |again: &std::collections::BTreeSet<usize>| again.len() == 1;
        planned.rules.attempts
            && !planned.kind.makes_many_calls()
            && planned.rules.key != "job"
            && !planned.at_most_once
            && planned.for_each.is_none()
            && planned
                .repeat
                .as_ref()
                .is_some_and(|repeat| is_alone(&repeat.again))
    }

    /// Whether its loop has begun before this turn, and is not over after it.
    fn is_polling(&self, step: usize) -> bool {
        let name = &self.plan.steps[step].name;
        let is_known = self.before.steps.iter().any(|entry| entry.name == *name);
        let current = self.view().current(step);
        let is_over = current.is_some_and(|entry| self.state.steps[entry].phase.is_finished());
        is_known && !is_over && self.state.loops.contains_key(name)
    }
}

/// What a state says beside polls, and beside what follows from them.
fn without(state: &RunStatus, polls: &[&str]) -> RunStatus {
    let mut rest = state.clone();
    rest.steps.retain(|entry| !polls.contains(&entry.name.as_str()));
    rest.loops.retain(|last, _| !polls.contains(&last.as_str()));
    rest.phase = RunPhase::Running;
    rest.waiting_on = None;
    rest.billable_steps = 0;
    rest.usage = None;
    condition::clear(&mut rest.conditions, condition::SUCCEEDED);
    rest
}
