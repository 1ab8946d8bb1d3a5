//! What can go wrong with a git remote or a mirror of it.

use std::time::Duration;

use crate::net::AddressRefused;
use signoff_api::reason::{Classified, ErrorClass};

use super::url::UrlError;

/// Any error of another library.
pub(super) type Source = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with a git remote or a mirror of it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The address is not one that can be fetched from.
    #[error("the address of the repository cannot be used")]
    Url(#[from] UrlError),
    /// The remote could not be reached, or broke off.
    #[error("the git remote {host} cannot be reached")]
    Unreachable {
        /// Host of the remote.
        host: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// The remote did not take what was pushed.
    #[error("{host} refused the push: {message}")]
    PushRefused {
        /// Host of the remote.
        host: String,
        /// What the remote said.
        message: String,
    },
    /// The remote has no such branch.
    #[error("the remote has no branch {0}")]
    NoBranch(String),
    /// The branch is there, and nothing may be added to it.
    #[error("the branch {0} exists")]
    BranchExists(String),
    /// The branch has commits that would be lost.
    #[error("the branch {branch} has the commit {commit} of somebody else, which would be lost")]
    OthersWork {
        /// The branch.
        branch: String,
        /// The first digits of the commit.
        commit: String,
    },
    /// Somebody moved the branch meanwhile.
    #[error("somebody moved the branch {0} meanwhile")]
    BranchMoved(String),
    /// A file cannot be written to the branch.
    #[error("{path:?} cannot be written: {why}")]
    PathRefused {
        /// Its path.
        path: String,
        /// Why.
        why: String,
    },
    /// The address is one that may not be called.
    #[error(transparent)]
    AddressRefused(#[from] AddressRefused),
    /// The remote, or a proxy before it, answered with an error status.
    #[error("the git remote {host} answered with HTTP status {status}")]
    Status {
        /// Host of the remote.
        host: String,
        /// The status.
        status: u16,
    },
    /// The remote wants to be left alone.
    #[error("the git remote {host} asks to be left alone for {} s", .retry_after.as_secs())]
    RateLimited {
        /// Host of the remote.
        host: String,
        /// For how long; at most an hour.
        retry_after: Duration,
    },
    /// What answered does not speak git.
    #[error("{host} does not answer as a git remote does: {message}")]
    Protocol {
        /// Host of the remote.
        host: String,
        /// What was wrong.
        message: String,
    },
    /// The remote wants credentials, or refused those given.
    #[error("{host} refused access: {message}")]
    AuthenticationFailed {
        /// Host of the remote.
        host: String,
        /// What was refused.
        message: String,
    },
    /// A private key or `known_hosts` lines cannot be read.
    #[error("the credentials cannot be used: {0}")]
    InvalidCredentials(String),
    /// The server's host key is not in `known_hosts`.
    #[error("the host key of {host} ({fingerprint}) is not among the known hosts")]
    HostKeyUnknown {
        /// The host.
        host: String,
        /// The key that the server showed.
        fingerprint: String,
    },
    /// There is no such repository, or it may not be seen.
    #[error(
        "there is no repository at this address of {host}, or these credentials may not see it: {message}"
    )]
    NotFound {
        /// Host of the remote.
        host: String,
        /// What the remote said.
        message: String,
    },
    /// The remote sent more than it may.
    #[error("the remote sent more than {limit} bytes")]
    TooLarge {
        /// Most bytes that a fetch may receive.
        limit: u64,
    },
    /// The remote lists more refs than it may.
    #[error("the remote lists its refs in more than {limit} bytes")]
    TooManyRefs {
        /// Most bytes that the list may have.
        limit: u64,
    },
    /// A fetch has more objects than it may.
    #[error("the remote sent more than {limit} objects")]
    TooManyObjects {
        /// Most objects that it may have.
        limit: usize,
    },
    /// An object is too large to be loaded.
    #[error("{object} is larger than {limit} bytes")]
    ObjectTooLarge {
        /// Which one.
        object: String,
        /// Most bytes that it may have.
        limit: usize,
    },
    /// The remote left out what a commit needs.
    #[error("the remote did not send {0}")]
    Missing(String),
    /// It took too long, or the remote sent nothing for too long.
    #[error("the git remote took longer than {seconds} s")]
    TimedOut {
        /// The limit that was hit, in seconds.
        seconds: u64,
    },
    /// It was cancelled, because this process ends.
    #[error("the fetch was cancelled")]
    Cancelled,
    /// A commit is not in the mirror, or the object of that name is no commit.
    #[error("{0} is not a commit of this repository")]
    NoCommit(String),
    /// The folder to read is not in the commit, or is no folder.
    #[error("there is no folder {0:?} in the commit")]
    NoFolder(String),
    /// The folder to read is something else.
    #[error("{path:?} is {what} in the commit, not a folder")]
    NotAFolder {
        /// Its path, or that of a folder around it.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// libgit2 refused: the remote's data or the mirror is damaged, or the disk failed.
    #[error("git failed")]
    Git(#[from] git2::Error),
    /// The mirror's directory could not be made or removed.
    #[error("the mirror directory cannot be used")]
    Directory(#[source] std::io::Error),
}

impl GitError {
    /// How long the remote wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl Classified for GitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Cancelled
            | Self::BranchMoved(_)
            | Self::Missing(_)
            | Self::Git(_)
            | Self::Directory(_) => ErrorClass::Transient,
            Self::RateLimited { .. } => ErrorClass::Waiting,
            Self::Status { status, .. } if *status == 429 || *status >= 500 => ErrorClass::Transient,
            Self::Status { .. }
            | Self::Url(_)
            | Self::AddressRefused(_)
            | Self::Protocol { .. }
            | Self::AuthenticationFailed { .. }
            | Self::InvalidCredentials(_)
            | Self::HostKeyUnknown { .. }
            | Self::NotFound { .. }
            | Self::PushRefused { .. }
            | Self::NoBranch(_)
            | Self::BranchExists(_)
            | Self::OthersWork { .. }
            | Self::PathRefused { .. }
            | Self::TooLarge { .. }
            | Self::TooManyRefs { .. }
            | Self::TooManyObjects { .. }
            | Self::ObjectTooLarge { .. }
            | Self::NoCommit(_)
            | Self::NotAFolder { .. }
            | Self::NoFolder(_) => ErrorClass::Invalid,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Url(_) => "InvalidURL",
            Self::Unreachable { .. } => "RemoteUnreachable",
            Self::AddressRefused(_) => "AddressRefused",
            Self::Status { .. } => "UnexpectedStatus",
            Self::RateLimited { .. } => "RemoteRateLimited",
            Self::Protocol { .. } => "NotAGitRemote",
            Self::AuthenticationFailed { .. } => "AuthenticationFailed",
            Self::InvalidCredentials(_) => "InvalidCredentials",
            Self::HostKeyUnknown { .. } => "HostKeyUnknown",
            Self::NotFound { .. } => "RepositoryNotFound",
            Self::PushRefused { .. } => "PushRefused",
            Self::NoBranch(_) => "BranchNotFound",
            Self::BranchExists(_) | Self::OthersWork { .. } => "BranchExists",
            Self::BranchMoved(_) => "BranchMoved",
            Self::PathRefused { .. } => "PathRefused",
            Self::TooLarge { .. } => "RepositoryTooLarge",
            Self::TooManyRefs { .. } => "TooManyRefs",
            Self::TooManyObjects { .. } => "RepositoryTooLarge",
            Self::ObjectTooLarge { .. } => "ObjectTooLarge",
            Self::Missing(_) => "ObjectMissing",
            Self::TimedOut { .. } => "RemoteTimedOut",
            Self::Cancelled => "Cancelled",
            Self::NoCommit(_) => "CommitNotFound",
            Self::NoFolder(_) | Self::NotAFolder { .. } => "PathNotFound",
            Self::Git(_) => "GitFailed",
            Self::Directory(_) => "MirrorFailed",
        }
    }
}
