//! Why a signature proves nothing.

use signoff_api::{
    reason::{Classified, ErrorClass},
    release::SignedObject,
};

/// Longest text of somebody else's that a message repeats, in characters.
const MAX_QUOTED: usize = 100;

/// Why a signature proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("the {} is not signed", object(*.0))]
    Missing(SignedObject),
    /// A tag is only a name for a commit, which carries no signature of its own.
    #[error("{0} is not an annotated tag, so it cannot be signed")]
    NotAnnotated(String),
    /// An annotated tag was made for another name.
    #[error("the annotated tag was made as {says:?}, not as {wanted:?}")]
    OtherTag {
        /// The name that the tag object has in it.
        says: String,
        /// The name of the ref.
        wanted: String,
    },
    /// The object is larger than any that is looked at.
    #[error("the {} has {bytes} bytes; a signed one may have {max}", object(*.what))]
    TooLarge {
        /// What is too large.
        what: SignedObject,
        /// Its size.
        bytes: usize,
        /// The largest that is looked at.
        max: usize,
    },
    /// The signature is neither an SSH nor an OpenPGP signature.
    #[error("the signature is neither an SSH signature nor an OpenPGP signature")]
    Format,
    /// The signature cannot be read, or is made in a way that proves nothing.
    #[error("the signature cannot be used: {0}")]
    Unusable(String),
    /// An SSH signature was made for another purpose than git.
    #[error("the SSH signature was made for the namespace {0:?}, not for \"git\"")]
    Namespace(String),
    /// A key signed that is not trusted.
    #[error("it is signed by the key {0}, which is not among spec.verify.keys")]
    UnknownKey(String),
    /// The signature is not one of this content by the key that it names.
    #[error("the content is not what the key {name} ({fingerprint}) signed")]
    Mismatch {
        /// Name of the key.
        name: String,
        /// Fingerprint of the key that the signature names.
        fingerprint: String,
    },
    /// The key is trusted by the Repository, but not good.
    #[error("it is signed by the key {name} ({fingerprint}), which {why}")]
    BadKey {
        /// Name of the key.
        name: String,
        /// Fingerprint of the key that signed.
        fingerprint: String,
        /// What is wrong with it.
        why: String,
    },
    /// The signature was made to last until a time that has passed.
    #[error("the signature itself expired at {0}")]
    Expired(String),
}

fn object(object: SignedObject) -> &'static str {
    match object {
        SignedObject::Commit => "commit",
        SignedObject::Tag => "tag",
    }
}

/// What somebody else wrote, cut to a length that fits into a message.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

impl Classified for SignatureError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::NotAnnotated(_) => "SignatureMissing",
            Self::UnknownKey(_) => "SignerUnknown",
            Self::OtherTag { .. }
            | Self::TooLarge { .. }
            | Self::Format
            | Self::Unusable(_)
            | Self::Namespace(_)
            | Self::Mismatch { .. }
            | Self::BadKey { .. }
            | Self::Expired(_) => "SignatureInvalid",
        }
    }
}

/// A key in `spec.verify.keys` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key {name:?} of spec.verify.keys cannot be used: {why}")]
pub struct KeyError {
    name: String,
    why: String,
}

impl KeyError {
    pub(super) fn new(name: &str, why: String) -> Self {
        Self {
            name: name.to_owned(),
            why,
        }
    }
}
