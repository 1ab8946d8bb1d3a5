//! What can go wrong with a forge.

use std::time::Duration;

use crate::net::AddressRefused;
use signoff_api::reason::{Classified, ErrorClass};

/// What can go wrong with a forge.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The forge could not be reached, or broke off.
    #[error("the forge {host} cannot be reached")]
    Unreachable {
        /// Its host.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The address is one that may not be called.
    #[error(transparent)]
    AddressRefused(#[from] AddressRefused),
    /// The forge has had enough of us for a while.
    #[error("the forge {host} asks to be left alone for {} s", .retry_after.as_secs())]
    RateLimited {
        /// Its host.
        host: String,
        /// How long it wants to be left alone: its `Retry-After`, or until its limit is reset; at most an hour.
        retry_after: Duration,
    },
    /// The forge refuses the token, or the token may not do this.
    #[error("the forge {host} refuses to {doing}: {message}")]
    Forbidden {
        /// Its host.
        host: String,
        /// What was tried.
        doing: &'static str,
        /// What the forge said.
        message: String,
    },
    /// There is no such thing, or this account may not see it.
    #[error("the forge {host} knows nothing of what is needed to {doing}: {message}")]
    NotFound {
        /// Its host.
        host: String,
        /// What was tried.
        doing: &'static str,
        /// What the forge said.
        message: String,
    },
    /// The forge does not take what was sent.
    #[error("the forge {host} does not accept what was sent to {doing} (HTTP status {status}): {message}")]
    Rejected {
        /// Its host.
        host: String,
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        status: u16,
        /// What the forge said.
        message: String,
    },
    /// The forge is unwell.
    #[error("the forge {host} answered with HTTP status {status} when asked to {doing}")]
    Failed {
        /// Its host.
        host: String,
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        status: u16,
    },
    /// The answer is not what the forge's documentation says.
    #[error("the forge {host} gave an answer that cannot be read when asked to {doing}: {message}")]
    Unreadable {
        /// Its host.
        host: String,
        /// What was tried.
        doing: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl ForgeError {
    /// How long the forge wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl Classified for ForgeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::Failed { .. } | Self::Unreadable { .. } => ErrorClass::Transient,
            Self::RateLimited { .. } => ErrorClass::Waiting,
            Self::AddressRefused(_)
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Rejected { .. } => ErrorClass::Invalid,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "ForgeUnreachable",
            Self::AddressRefused(_) => "AddressRefused",
            Self::RateLimited { .. } => "ForgeRateLimited",
            Self::Forbidden { .. } => "ForgeForbidden",
            Self::NotFound { .. } => "ForgeNotFound",
            Self::Rejected { .. } => "ForgeRejected",
            Self::Failed { .. } => "ForgeFailed",
            Self::Unreadable { .. } => "ForgeUnreadable",
        }
    }
}
