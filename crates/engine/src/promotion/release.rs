//! Whether a release that was found may be made live, or may judge what is.

use std::sync::Arc;

use signoff_api::{Digest, Release, name::NameError};

/// A release that was looked for.
pub type Found = Result<Arc<Release>, Unusable>;

/// Why a release cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No release can have such a name.
    #[error(transparent)]
    NotAName(#[from] NameError),
    /// There is none of this name.
    #[error("there is no release {0} to make live")]
    NotFound(String),
    /// It is of another flow.
    #[error("release {release} is of flow {flow}")]
    OfAnotherFlow {
        /// Its name.
        release: String,
        /// Its flow.
        flow: String,
    },
    /// Its digest is not that of its content.
    #[error("release {release} says it is {says}, but its content is {is}")]
    Forged {
        /// Its name.
        release: String,
        /// The digest that it has.
        says: Digest,
        /// The digest of its content.
        is: Digest,
    },
}

impl Unusable {
    /// The reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAName(_) | Self::NotFound(_) => "ReleaseNotFound",
            Self::OfAnotherFlow { .. } => "ReleaseOfAnotherFlow",
            Self::Forged { .. } => "ReleaseForged",
        }
    }
}

/// Takes a release only if it is of this flow and its content is what its digest says.
///
/// # Errors
/// If the definition has no JSON form.
pub fn usable(flow: &str, release: Arc<Release>) -> Result<Found, serde_json::Error> {
    let name = || release.metadata.name.clone().unwrap_or_default();
    if release.spec.flow != flow {
        return Ok(Err(Unusable::OfAnotherFlow {
            release: name(),
            flow: release.spec.flow.clone(),
        }));
    }
    let digest = release.spec.content_digest()?;
    if digest != release.spec.digest {
        return Ok(Err(Unusable::Forged {
            release: name(),
            says: release.spec.digest.clone(),
            is: digest,
        }));
    }
    Ok(Ok(release))
}
