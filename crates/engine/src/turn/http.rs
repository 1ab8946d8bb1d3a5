//! `http` and `notify` steps: attempts, retries, and what their outcomes come to.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::{Value, json};

use super::{Turn, cut, key_of, sentence};
use crate::{
    effect::{Effect, HttpEffect, HttpTarget},
    expression::EvaluationError,
    facts::{EffectError, EffectOutcome, HttpResponse},
    plan::{Action, HttpPlan, TargetPlan},
};
use signoff_api::{
    reason::StepReason,
    run::{StepError, StepOutcome, StepPhase},
};

/// Why the outcome of an attempt is unknown that this process is not performing.
pub(super) const INTERRUPTED: &str = "the process that performed it stopped before the outcome was known";

impl Turn<'_> {
    /// Begins the next attempt.
    pub(super) fn http_attempt(&mut self, entry: usize, step: usize) {
        if self.state.steps[entry].attempt == 0
            && let Action::Http(http) = &self.plan.steps[step].action
            && http.billable
        {
            self.state.billable_steps += 1;
        }
        let status = &mut self.state.steps[entry];
        status.attempt = status.attempt.saturating_add(1);
        status.attempted_at = self.plan.steps[step].at_most_once.then_some(MicroTime(self.now));
        status.phase = StepPhase::Running;
        status.wake_at = None;
        status.waiting_on = None;
        self.http_ask(entry, step);
    }

    /// A begun attempt whose outcome is not known: under way here, or interrupted.
    pub(super) fn http_running(&mut self, entry: usize, step: usize) {
        if self.facts.in_flight.contains(&key_of(&self.state.steps[entry])) {
            return;
        }
        if self.plan.steps[step].at_most_once {
            self.outcome_question(entry, INTERRUPTED.to_owned());
        } else {
            self.http_ask(entry, step);
        }
    }

    /// A failed attempt after which another follows.
    pub(super) fn http_retrying(&mut self, entry: usize, step: usize) {
        let due = self.state.steps[entry]
            .wake_at
            .as_ref()
            .is_none_or(|at| at.0 <= self.now);
        if due && !self.facts.run.suspend && !self.held.contains(&step) {
            self.http_attempt(entry, step);
        }
    }

    fn http_ask(&mut self, entry: usize, step: usize) {
        let planned = &self.plan.steps[step];
        let Action::Http(http) = &planned.action else {
            return;
        };
        match self.render(&planned.name, http) {
            Ok((target, headers, query, body)) => {
                let status = &self.state.steps[entry];
                self.effects.push(Effect::Http(Box::new(HttpEffect {
                    key: key_of(status),
                    idempotency_key: format!("{}/{}/{}", self.facts.run.uid, status.name, status.iteration),
                    fenced: planned.at_most_once,
                    target,
                    method: http.method,
                    headers: headers.into_iter().collect(),
                    query: query.into_iter().collect(),
                    body,
                    timeout: planned.timeout,
                })));
            }
            Err(error) => self.fail(entry, error.reason(), error.to_string()),
        }
    }

    #[allow(
        clippy::type_complexity,
        reason = "the rendered parts of one request, taken apart at the only caller"
    )]
    pub(super) fn render(
        &self,
        step: &str,
        http: &HttpPlan,
    ) -> Result<
        (
            HttpTarget,
            Vec<(String, String)>,
            Vec<(String, String)>,
            Option<Value>,
        ),
        EvaluationError,
    > {
        let scope = self.scope();
        let target = match &http.target {
            TargetPlan::Url(url) => HttpTarget::Url(url.text(&scope)?),
            TargetPlan::Connection { name, path } => HttpTarget::Connection {
                name: name.clone(),
                path: path.text_with(&scope, percent_encode)?,
                bound: self.bound(step, name),
            },
        };
        let texts = |entries: &[(String, crate::expression::Template)]| {
            entries
                .iter()
                .map(|(name, template)| Ok((name.clone(), template.text(&scope)?)))
                .collect::<Result<Vec<_>, _>>()
        };
        let body = http
            .body
            .as_ref()
            .map(|body| body.value(&scope))
            .transpose()?
            .map(|body| match body {
                Value::String(text) if http.wrap_text => json!({ "text": text }),
                other => other,
            });
        Ok((target, texts(&http.headers)?, texts(&http.query)?, body))
    }

    /// What came of an attempt.
    pub(super) fn http_outcome(&mut self, entry: usize, outcome: &EffectOutcome) {
        let Some(step) = self.plan.index_of(&outcome.key.step) else {
            return;
        };
        let Action::Http(http) = &self.plan.steps[step].action else {
            return;
        };
        match &outcome.result {
            Ok(response) if is_expected(http, response) => self.http_succeeded(entry, http, response),
            Ok(response) => {
                let error = unexpected(response);
                self.http_failed(entry, step, &error);
            }
            Err(error) => self.http_failed(entry, step, error),
        }
    }

    fn http_succeeded(&mut self, entry: usize, http: &HttpPlan, response: &HttpResponse) {
        let output = match &http.output {
            None => Ok(response.body.clone()),
            Some(output) => {
                let mut scope = self.scope();
                scope.set(
                    "response",
                    json!({ "status": response.status, "headers": response.headers, "body": response.body }),
                );
                output.value(&scope)
            }
        };
        match output {
            Ok(output) => self.finish(entry, StepPhase::Succeeded, StepOutcome::Succeeded, Some(output)),
            Err(error) => {
                let message = format!(
                    "it was answered with status {}, but output: {error}",
                    response.status
                );
                self.fail(entry, error.reason(), message);
            }
        }
    }

    fn http_failed(&mut self, entry: usize, step: usize, error: &EffectError) {
        let planned = &self.plan.steps[step];
        if planned.at_most_once && error.may_have_happened {
            return self.outcome_question(entry, error.message.clone());
        }
        if error.reason == StepReason::Cancelled {
            return self.withdraw(entry);
        }
        let attempt = self.state.steps[entry].attempt;
        if !error.retryable || attempt >= planned.retry.attempts {
            let message = match attempt {
                1 => error.message.clone(),
                attempts => format!("{} (attempt {attempts} of {attempts})", error.message),
            };
            return self.fail(entry, error.reason, message);
        }
        let pause = pause(
            planned.retry.initial,
            planned.retry.factor,
            planned.retry.max,
            attempt,
        );
        let at = self.after(pause.max(error.retry_after.unwrap_or_default()));
        let (name, attempts) = (planned.name.clone(), planned.retry.attempts);
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
}

fn is_expected(http: &HttpPlan, response: &HttpResponse) -> bool {
    if http.expect.is_empty() {
        (200..300).contains(&response.status)
    } else {
        http.expect.contains(&i64::from(response.status))
    }
}

fn unexpected(response: &HttpResponse) -> EffectError {
    let excerpt: String = match &response.body {
        Value::Null => String::new(),
        Value::String(text) => text.chars().take(200).collect(),
        other => other.to_string().chars().take(200).collect(),
    };
    let separator = if excerpt.is_empty() { "" } else { ": " };
    let retry_after = response
        .headers
        .get("retry-after")
        .and_then(|value| value.trim().parse().ok())
        .map(Duration::from_secs);
    EffectError {
        reason: StepReason::UnexpectedStatus,
        message: format!("the response has status {}{separator}{excerpt}", response.status),
        // 408, 429 and 5xx are about the moment, everything else about the request
        retryable: matches!(response.status, 408 | 429 | 500..=599),
        // a server that fails, or a gateway before it, may have done the work before
        may_have_happened: response.status >= 500,
        retry_after,
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

/// As RFC 3986 encodes a path segment: everything but unreserved characters.
fn percent_encode(text: String) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.into_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // writing to a String cannot fail
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
