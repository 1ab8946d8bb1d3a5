//! Attempts: of steps that call, how they begin, are retried, and fail.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::json;

use super::{Turn, cut, idempotency_key, key_of, sentence};
use crate::{
    effect::{Call, CallPart, Effect, Request},
    expression::EvaluationError,
    facts::{EffectError, EffectOutcome, Response},
    kinds::{CallPolicy, Done, Next},
    plan::RetryPolicy,
    retry_after,
};
use signoff_api::{
    reason::StepReason,
    run::{StepError, StepOutcome, StepPhase, Usage},
};

/// Why the outcome of an attempt is unknown that this process is not performing.
pub(super) const INTERRUPTED: &str = "the process that performed it stopped before the outcome was known";

/// The same, of a run that this one retries.
pub(super) const BEFORE: &str = "the run that is retried ended before the outcome was known";

impl Turn<'_> {
    /// Counts the next attempt.
    pub(super) fn begin_attempt(&mut self, step: usize, entry: usize) {
        let planned = &self.plan.steps[step];
        let at_most_once = self.is_at_most_once(step, entry);
        let before = self
            .policy(step, entry)
            .map_or(0, |policy| policy.attempts_before);
        if self.state.steps[entry].attempt == before && planned.rules.is_billable {
            self.state.billable_steps += 1;
        }
        let status = &mut self.state.steps[entry];
        status.attempt = status.attempt.saturating_add(1);
        status.attempted_at = at_most_once.then_some(MicroTime(self.now));
        // each attempt has a Job of its own
        status.job = None;
        status.log = None;
        status.phase = StepPhase::Running;
        status.wake_at = None;
        status.waiting_on = None;
    }

    /// A begun attempt whose outcome is not known: under way here, or interrupted.
    pub(super) fn attempt_running(&mut self, step: usize, entry: usize) {
        let key = key_of(&self.state.steps[entry]);
        if self.facts.in_flight.contains(&key) {
            let connection = self.facts.waiting_calls.get(&key);
            self.state.steps[entry].waiting_on = connection.map(|connection| {
                let name = &key.step;
                sentence(format!(
                    "a turn to call through the Connection {connection}, which has limits ({name})"
                ))
            });
            return;
        }
        // an agent has begun it in this very turn
        let begins = |effect: &Effect| matches!(effect, Effect::Call(call) if call.key == key);
        if self.effects.iter().any(begins) {
            return;
        }
        self.process_unknown(entry);
        if self.is_at_most_once(step, entry) {
            self.outcome_question(step, entry, INTERRUPTED.to_owned());
        } else {
            self.start_kind(step, entry);
        }
    }

    /// A failed attempt after which another follows.
    pub(super) fn retry_if_due(&mut self, step: usize, entry: usize) {
        let due = self.state.steps[entry]
            .wake_at
            .as_ref()
            .is_none_or(|at| at.0 <= self.now);
        if due && !self.facts.run.suspend && !self.held.contains(&step) {
            self.begin_attempt(step, entry);
            self.start_kind(step, entry);
        }
    }

    /// What came of an attempt.
    pub(super) fn attempt_ended(&mut self, step: usize, entry: usize, outcome: &EffectOutcome) {
        let next = match &outcome.result {
            Ok(Response::Recorded(recorded)) => {
                self.used(entry, recorded.usage);
                let kind = &self.plan.steps[step].kind;
                let next = kind.recorded(&self.step_view(step, entry), recorded);
                next.unwrap_or_else(|| {
                    Next::Done(Done {
                        output: recorded.output.clone(),
                        ..Done::new(StepOutcome::Succeeded)
                    })
                })
            }
            Ok(response @ Response::Llm(of_model)) => {
                self.used(entry, Some(of_model.usage));
                self.plan.steps[step]
                    .kind
                    .answered(&self.step_view(step, entry), response)
            }
            Ok(
                response @ (Response::Http(_) | Response::Email(_) | Response::Git(_) | Response::Store(_)),
            ) => self.plan.steps[step]
                .kind
                .answered(&self.step_view(step, entry), response),
            Ok(response @ Response::Ssh(of_process)) => {
                self.process_answered(entry, of_process);
                self.plan.steps[step]
                    .kind
                    .answered(&self.step_view(step, entry), response)
            }
            Err(error) => Next::AttemptFailed(error.clone()),
        };
        self.apply(step, entry, next);
    }

    /// The rules of what is under way, where they are not those of the step.
    pub(super) fn policy(&self, step: usize, entry: usize) -> Option<CallPolicy<'_>> {
        let kind = &self.plan.steps[step].kind;
        kind.policy(&self.step_view(step, entry))
    }

    /// Whether what is under way must not be repeated.
    pub(super) fn is_at_most_once(&self, step: usize, entry: usize) -> bool {
        self.plan.steps[step].at_most_once
            || self.policy(step, entry).is_some_and(|policy| policy.at_most_once)
    }

    /// Counts what a step used of language models.
    fn used(&mut self, entry: usize, usage: Option<Usage>) {
        let Some(usage) = usage else { return };
        let name = self.state.steps[entry].name.clone();
        let iteration = self.state.steps[entry].iteration;
        let of_items = self.state.steps[entry].item.is_some();
        let add = |known: &mut Option<Usage>| *known = Some(known.unwrap_or_default().plus(usage));
        add(&mut self.state.usage);
        add(&mut self.state.steps[entry].usage);
        // the entry of an item goes when it has ended
        let whole =
            self.state.steps.iter_mut().find(|step| {
                of_items && step.name == name && step.iteration == iteration && step.item.is_none()
            });
        if let Some(whole) = whole {
            add(&mut whole.usage);
        }
    }

    pub(super) fn call(&mut self, step: usize, entry: usize, request: Request) {
        let view = self.step_view(step, entry);
        if let Some(shown) = view.shown_request()
            && shown != view.run.digest_of(&request)
        {
            let message = "the request is not what people were shown before they decided, so it is not sent";
            return self.fail(entry, StepReason::RequestChanged, message);
        }
        // a process that is not known could not be ended
        let starts_process = match &request {
            Request::Ssh(request) => {
                self.process_begins(step, entry, request);
                true
            }
            Request::Http(_) | Request::Llm(_) | Request::Email(_) | Request::Git(_) | Request::Store(_) => {
                false
            }
        };
        let at_most_once = self.is_at_most_once(step, entry);
        let policy = self.policy(step, entry);
        let (part, timeout) = policy.map_or((CallPart::Whole, None), |policy| (policy.part, policy.timeout));
        let (planned, status) = (&self.plan.steps[step], &self.state.steps[entry]);
        self.effects.push(Effect::Call(Box::new(Call {
            key: key_of(status),
            idempotency_key: idempotency_key(self.key_uid(&status.name), status),
            fenced: at_most_once
                || starts_process
                || part != CallPart::Whole
                || self.is_first_of_finally(step),
            part,
            timeout: timeout.unwrap_or(planned.timeout),
            request,
        })));
    }

    /// The uid that idempotency keys begin with: that of the first run, if this one retries another. The last steps are
    /// of this run alone. So is what makes many calls, which are others when it begins anew.
    pub(super) fn key_uid(&self, step: &str) -> &str {
        let step = self.plan.index_of(step).map(|step| &self.plan.steps[step]);
        let is_own = step.is_some_and(|step| step.is_finally || step.kind.makes_many_calls());
        let retry = self.state.retry.as_ref().filter(|_| !is_own);
        retry.map_or(&self.facts.run.uid, |retry| &retry.uid)
    }

    pub(super) fn attempt_failed(&mut self, step: usize, entry: usize, error: &EffectError) {
        self.process_failed(entry, error);
        self.close_job(entry, &error.message);
        if self.is_at_most_once(step, entry) && error.may_have_happened {
            return self.outcome_question(step, entry, error.message.clone());
        }
        if error.reason == StepReason::Cancelled {
            return self.withdraw(entry);
        }
        let policy = self.policy(step, entry);
        let before = policy.as_ref().map_or(0, |policy| policy.attempts_before);
        let of_call = policy.and_then(|policy| policy.retry.cloned());
        let retry = of_call.unwrap_or_else(|| self.plan.steps[step].retry.clone());
        let attempt = self.state.steps[entry].attempt.saturating_sub(before);
        let mut why = String::new();
        let is_last = attempt >= retry.attempts
            || !error.retryable
                && !self
                    .retries_when(step, entry, &retry, error)
                    .unwrap_or_else(|unknown| {
                        why = format!("; retry.when: {unknown}");
                        false
                    });
        if is_last {
            let next = self.plan.steps[step]
                .kind
                .gave_up(&self.step_view(step, entry), error);
            if let Some(next) = next {
                return self.apply(step, entry, next);
            }
            let message = match attempt {
                1 => format!("{}{why}", error.message),
                attempts => format!("{} (attempt {attempts} of {attempts}){why}", error.message),
            };
            return self.fail(entry, error.reason, message);
        }
        let pause = pause(retry.initial, retry.factor, retry.max, attempt);
        let asked = error.retry_after.unwrap_or_default().min(retry_after::LONGEST);
        let at = self.view().after(pause.max(asked));
        let (name, attempts) = (self.plan.steps[step].name.clone(), retry.attempts);
        let status = &mut self.state.steps[entry];
        status.phase = StepPhase::Retrying;
        status.wake_at = Some(MicroTime(at));
        status.error = Some(StepError {
            reason: error.reason,
            message: cut(error.message.clone()),
        });
        status.waiting_on = Some(sentence(format!(
            "attempt {} of {attempts} of step {name}",
            attempt.saturating_add(1)
        )));
    }

    /// Whether the flow says that a failure is retried that otherwise is not.
    fn retries_when(
        &self,
        step: usize,
        entry: usize,
        retry: &RetryPolicy,
        error: &EffectError,
    ) -> Result<bool, EvaluationError> {
        let Some(when) = &retry.when else {
            return Ok(false);
        };
        // an answer that is no refusal may be about something that has been done
        let is_refused = error.status.is_none_or(|status| (400..500).contains(&status));
        if self.is_at_most_once(step, entry) && (error.may_have_happened || !is_refused) {
            return Ok(false);
        }
        let mut fields = json!({ "reason": error.reason, "message": error.message });
        if let Some(status) = error.status {
            fields["status"] = json!(status);
        }
        let mut scope = self.step_view(step, entry).scope();
        scope.set("error", fields);
        when.holds(&scope)
    }
}

/// `initial`, growing by `factor` with every attempt, at most `max`.
fn pause(initial: Duration, factor: u32, max: Duration, attempt: i64) -> Duration {
    let mut pause = initial.min(max);
    for _ in 1..attempt {
        pause = pause.saturating_mul(factor).min(max);
        if pause == max {
            break;
        }
    }
    pause
}
