//! The signature that a commit or an annotated tag carries, and the bytes that it is of.

use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::{
    super::{commit::CommitId, error::GitError, refs::RefName},
    error::{SignatureError, quoted},
    openpgp, ssh,
};
use signoff_api::release::SignedObject;

/// Largest commit or tag object that is looked at, in bytes.
const MAX_OBJECT: usize = 1 << 20;
/// What a line begins with that begins a signature, of the kinds that git knows.
const SIGNATURES: [&str; 4] = [
    ssh::SIGNATURE,
    openpgp::SIGNATURE,
    "-----BEGIN PGP MESSAGE-----",
    "-----BEGIN SIGNED MESSAGE-----",
];

/// What has to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The commit.
    Commit,
    /// The annotated tag where the ref is a tag, else the commit.
    Tag,
}

/// A signature and what it is of; whether it is good is for [`super::TrustedKeys`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub(super) object: SignedObject,
    pub(super) signature: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// The signature by which a ref vouches for a commit. The outer error is of the mirror, the inner one of what was pushed.
pub(in crate::git) fn read(
    repository: &Repository,
    name: &RefName,
    commit: CommitId,
    by: SignedBy,
) -> Result<Result<Signed, SignatureError>, GitError> {
    match name.tag() {
        Some(tag) if by == SignedBy::Tag => of_tag(repository, name, tag, commit),
        _ => of_commit(repository, commit),
    }
}

fn of_commit(repository: &Repository, id: CommitId) -> Result<Result<Signed, SignatureError>, GitError> {
    let (bytes, kind) = header(repository, id.0)?;
    if kind != ObjectType::Commit {
        return Err(GitError::NoCommit(id.to_string()));
    }
    if bytes > MAX_OBJECT {
        return Ok(Err(too_large(SignedObject::Commit, bytes)));
    }
    Ok(match repository.extract_signature(&id.0, None) {
        Ok((signature, payload)) => Ok(Signed {
            object: SignedObject::Commit,
            signature: signature.to_vec(),
            payload: payload.to_vec(),
        }),
        Err(error) if error.code() == ErrorCode::NotFound => {
            Err(SignatureError::Missing(SignedObject::Commit))
        }
        Err(error) => return Err(error.into()),
    })
}

/// Where the mirror keeps the ref, an annotated tag of that name must lie that points at the commit.
fn of_tag(
    repository: &Repository,
    name: &RefName,
    wanted: &str,
    commit: CommitId,
) -> Result<Result<Signed, SignatureError>, GitError> {
    let no_commit = || GitError::NoCommit(commit.to_string());
    let reference = repository.find_reference(&name.mirrored())?;
    let id = reference.target().ok_or_else(no_commit)?;
    let (bytes, kind) = header(repository, id)?;
    if kind != ObjectType::Tag {
        return Ok(Err(SignatureError::NotAnnotated(name.to_string())));
    }
    if bytes > MAX_OBJECT {
        return Ok(Err(too_large(SignedObject::Tag, bytes)));
    }
    let tag = repository.find_tag(id)?;
    if tag.as_object().peel(ObjectType::Commit).map(|peeled| peeled.id()) != Ok(commit.0) {
        return Err(no_commit());
    }
    // a good tag under another name would let who may push choose among all that were ever signed
    if tag.name_bytes() != wanted.as_bytes() {
        return Ok(Err(SignatureError::OtherTag {
            says: quoted(&String::from_utf8_lossy(tag.name_bytes())),
            wanted: wanted.to_owned(),
        }));
    }
    let odb = repository.odb()?;
    let object = odb.read(id)?;
    let (payload, signature) = object.data().split_at(signature_at(object.data()));
    Ok(if signature.is_empty() {
        Err(SignatureError::Missing(SignedObject::Tag))
    } else {
        Ok(Signed {
            object: SignedObject::Tag,
            signature: signature.to_vec(),
            payload: payload.to_vec(),
        })
    })
}

fn header(repository: &Repository, id: Oid) -> Result<(usize, ObjectType), GitError> {
    repository
        .odb()?
        .read_header(id)
        .map_err(|error| match error.code() {
            ErrorCode::NotFound => GitError::NoCommit(id.to_string()),
            _ => error.into(),
        })
}

fn too_large(what: SignedObject, bytes: usize) -> SignatureError {
    SignatureError::TooLarge {
        what,
        bytes,
        max: MAX_OBJECT,
    }
}

/// Where the signature of a tag begins: at the last line that can begin one, as git has it. Without one, the end.
fn signature_at(data: &[u8]) -> usize {
    let mut at = 0;
    let mut found = data.len();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if SIGNATURES.iter().any(|begin| line.starts_with(begin.as_bytes())) {
            found = at;
        }
        at += line.len();
    }
    found
}
