//! Which commits changed a file of a branch.

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};

use super::{
    commit::CommitId,
    error::GitError,
    limits::Limits,
    mirror::Mirror,
    refs::RefName,
    verify::{SignatureError, Signed, SignedBy},
};

/// Most commits of a branch looked at, from the newest.
const MAX_COMMITS: usize = 100_000;
/// Most changes of one file that are told, from the newest.
const MAX_CHANGES: usize = 64;

/// A change of a file on a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The commit that made it: on the branch itself, so of a merged branch it is the merge.
    pub commit: CommitId,
    /// The file as it is there; nothing where it is larger than a manifest may be.
    pub content: Option<Vec<u8>>,
    /// Whether that commit changed this file and nothing else, compared with the branch before it.
    pub alone: bool,
    /// The parents of that commit; the first is the branch before it.
    pub parents: Vec<CommitId>,
}

impl Mirror {
    /// The changes of a file on the branch that ends at a commit, since it was last added, the oldest first; none where the branch has no
    /// such file.
    ///
    /// # Errors
    /// When the mirror has no such commit.
    pub async fn changes(&self, head: CommitId, path: &str) -> Result<Vec<Change>, GitError> {
        let path = path.to_owned();
        self.look(move |repository, limits| changes(repository, head, &path, limits))
            .await
    }

    /// The signature of a commit, as [`Mirror::signed`] has it.
    ///
    /// # Errors
    /// When the mirror has no such commit.
    pub async fn signed_commit(
        &self,
        branch: &RefName,
        commit: CommitId,
    ) -> Result<Result<Signed, SignatureError>, GitError> {
        self.signed(branch, commit, SignedBy::Commit).await
    }
}

fn changes(
    repository: &Repository,
    head: CommitId,
    path: &str,
    limits: &Limits,
) -> Result<Vec<Change>, GitError> {
    let mut commit = repository
        .find_commit(head.0)
        .map_err(|error| match error.code() {
            ErrorCode::NotFound => GitError::NoCommit(head.to_string()),
            _ => error.into(),
        })?;
    let mut changes = Vec::new();
    for _ in 0..MAX_COMMITS {
        let tree = commit.tree()?;
        let Some(blob) = blob_at(&tree, path)? else { break };
        let before = match commit.parent(0) {
            Ok(parent) => Some(parent),
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let tree_before = before.as_ref().map(git2::Commit::tree).transpose()?;
        let blob_before = match &tree_before {
            Some(tree) => blob_at(tree, path)?,
            None => None,
        };
        if blob_before != Some(blob) {
            changes.push(Change {
                commit: CommitId(commit.id()),
                content: content(repository, blob, limits)?,
                alone: is_only_change(repository, tree_before.as_ref(), &tree)?,
                parents: commit.parent_ids().map(CommitId).collect(),
            });
        }
        match before {
            Some(before) if changes.len() < MAX_CHANGES => commit = before,
            _ => break,
        }
    }
    changes.reverse();
    Ok(changes)
}

fn is_only_change(
    repository: &Repository,
    before: Option<&Tree<'_>>,
    now: &Tree<'_>,
) -> Result<bool, GitError> {
    let changed = repository.diff_tree_to_tree(before, Some(now), None)?;
    Ok(changed.deltas().len() == 1)
}

fn content(repository: &Repository, blob: Oid, limits: &Limits) -> Result<Option<Vec<u8>>, GitError> {
    let (size, kind) = repository.odb()?.read_header(blob)?;
    if kind != ObjectType::Blob || size > limits.file_bytes {
        return Ok(None);
    }
    Ok(Some(repository.find_blob(blob)?.content().to_vec()))
}

fn blob_at(tree: &Tree<'_>, path: &str) -> Result<Option<Oid>, GitError> {
    match tree.get_path(std::path::Path::new(path)) {
        Ok(entry) => Ok(Some(entry.id())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
