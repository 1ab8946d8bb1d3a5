//! Commit statuses of ours: each is set once, until it says something else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{CommitStatus, Forge, ForgeError};
use crate::git::CommitId;

/// What stands beside commits, by what it is about. Losing it costs setting it once more. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct SetStatuses(Arc<Mutex<HashMap<(CommitId, String), CommitStatus>>>);

impl SetStatuses {
    /// Sets the status of a commit, unless it is what was set there last.
    ///
    /// # Errors
    /// What the forge answers.
    pub async fn set(
        &self,
        forge: &dyn Forge,
        commit: CommitId,
        status: CommitStatus,
    ) -> Result<(), ForgeError> {
        let key = (commit, status.context.clone());
        if self.lock().get(&key) == Some(&status) {
            return Ok(());
        }
        forge.set_commit_status(commit, &status).await?;
        self.lock().insert(key, status);
        Ok(())
    }

    /// Forgets what stands beside other commits than these.
    pub fn keep(&self, commits: &[CommitId]) {
        self.lock().retain(|(commit, _), _| commits.contains(commit));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(CommitId, String), CommitStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
