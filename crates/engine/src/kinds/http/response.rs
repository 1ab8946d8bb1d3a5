//! What the status of a response says.

use std::time::Duration;

use serde_json::Value;

use crate::facts::{EffectError, HttpResponse};
use signoff_api::reason::StepReason;

/// What is wrong with the status of a response, if it is not among those expected; none expected means any from 200 to
/// 299.
pub(in crate::kinds) fn failed_status(response: &HttpResponse, expected: &[i64]) -> Option<EffectError> {
    let is_expected = if expected.is_empty() {
        (200..300).contains(&response.status)
    } else {
        expected.contains(&i64::from(response.status))
    };
    (!is_expected).then(|| unexpected(response))
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
