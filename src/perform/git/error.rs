//! Why nothing came of a `git` step, for the engine.

use std::error::Error;

use crate::{
    cluster::error_chain, forge::ForgeError, git::GitError, net::redact::Secrets,
    remotes::forges::ForgeSettingsError,
};
use signoff_api::{
    reason::{Classified, ErrorClass, StepReason},
    text::visible,
};
use signoff_engine::facts::EffectError;

/// What the remote, or git, says went wrong.
pub(super) fn of_git(error: &GitError, sent: bool, secrets: &Secrets) -> EffectError {
    let reason = match error {
        GitError::Url(_) | GitError::NotFound { .. } | GitError::Protocol { .. } => {
            StepReason::RepositoryNotFound
        }
        GitError::AddressRefused(_) => StepReason::AddressRefused,
        GitError::Unreachable { .. } | GitError::Missing(_) | GitError::Git(_) => StepReason::Unreachable,
        GitError::Status { .. } | GitError::RateLimited { .. } => StepReason::UnexpectedStatus,
        GitError::AuthenticationFailed { .. } | GitError::InvalidCredentials(_) => {
            StepReason::CredentialsRefused
        }
        GitError::HostKeyUnknown { .. } => StepReason::HostKeyUnknown,
        GitError::PushRefused { .. } => StepReason::PushRefused,
        GitError::NoBranch(_)
        | GitError::NoCommit(_)
        | GitError::NoFolder(_)
        | GitError::NotAFolder { .. } => StepReason::BranchNotFound,
        GitError::BranchExists(_) | GitError::OthersWork { .. } => StepReason::BranchExists,
        GitError::BranchMoved(_) => StepReason::BranchMoved,
        GitError::PathRefused { .. } => StepReason::FileRefused,
        GitError::TooLarge { .. }
        | GitError::TooManyRefs { .. }
        | GitError::TooManyObjects { .. }
        | GitError::ObjectTooLarge { .. } => StepReason::ResponseTooLarge,
        GitError::TimedOut { .. } | GitError::Cancelled => StepReason::AttemptTimedOut,
        GitError::Directory(_) => StepReason::Unreachable,
    };
    let is_known = matches!(
        error,
        GitError::PushRefused { .. } | GitError::BranchMoved(_) | GitError::AuthenticationFailed { .. }
    );
    EffectError {
        reason,
        message: told(error, secrets),
        retryable: error.class() != ErrorClass::Invalid,
        may_have_happened: sent && !is_known,
        retry_after: error.retry_after(),
        status: None,
    }
}

/// What the forge says went wrong. The commit is there by then, and is found by another attempt.
pub(super) fn of_forge(error: &ForgeError, secrets: &Secrets) -> EffectError {
    let reason = match error {
        ForgeError::Unreachable { .. } => StepReason::Unreachable,
        ForgeError::AddressRefused(_) => StepReason::AddressRefused,
        ForgeError::RateLimited { .. } | ForgeError::Failed { .. } => StepReason::UnexpectedStatus,
        ForgeError::Forbidden { .. } | ForgeError::NotFound { .. } | ForgeError::Rejected { .. } => {
            StepReason::ForgeRefused
        }
        ForgeError::Unreadable { .. } => StepReason::InvalidResponse,
    };
    EffectError {
        reason,
        message: told(error, secrets),
        retryable: error.class() != ErrorClass::Invalid,
        may_have_happened: true,
        retry_after: error.retry_after(),
        status: None,
    }
}

/// Why the forge of a Repository cannot be used. Nothing was sent.
pub(super) fn of_settings(error: &ForgeSettingsError, secrets: &Secrets) -> EffectError {
    let reason = match error {
        ForgeSettingsError::NoToken { .. } => StepReason::SecretNotFound,
        ForgeSettingsError::Forge(ForgeError::AddressRefused(_)) => StepReason::AddressRefused,
        ForgeSettingsError::Api(..)
        | ForgeSettingsError::InvalidAddress(_)
        | ForgeSettingsError::NoProject(_)
        | ForgeSettingsError::Forge(_) => StepReason::ForgeRefused,
    };
    EffectError {
        reason,
        message: told(error, secrets),
        retryable: error.class() != ErrorClass::Invalid,
        may_have_happened: false,
        retry_after: None,
        status: None,
    }
}

/// An error with its causes, without secrets, and harmless: servers wrote parts of it.
fn told(error: &(dyn Error + 'static), secrets: &Secrets) -> String {
    visible(&secrets.redact(&error_chain(error)))
        .chars()
        .take(1000)
        .collect()
}
