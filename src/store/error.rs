//! Why content could not be written or read.

use std::error::Error as _;

use signoff_api::reason::StepReason;

/// Why content could not be written or read. Messages name neither addresses nor paths of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store.
    #[error(
        "this needs an object store, and the operator has none: an administrator configures one with --store"
    )]
    NoStore,
    /// The content is not there, or not any more.
    #[error("the content is not in the store")]
    NotFound,
    /// The content is not what its digest says.
    #[error("the content in the store is not what its sha256 says")]
    HashMismatch,
    /// The content is longer than what is taken.
    #[error("the content is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// The store refuses the credentials of the operator.
    #[error("the store refuses the credentials of the operator")]
    Refused(#[source] object_store::Error),
    /// The store did not answer, or could not do what it was asked.
    #[error("the store cannot be used just now")]
    Unavailable(#[source] object_store::Error),
}

impl StoreError {
    /// The reason of a step that fails with it.
    pub fn reason(&self) -> StepReason {
        match self {
            Self::NoStore => StepReason::NoStore,
            Self::NotFound => StepReason::ResourceNotFound,
            Self::HashMismatch => StepReason::HashMismatch,
            Self::TooLarge(_) => StepReason::ResourceTooLarge,
            Self::Refused(_) | Self::Unavailable(_) => StepReason::StoreUnavailable,
        }
    }

    /// Whether it may be otherwise in a while.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Unavailable(_) => true,
            Self::NoStore | Self::NotFound | Self::HashMismatch | Self::TooLarge(_) => false,
        }
    }
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Self::NotFound,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Refused(error),
            // what is unknown may pass, and this enum grows with the library
            other if is_missing(&other) => Self::NotFound,
            other => Self::Unavailable(other),
        }
    }
}

/// Whether a file is missing where a stream of it was to begin.
fn is_missing(error: &object_store::Error) -> bool {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound)
}
