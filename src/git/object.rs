//! Objects are looked at before they are loaded: their size is what the remote makes it.

use git2::{Commit, ErrorCode, ObjectType, Oid, Repository};

use super::{error::GitError, limits::Limits};

/// Most tags of tags that are followed to a commit.
const TAGS: usize = 5;

/// Kind and size of an object.
pub(super) fn header(repository: &Repository, id: Oid) -> Result<(ObjectType, usize), GitError> {
    match repository.odb()?.read_header(id) {
        Ok((size, kind)) => Ok((kind, size)),
        Err(error) if error.code() == ErrorCode::NotFound => Err(GitError::Missing(id.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// The commit that an object is or, as an annotated tag, points at.
pub(super) fn commit_of<'a>(
    repository: &'a Repository,
    id: Oid,
    limits: &Limits,
) -> Result<Commit<'a>, GitError> {
    let mut at = id;
    for _ in 0..=TAGS {
        let (kind, size) = header(repository, at)?;
        if matches!(kind, ObjectType::Commit | ObjectType::Tag) && size > limits.object_bytes {
            return Err(GitError::ObjectTooLarge {
                object: format!("the {kind} {at}"),
                limit: limits.object_bytes,
            });
        }
        match kind {
            ObjectType::Commit => return Ok(repository.find_commit(at)?),
            ObjectType::Tag => at = repository.find_tag(at)?.target_id(),
            ObjectType::Any | ObjectType::Tree | ObjectType::Blob => break,
        }
    }
    Err(GitError::NoCommit(id.to_string()))
}
