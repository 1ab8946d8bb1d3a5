//! Pushes a branch of our own: one file on top of another branch, to be merged by people.

use std::sync::{Arc, Mutex, PoisonError};

use git2::{
    Direction, FileMode, Oid, PushOptions, RemoteCallbacks, Repository, Signature, build::TreeUpdateBuilder,
};
use tokio_util::sync::CancellationToken;

use super::{
    commit::CommitId,
    error::GitError,
    mirror::{Mirror, Remote},
    refs::RefName,
    session::Session,
};

/// Who commits what is pushed. The commits are not signed, and so vouch for nothing.
pub(super) const NAME: &str = "Signoff";
pub(super) const EMAIL: &str = "operator@signoff.dev";

/// A file to be put on a branch of its own.
#[derive(Clone, Debug)]
pub struct ProposedFile {
    /// The branch, which is made.
    pub branch: RefName,
    /// What the branch is made on top of; the mirror must have it.
    pub base: CommitId,
    /// Path in the repository, with `/`.
    pub path: String,
    /// Its text.
    pub content: String,
    /// The commit's message.
    pub message: String,
}

impl Mirror {
    /// Pushes a branch with a file, unless the remote has a branch of this name. Whether it was pushed.
    ///
    /// # Errors
    /// Any [`GitError`]; [`GitError::PushRefused`] where the remote does not take it.
    pub async fn propose(
        &self,
        remote: Remote,
        file: ProposedFile,
        cancel: CancellationToken,
    ) -> Result<bool, GitError> {
        self.with_remote(remote, cancel, move |session, repository| {
            push(session, repository, &file.branch, |at| {
                if at.is_some() {
                    return Ok(None);
                }
                let commit = commit(repository, &file)?;
                Ok(Some(format!("{commit}:{}", file.branch)))
            })
        })
        .await
    }

    /// Deletes a branch of the remote, if it is there. Whether it was.
    ///
    /// # Errors
    /// Any [`GitError`]; [`GitError::PushRefused`] where the remote does not let it go.
    pub async fn delete_branch(
        &self,
        remote: Remote,
        branch: RefName,
        cancel: CancellationToken,
    ) -> Result<bool, GitError> {
        self.with_remote(remote, cancel, move |session, repository| {
            push(session, repository, &branch, |at| {
                Ok(at.map(|_| format!(":{branch}")))
            })
        })
        .await
    }
}

/// Pushes what follows from where the remote has a branch, if anything does. The remote takes it only if the branch is still there.
pub(super) fn push(
    session: &Arc<Session>,
    repository: &Repository,
    branch: &RefName,
    follows: impl FnOnce(Option<Oid>) -> Result<Option<String>, GitError>,
) -> Result<bool, GitError> {
    let mut remote = repository.remote_anonymous(&session.address())?;
    let refused = Mutex::new(None);
    let told = |_: &str, message: Option<&str>| {
        if let Some(message) = message {
            let message: String = message.chars().take(300).collect();
            *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        }
        Ok(())
    };
    let mut callbacks = RemoteCallbacks::new();
    callbacks.push_update_reference(told);
    let mut connection = remote
        .connect_auth(Direction::Push, None, None)
        .map_err(|error| session.not_connected(error))?;
    let at = connection
        .list()?
        .iter()
        .find(|head| head.name() == branch.as_str())
        .map(git2::RemoteHead::oid);
    let Some(refspec) = follows(at)? else {
        return Ok(false);
    };
    let mut options = PushOptions::new();
    options.remote_callbacks(callbacks);
    connection.remote().push(&[refspec], Some(&mut options))?;
    drop(connection);
    drop(options);
    match refused.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(true),
        Some(message) => Err(GitError::PushRefused {
            host: session.url.host().to_owned(),
            message,
        }),
    }
}

fn commit(repository: &Repository, file: &ProposedFile) -> Result<CommitId, GitError> {
    let base = repository.find_commit(file.base.0)?;
    let blob = repository.blob(file.content.as_bytes())?;
    let tree = TreeUpdateBuilder::new()
        .upsert(file.path.as_str(), blob, FileMode::Blob)
        .create_updated(repository, &base.tree()?)?;
    let who = Signature::now(NAME, EMAIL)?;
    let tree = repository.find_tree(tree)?;
    let id = repository.commit(None, &who, &who, &file.message, &tree, &[&base])?;
    Ok(CommitId(id))
}
