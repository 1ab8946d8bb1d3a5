//! What a response comes to: whether it is one that the step expects.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    effect::is_expected,
    expression::{EvaluationError, Expression, Scope},
    facts::{EffectError, HttpResponse},
    retry_after,
    schema::Schema,
};
use signoff_api::reason::StepReason;

/// Which responses count as success.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Status codes; empty for any from 200 to 299.
    pub(super) status: Vec<i64>,
    /// A condition over `response`.
    pub(super) when: Option<Expression>,
}

impl Expected {
    /// What is wrong with a response, if anything is. The scope has it as `response`.
    pub(super) fn failed(
        &self,
        response: &HttpResponse,
        schema: Option<&Schema>,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<Option<EffectError>, EvaluationError> {
        if let Some(error) = failed_status(response, &self.status, now) {
            return Ok(Some(error));
        }
        if let Some(misfit) = schema.and_then(|schema| schema.misfits(&response.body).into_iter().next()) {
            let message = format!(
                "the response has status {}, but its body does not fit the schema at {:?}: {}",
                response.status, misfit.pointer, misfit.message
            );
            return Ok(Some(unusable(
                StepReason::InvalidResponse,
                message,
                response.status,
            )));
        }
        match &self.when {
            Some(when) if !when.holds(scope)? => {
                let message = format!(
                    "the response has status {}, but expect.when is false{}",
                    response.status,
                    excerpt(response)
                );
                Ok(Some(unusable(
                    StepReason::UnexpectedResponse,
                    message,
                    response.status,
                )))
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// What is wrong with the status of a response, if it is not among those expected; none expected means any from 200 to
/// 299.
pub(crate) fn failed_status(
    response: &HttpResponse,
    expected: &[i64],
    now: Timestamp,
) -> Option<EffectError> {
    (!is_expected(expected, response.status)).then(|| unexpected(response, now))
}

fn unexpected(response: &HttpResponse, now: Timestamp) -> EffectError {
    let asked = response.headers.get("retry-after");
    EffectError {
        reason: StepReason::UnexpectedStatus,
        message: format!("the response has status {}{}", response.status, excerpt(response)),
        // 408, 429 and 5xx are about the moment, everything else about the request
        retryable: matches!(response.status, 408 | 429 | 500..=599),
        // a server that fails, or a gateway before it, may have done the work before
        may_have_happened: response.status >= 500,
        retry_after: asked.and_then(|value| retry_after::parse(value, now)),
        status: Some(response.status),
    }
}

/// A response that was expected by its status. The other side has answered, so nobody has to be asked what happened.
fn unusable(reason: StepReason, message: String, status: u16) -> EffectError {
    EffectError {
        reason,
        message,
        retryable: false,
        may_have_happened: false,
        retry_after: None,
        status: Some(status),
    }
}

/// The beginning of the body, after a colon.
fn excerpt(response: &HttpResponse) -> String {
    let excerpt: String = match &response.body {
        Value::Null => String::new(),
        Value::String(text) => text.chars().take(200).collect(),
        other => other.to_string().chars().take(200).collect(),
    };
    let separator = if excerpt.is_empty() { "" } else { ": " };
    format!("{separator}{excerpt}")
}
