//! Why a Repository is not in step with its remote.

use crate::git::{
    CommitId, GitError, KeyError, RefName, RefNameError, SignatureError, TagPatternError, UrlError,
};
use signoff_api::reason::{Classified, ErrorClass};

/// Why a Repository is not in step with its remote.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The remote or the mirror failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The address cannot be used.
    #[error("spec.url cannot be used")]
    Url(#[from] UrlError),
    /// A ref cannot be read.
    #[error(transparent)]
    Ref(#[from] RefNameError),
    /// A pattern for tags cannot be read.
    #[error(transparent)]
    Tag(#[from] TagPatternError),
    /// The remote has no such ref.
    #[error("the remote has no {0}")]
    NoRef(String),
    /// A key in `spec.verify` cannot be used.
    #[error(transparent)]
    VerifyKey(#[from] KeyError),
    /// Nobody who is trusted signed what was pushed.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// A release has the name of another one's content.
    #[error("a release {0:?} with other content exists")]
    Collision(String),
    /// The Connection does not exist.
    #[error("there is no Connection {0:?}")]
    NoConnection(String),
    /// The Connection is not for git.
    #[error("the Connection {0:?} is not for git")]
    WrongConnection(String),
    /// The Connection is for another remote.
    #[error("the Connection {0:?} is for another address")]
    OtherAddress(String),
    /// A Secret or a key of it does not exist.
    #[error("there is no key {key:?} in a Secret {name:?}")]
    NoSecret {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// A key of a Secret is not text.
    #[error("the key {key:?} of the Secret {name:?} is not text")]
    NotText {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
}

/// What a ref points at is not signed as `spec.verify` wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing of {git_ref} at {} is applied", .commit.short())]
pub struct Unsigned {
    /// The ref.
    pub git_ref: RefName,
    /// Where the remote has it.
    pub commit: CommitId,
    /// What is wrong.
    #[source]
    pub why: SignatureError,
}

impl Classified for RepositoryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) => ErrorClass::Transient,
            Self::Git(error) => error.class(),
            Self::Unsigned(Unsigned { why, .. }) => why.class(),
            Self::NoRef(_) | Self::NoConnection(_) | Self::NoSecret { .. } => ErrorClass::Waiting,
            Self::Url(_)
            | Self::Ref(_)
            | Self::Tag(_)
            | Self::VerifyKey(_)
            | Self::Collision(_)
            | Self::WrongConnection(_)
            | Self::OtherAddress(_)
            | Self::NotText { .. } => ErrorClass::Invalid,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::Git(error) => error.reason(),
            Self::VerifyKey(_) => "InvalidVerifyKey",
            Self::Unsigned(Unsigned { why, .. }) => why.reason(),
            Self::Url(_) => "InvalidURL",
            Self::Ref(_) | Self::Tag(_) => "InvalidRef",
            Self::NoRef(_) => "RefNotFound",
            Self::Collision(_) => "ReleaseCollision",
            Self::NoConnection(_) => "ConnectionNotFound",
            Self::WrongConnection(_) | Self::OtherAddress(_) => "WrongConnection",
            Self::NoSecret { .. } => "SecretNotFound",
            Self::NotText { .. } => "InvalidCredentials",
        }
    }
}
