//! Commits files to a branch of a remote, without a checkout and over nobody's work.
//!
//! What is to be done and was done before is found by the key in the trailers of its commit, so whoever does not know what came of a push
//! does it again. The remote moves the branch only from where it was when the commit was made.

mod history;
mod sign;
mod trailers;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use git2::{Commit, Direction, ErrorCode, Oid, Repository, Signature};
use russh::keys::PrivateKey;
use tokio_util::sync::CancellationToken;

use self::{history::History, trailers::Trailers};
use super::{
    commit::CommitId,
    error::GitError,
    limits::Limits,
    mirror::{Mirror, Remote, fetch},
    object,
    push::{EMAIL, NAME, push},
    refs::RefName,
    session::Session,
};
use signoff_api::step::IfExists;

/// How much of the history of a branch is read that is there.
const DEPTH: i32 = 100;

/// What is to be on a branch.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The branch.
    pub branch: RefName,
    /// The branch that it begins at if it is made; the remote's default branch if there is none.
    pub base: Option<RefName>,
    /// The branch that it is compared with.
    pub into: Option<RefName>,
    /// What is committed; if nothing is, the branch has to be there.
    pub commit: Option<NewCommit>,
    /// Set before the remote is asked to take anything.
    pub sent: Arc<AtomicBool>,
}

/// A commit to be made.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// Its files, no two of the same path.
    pub files: Vec<CommittedFile>,
    /// Its message, without trailers.
    pub message: String,
    /// Names what it is made for, as lines after the message.
    pub about: Vec<(&'static str, String)>,
    /// Tells it from every other commit. What comes before the first `/` is the same for all commits of a run.
    pub key: String,
    /// What happens if the branch is there. If nothing is said, only a run that has committed to it adds to it.
    pub if_exists: Option<IfExists>,
    /// Its author.
    pub author: Option<Author>,
    /// Signs it.
    pub signing_key: Option<Arc<PrivateKey>>,
}

/// An author of commits.
#[derive(Clone, Debug)]
pub struct Author {
    /// Name.
    pub name: String,
    /// E-mail address.
    pub email: String,
}

/// A file of a commit; without content it goes.
#[derive(Clone, Debug)]
pub struct CommittedFile {
    /// Its path.
    pub path: String,
    /// Its content.
    pub content: Option<CommittedContent>,
}

/// The content of a file.
#[derive(Clone, Debug)]
pub struct CommittedContent {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether it can be executed; as before if nothing is said.
    pub executable: Option<bool>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The commit that was made, now or before; if none was, the head of the branch, or of its base.
    pub commit: CommitId,
    /// Whether a commit was made, now or before.
    pub changed: bool,
    /// Whether the branch is there and has what `into` does not have.
    pub is_ahead: bool,
}

impl Mirror {
    /// Sees to it that a branch of the remote has a commit. The mirror is used for nothing else.
    ///
    /// # Errors
    /// Any [`GitError`]; [`GitError::BranchMoved`] if it is worth another try with another mirror.
    pub async fn publish(
        &self,
        remote: Remote,
        publication: Publication,
        cancel: CancellationToken,
    ) -> Result<Published, GitError> {
        self.with_remote(remote, cancel, move |session, repository| {
            Publisher {
                session,
                repository,
                limits: &session.limits,
                publication: &publication,
            }
            .publish()
        })
        .await
    }
}

struct Publisher<'a> {
    session: &'a Arc<Session>,
    repository: &'a Repository,
    limits: &'a Limits,
    publication: &'a Publication,
}

/// Where the branches are on the remote.
struct Heads {
    /// The branch itself.
    tip: Option<Oid>,
    /// The branch that it begins at: its name, and where it is.
    base: Option<(String, Oid)>,
    into: Option<Oid>,
}

/// What the new commit is made on.
struct Start<'r> {
    parent: Commit<'r>,
    /// Whether the branch loses what it had.
    is_reset: bool,
}

impl Publisher<'_> {
    fn publish(&self) -> Result<Published, GitError> {
        let heads = self.heads()?;
        let Some(new) = &self.publication.commit else {
            let tip = heads.tip.ok_or_else(|| no_branch(&self.publication.branch))?;
            return self.unchanged(&heads, tip);
        };
        if let Some(done) = self.done_before(new, &heads)? {
            return Ok(done);
        }
        let Start { parent, is_reset } = self.start(new, &heads)?;
        let before = parent.tree_id();
        let tree = write::tree(self.repository, self.limits, before, &new.files)?;
        if tree == before {
            let is_tip = heads.tip == Some(parent.id());
            let published = self.unchanged(&heads, parent.id())?;
            return Ok(Published {
                is_ahead: is_tip && published.is_ahead,
                ..published
            });
        }
        let commit = self.commit(new, tree, &parent)?;
        self.push(commit, heads.tip, is_reset)?;
        Ok(Published {
            commit: CommitId(commit),
            changed: true,
            is_ahead: true,
        })
    }

    /// Asks the remote where the branches are, and fetches them if something is to be committed.
    fn heads(&self) -> Result<Heads, GitError> {
        let (session, repository, publication) = (self.session, self.repository, self.publication);
        let mut remote = repository.remote_anonymous(&session.address())?;
        let mut connection = remote
            .connect_auth(Direction::Fetch, None, None)
            .map_err(|error| session.not_connected(error))?;
        let all: BTreeMap<String, Oid> = connection
            .list()?
            .iter()
            .map(|head| (head.name().to_owned(), head.oid()))
            .collect();
        let at = |name: &RefName| all.get(name.as_str()).copied();
        let base = match &publication.base {
            Some(base) => Some(base.as_str().to_owned()),
            None => match connection.default_branch() {
                Ok(name) => name.as_str().ok().map(str::to_owned),
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(error) => return Err(error.into()),
            },
        };
        let base = base.and_then(|base| all.get(&base).map(|at| (base, *at)));
        let heads = Heads {
            tip: at(&publication.branch),
            base,
            into: publication.into.as_ref().and_then(at),
        };
        if let Some(into) = &publication.into
            && heads.into.is_none()
        {
            return Err(no_branch(into));
        }
        let tip = heads.tip.map(|tip| (publication.branch.as_str(), tip));
        let commits = publication.commit.is_some();
        let base = heads.base.as_ref().filter(|_| commits);
        let base = base.map(|(name, at)| (name.as_str(), *at));
        // its history says whether it has the branch already
        let into = publication.into.as_ref().zip(heads.into);
        let into = into.filter(|(_, into)| heads.tip.is_some_and(|tip| tip != *into));
        let into = into.map(|(name, at)| (name.as_str(), at));
        let odb = repository.odb()?;
        let missing: BTreeSet<String> = tip
            .filter(|_| commits || into.is_some())
            .into_iter()
            .chain(base)
            .chain(into)
            .filter(|(_, at)| !odb.exists(*at))
            .map(|(name, _)| format!("+{name}:refs/published/{}", name.trim_start_matches("refs/")))
            .collect();
        if !missing.is_empty() {
            let missing: Vec<String> = missing.into_iter().collect();
            let depth = if heads.tip.is_some() { DEPTH } else { 1 };
            fetch(session, connection.remote(), &missing, depth)?;
        }
        Ok(heads)
    }

    /// Where the remote has the branch now.
    fn tip(&self) -> Result<Option<Oid>, GitError> {
        let mut remote = self.repository.remote_anonymous(&self.session.address())?;
        let connection = remote
            .connect_auth(Direction::Fetch, None, None)
            .map_err(|error| self.session.not_connected(error))?;
        let branch = self.publication.branch.as_str();
        let heads = connection.list()?;
        Ok(heads
            .iter()
            .find(|head| head.name() == branch)
            .map(git2::RemoteHead::oid))
    }

    /// The commit with this key, if it is on the branch already and is what would be committed.
    fn done_before(&self, new: &NewCommit, heads: &Heads) -> Result<Option<Published>, GitError> {
        let Some(tip) = heads.tip else { return Ok(None) };
        for commit in History::of(self.repository, tip, None, self.limits)? {
            let commit = commit?;
            if !Trailers::of(&commit).is_key(&new.key) {
                continue;
            }
            // whoever may push can write trailers
            let Ok(parent) = commit.parent(0) else { continue };
            let tree = write::tree(self.repository, self.limits, parent.tree_id(), &new.files);
            if commit.parent_count() == 1 && tree.is_ok_and(|tree| tree == commit.tree_id()) {
                return Ok(Some(Published {
                    commit: CommitId(commit.id()),
                    changed: true,
                    is_ahead: self.is_ahead(heads)?,
                }));
            }
        }
        Ok(None)
    }

    fn unchanged(&self, heads: &Heads, commit: Oid) -> Result<Published, GitError> {
        Ok(Published {
            commit: CommitId(commit),
            changed: false,
            is_ahead: self.is_ahead(heads)?,
        })
    }

    /// Whether the branch is there and has what `into` does not have: a merge leaves it behind, or at the same commit.
    fn is_ahead(&self, heads: &Heads) -> Result<bool, GitError> {
        let Some(tip) = heads.tip else { return Ok(false) };
        let Some(into) = heads.into else { return Ok(true) };
        if tip == into {
            return Ok(false);
        }
        for commit in History::of(self.repository, into, None, self.limits)? {
            if commit?.id() == tip {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The commit on which the new one is made.
    fn start(&self, new: &NewCommit, heads: &Heads) -> Result<Start<'_>, GitError> {
        let branch = &self.publication.branch;
        let exists = || GitError::BranchExists(short(branch.as_str()).to_owned());
        let base = || match (&heads.base, &self.publication.base) {
            (Some((_, at)), _) => object::commit_of(self.repository, *at, self.limits),
            (None, Some(base)) => Err(no_branch(base)),
            (None, None) => Err(GitError::NoBranch("that is its default".to_owned())),
        };
        let Some(tip) = heads.tip else {
            return Ok(Start {
                parent: base()?,
                is_reset: false,
            });
        };
        let appended = || {
            Ok(Start {
                parent: object::commit_of(self.repository, tip, self.limits)?,
                is_reset: false,
            })
        };
        match new.if_exists {
            Some(IfExists::Append) => appended(),
            Some(IfExists::Fail) => Err(exists()),
            None => {
                for commit in History::of(self.repository, tip, None, self.limits)? {
                    if Trailers::of(&commit?).is_of_same_run(&new.key) {
                        return appended();
                    }
                }
                Err(exists())
            }
            Some(IfExists::Reset) => {
                let parent = base()?;
                for commit in History::of(self.repository, tip, Some(parent.id()), self.limits)? {
                    let commit = commit?;
                    if !Trailers::of(&commit).has_key() {
                        return Err(GitError::OthersWork {
                            branch: short(branch.as_str()).to_owned(),
                            commit: CommitId(commit.id()).short(),
                        });
                    }
                }
                Ok(Start {
                    parent,
                    is_reset: true,
                })
            }
        }
    }

    fn commit(&self, new: &NewCommit, tree: Oid, parent: &Commit<'_>) -> Result<Oid, GitError> {
        let (name, email) = new.author.as_ref().map_or((NAME, EMAIL), |author| {
            (author.name.as_str(), author.email.as_str())
        });
        let who = Signature::now(name, email).map_err(|error| {
            GitError::InvalidCredentials(format!("the author is none: {}", error.message()))
        })?;
        let tree = self.repository.find_tree(tree)?;
        let message = trailers::message(new);
        let buffer = self
            .repository
            .commit_create_buffer(&who, &who, &message, &tree, &[parent])?;
        sign::commit(self.repository, &buffer, new.signing_key.as_deref())
    }

    /// Moves the branch from where it was to the commit.
    fn push(&self, commit: Oid, from: Option<Oid>, is_reset: bool) -> Result<(), GitError> {
        let branch = &self.publication.branch;
        let moved = || GitError::BranchMoved(short(branch.as_str()).to_owned());
        let pushed = push(self.session, self.repository, branch, |at| {
            if at != from {
                return Err(moved());
            }
            self.publication.sent.store(true, Ordering::Relaxed);
            let force = if is_reset { "+" } else { "" };
            Ok(Some(format!("{force}{commit}:{branch}")))
        });
        match pushed {
            Ok(_) => Ok(()),
            Err(GitError::Git(error)) if error.code() == ErrorCode::NotFastForward => Err(moved()),
            Err(GitError::Git(error)) if error.code() == ErrorCode::Exists => Err(moved()),
            // servers have many words for it
            Err(GitError::PushRefused { .. }) if self.tip()? != from => Err(moved()),
            Err(error) => Err(error),
        }
    }
}

fn no_branch(name: &RefName) -> GitError {
    GitError::NoBranch(short(name.as_str()).to_owned())
}

fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}
