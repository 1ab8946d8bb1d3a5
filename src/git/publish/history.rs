//! The newest commits of a branch, as far as they are here.

use git2::{Commit, ErrorCode, Oid, Repository, Revwalk, Sort};

use super::DEPTH;
use crate::git::{error::GitError, limits::Limits, object};

/// The newest commits of a branch, the newest first.
pub(super) struct History<'r> {
    repository: &'r Repository,
    limits: &'r Limits,
    walk: Revwalk<'r>,
    left: i32,
}

impl<'r> History<'r> {
    /// Those that lead to a commit, without those that lead to another.
    pub(super) fn of(
        repository: &'r Repository,
        tip: Oid,
        without: Option<Oid>,
        limits: &'r Limits,
    ) -> Result<Self, GitError> {
        let mut walk = repository.revwalk()?;
        walk.set_sorting(Sort::TOPOLOGICAL)?;
        // the history may be cut off
        walk.push(object::commit_of(repository, tip, limits)?.id())?;
        if let Some(without) = without {
            walk.hide(without)?;
        }
        Ok(Self {
            repository,
            limits,
            walk,
            left: DEPTH,
        })
    }
}

impl<'r> Iterator for History<'r> {
    type Item = Result<Commit<'r>, GitError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1).filter(|left| *left >= 0)?;
        match self.walk.next()? {
            Ok(id) => Some(object::commit_of(self.repository, id, self.limits)),
            // what is cut off is not here
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}
