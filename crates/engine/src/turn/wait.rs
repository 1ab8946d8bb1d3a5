//! `wait` steps: until a callback, a duration, a time, or the first of several.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::{Turn, sentence};
use crate::{
    callback_token::record_key,
    plan::{Action, WaitPlan},
};
use signoff_api::{
    reason::StepReason,
    run::{EndingOutcome, StepOutcome, StepPhase},
};

impl Turn<'_> {
    pub(super) fn wait_start(&mut self, entry: usize, step: usize, wait: &WaitPlan) {
        let until = match wait.until.as_ref().map(|until| until.text(&self.scope())) {
            None => None,
            Some(Err(error)) => {
                return self.fail(entry, error.reason(), format!("until: {error}"));
            }
            Some(Ok(text)) => match text.parse::<Timestamp>() {
                Ok(time) => Some(time),
                Err(_) => {
                    return self.fail(
                        entry,
                        StepReason::InvalidTime,
                        format!("until: {text:?} is not a time"),
                    );
                }
            },
        };
        let wake_at = [wait.duration.map(|span| self.after(span)), until]
            .into_iter()
            .flatten()
            .min();
        let deadline = wait.respond_within.map(|span| self.after(span));
        let status = &mut self.state.steps[entry];
        status.phase = StepPhase::Waiting;
        status.wake_at = wake_at.map(MicroTime);
        status.deadline = deadline.map(MicroTime);
        let what = match (wait.callback, wake_at) {
            (true, Some(at)) => format!("a callback, or {at:.0}"),
            (true, None) => "a callback".to_owned(),
            (false, Some(at)) => format!("{at:.0}"),
            (false, None) => "nothing".to_owned(),
        };
        status.waiting_on = Some(sentence(format!("{what} ({})", status.name)));
        self.wait_open(entry, step);
    }

    pub(super) fn wait_open(&mut self, entry: usize, step: usize) {
        let Action::Wait(wait) = &self.plan.steps[step].action else {
            return;
        };
        let status = &self.state.steps[entry];
        let record = self
            .state
            .callbacks
            .get(&record_key(&status.name, status.iteration));
        if let Some(record) = record.filter(|_| wait.callback) {
            let body = record.body.0.clone();
            return self.finish(entry, StepPhase::Succeeded, StepOutcome::Callback, Some(body));
        }
        let passed = |time: &Option<MicroTime>| time.as_ref().is_some_and(|time| time.0 <= self.now);
        if passed(&status.wake_at) {
            self.finish(entry, StepPhase::Succeeded, StepOutcome::Elapsed, None);
        } else if passed(&status.deadline) {
            if wait.continue_on_timeout {
                return self.finish(entry, StepPhase::Succeeded, StepOutcome::TimedOut, None);
            }
            let message = "no callback came in time";
            self.end_badly(
                entry,
                StepOutcome::TimedOut,
                StepReason::RespondTimedOut,
                message,
                EndingOutcome::TimedOut,
            );
        }
    }
}
