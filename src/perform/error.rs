//! Why a call brought no response, classified for the engine.

use std::{error::Error, time::Duration};

use crate::{
    cluster::error_chain,
    net::{redact::Secrets, refusal_in},
    store::StoreError,
};
use signoff_api::reason::StepReason;
use signoff_engine::facts::EffectError;

/// A call that never left: the step or what it refers to is wrong, and another attempt cannot help.
pub(in crate::perform) fn invalid(reason: StepReason, message: impl Into<String>) -> EffectError {
    EffectError {
        reason,
        message: message.into(),
        retryable: false,
        may_have_happened: false,
        retry_after: None,
        status: None,
    }
}

/// A call that never left because something it needs could not be read just now.
pub(in crate::perform) fn not_ready(reason: StepReason, message: impl Into<String>) -> EffectError {
    EffectError {
        retryable: true,
        ..invalid(reason, message)
    }
}

/// A response that came but cannot be used; the other side has done what it was asked.
pub(in crate::perform) fn unusable(reason: StepReason, message: impl Into<String>) -> EffectError {
    EffectError {
        may_have_happened: true,
        ..invalid(reason, message)
    }
}

/// What the store says went wrong, before anything was sent or after.
pub(in crate::perform) fn stored(problem: &StoreError, may_have_happened: bool) -> EffectError {
    if problem.is_transient() {
        // for whoever runs the operator; it may name addresses and paths
        tracing::warn!(error = %error_chain(problem), "the object store could not be used");
    }
    EffectError {
        retryable: problem.is_transient(),
        may_have_happened,
        ..invalid(problem.reason(), problem.to_string())
    }
}

/// The attempt took too long. Whether the request was acted on is unknown.
pub(in crate::perform) fn timed_out(place: &str, timeout: Duration) -> EffectError {
    let message = format!("{place} did not answer within {}", humane(timeout));
    EffectError {
        retryable: true,
        ..unusable(StepReason::AttemptTimedOut, message)
    }
}

/// What the HTTP client says went wrong.
pub(in crate::perform) fn transport(place: &str, error: reqwest::Error, secrets: &Secrets) -> EffectError {
    // the address may hold credentials in its query
    let error = error.without_url();
    if let Some(refused) = refusal_in(&error) {
        return invalid(StepReason::AddressRefused, secrets.redact(&refused.to_string()));
    }
    if error.is_builder() {
        return invalid(
            StepReason::InvalidRequest,
            format!("the request to {place} could not be formed"),
        );
    }
    let (did, sent) = if error.is_connect() {
        ("cannot connect to", false)
    } else {
        ("the connection broke during a call to", true)
    };
    EffectError {
        reason: StepReason::Unreachable,
        message: secrets.redact(&format!("{did} {place}: {}", innermost(&error))),
        retryable: true,
        may_have_happened: sent,
        retry_after: None,
        status: None,
    }
}

/// The last cause says most; those above it repeat where they stand.
fn innermost(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn humane(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
