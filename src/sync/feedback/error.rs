//! Why something could not be said on a forge.

use std::time::Duration;

use crate::{
    forge::ForgeError,
    git::GitError,
    remotes::{RepositoryError, forges::ForgeSettingsError},
};
use signoff_api::reason::{Classified, ErrorClass};

/// Why something could not be said on a forge now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The forge is not set up.
    #[error(transparent)]
    Settings(#[from] ForgeSettingsError),
    /// The forge refuses.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// The settings or the credentials for git cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The head of a pull request cannot be fetched.
    #[error("the head of pull request {number} cannot be fetched")]
    Git {
        /// Its number.
        number: u64,
        /// Why.
        #[source]
        source: GitError,
    },
}

impl FeedbackError {
    /// How long the forge wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Forge(error) | Self::Settings(ForgeSettingsError::Forge(error)) => error.retry_after(),
            Self::Git { source, .. } => source.retry_after(),
            Self::Api(..) | Self::Settings(_) | Self::Repository(_) => None,
        }
    }
}

impl Classified for FeedbackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) => ErrorClass::Transient,
            Self::Settings(error) => error.class(),
            Self::Forge(error) => error.class(),
            Self::Repository(error) => error.class(),
            Self::Git { source, .. } => source.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::Settings(error) => error.reason(),
            Self::Forge(error) => error.reason(),
            Self::Repository(error) => error.reason(),
            Self::Git { source, .. } => source.reason(),
        }
    }
}
