//! Commits of `git` steps: pushed once, however often they are tried, and the pull request from their branch.

mod allowed;
mod error;
mod pull;
mod target;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use kube::Client;
use tokio_util::sync::CancellationToken;

use self::target::Target;
use super::http::HttpExecutor;
use crate::{
    git::{
        CommittedContent, CommittedFile, GitError, Limits, Mirror, NewCommit, Publication, Published, RefName,
    },
    net::redact::Secrets,
    remotes::RepositorySettings,
    store::Owner,
};
use signoff_api::{git::BranchName, reason::StepReason};
use signoff_engine::{
    effect::{Call, GitCommit, GitContent, GitFileChange, GitRequest},
    facts::{EffectError, GitResponse},
};

/// Folder for the work of calls, beside the mirrors of Repositories.
const FOLDER: &str = ".steps";
/// What a call has left behind that died is removed after so long.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
/// How often it is tried to move a branch that somebody else moves.
const TRIES: usize = 3;
/// Largest content of one file, in bytes.
const MAX_CONTENT: u64 = 1 << 20;

/// Performs `git` steps. Cheap to clone.
#[derive(Clone)]
pub(super) struct GitExecutor {
    kube: Client,
    settings: RepositorySettings,
}

impl std::fmt::Debug for GitExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitExecutor")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl GitExecutor {
    pub(super) fn new(kube: Client, settings: RepositorySettings) -> Self {
        Self { kube, settings }
    }

    /// Commits what is to be committed, unless that was done before, and opens the pull request. `contents` reads resources.
    pub(super) async fn perform(
        &self,
        run: &Owner,
        call: &Call,
        request: &GitRequest,
        contents: &HttpExecutor,
    ) -> Result<GitResponse, EffectError> {
        let mut secrets = Secrets::default();
        let sent = Arc::new(AtomicBool::new(false));
        // what goes on on another thread ends with this
        let cancel = CancellationToken::new();
        let _ends = cancel.clone().drop_guard();
        let mut place = String::new();
        let working = async {
            let target = Target::find(&self.kube, &self.settings, run, request, &mut secrets).await?;
            target.remote.url.host().clone_into(&mut place);
            allowed::check(&self.kube, &run.namespace, &target, &request.branch).await?;
            let commit = match &request.commit {
                Some(commit) => Some(new_commit(run, call, commit, &target, contents).await?),
                None => None,
            };
            let publication = Publication {
                branch: full(&request.branch)?,
                base: request.base.as_ref().map(full).transpose()?,
                into: request
                    .pull_request
                    .as_ref()
                    .map(|pull| full(&pull.into))
                    .transpose()?,
                commit,
                sent: Arc::clone(&sent),
            };
            let published = self.publish(&target, publication, call.timeout, &cancel).await;
            let published =
                published.map_err(|failed| error::of_git(&failed, sent.load(Ordering::Relaxed), &secrets))?;
            let opened = match (&request.pull_request, &target.forge) {
                (Some(pull), Some(forge)) if published.is_ahead => {
                    let opened = pull::open(&**forge, &request.branch, pull).await;
                    Some(opened.map_err(|failed| error::of_forge(&failed, &secrets))?)
                }
                _ => None,
            };
            Ok(GitResponse {
                changed: published.changed,
                commit: published.commit.to_string(),
                branch: request.branch.to_string(),
                pull_request: opened,
            })
        };
        match tokio::time::timeout(call.timeout, working).await {
            Ok(result) => result,
            Err(_) => Err(EffectError {
                may_have_happened: sent.load(Ordering::Relaxed),
                ..super::error::timed_out(
                    if place.is_empty() {
                        "the API server"
                    } else {
                        &place
                    },
                    call.timeout,
                )
            }),
        }
    }

    /// Publishes in a folder of its own, which goes afterwards. If somebody else moves the branch meanwhile, it is tried again on what
    /// is there then.
    async fn publish(
        &self,
        target: &Target,
        publication: Publication,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<Published, GitError> {
        let mut tries = 1;
        loop {
            let folder = self.settings.mirrors.join(FOLDER);
            let limits = Limits {
                deadline: timeout,
                ..self.settings.limits
            };
            let dir = folder.join(format!("{:032x}", rand::random::<u128>()));
            let mirror = Mirror::new(dir, self.settings.network.clone(), limits);
            let (remote, publication, cancel) = (target.remote.clone(), publication.clone(), cancel.clone());
            // whoever waits for it may be gone before it ends
            let task = tokio::spawn(async move {
                remove_left_behind(folder).await;
                let published = mirror.publish(remote, publication, cancel).await;
                if let Err(error) = mirror.remove().await {
                    tracing::warn!(%error, "the folder of a git step could not be removed");
                }
                published
            });
            let published = task.await.unwrap_or(Err(GitError::Cancelled));
            match published {
                Err(GitError::BranchMoved(_)) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }
}

/// The commit of a call, with the contents of its files.
async fn new_commit(
    run: &Owner,
    call: &Call,
    commit: &GitCommit,
    target: &Target,
    contents: &HttpExecutor,
) -> Result<NewCommit, EffectError> {
    let mut files = Vec::with_capacity(commit.files.len());
    let mut left = MAX_CONTENT;
    for file in &commit.files {
        let content = match &file.change {
            GitFileChange::Delete => None,
            GitFileChange::Write { content, executable } => {
                let bytes = match content {
                    GitContent::Text(text) => text.clone().into_bytes(),
                    GitContent::Resource(resource) => {
                        contents.read(run, resource, MAX_CONTENT).await?.to_vec()
                    }
                };
                left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                    let message = format!("the files have more than {MAX_CONTENT} bytes together");
                    super::error::invalid(StepReason::ResourceTooLarge, message)
                })?;
                Some(CommittedContent {
                    bytes,
                    executable: *executable,
                })
            }
        };
        files.push(CommittedFile {
            path: file.path.to_string(),
            content,
        });
    }
    let key = &call.key;
    let mut about = vec![
        ("Signoff-Run", format!("{}/{}", run.namespace, run.run)),
        ("Signoff-Step", key.step.clone()),
        ("Signoff-Pass", key.iteration.to_string()),
    ];
    about.extend(key.item.map(|item| ("Signoff-Item", item.to_string())));
    Ok(NewCommit {
        files,
        message: commit.message.clone(),
        about,
        key: call.idempotency_key.clone(),
        if_exists: commit.if_exists,
        author: target.author.clone(),
        signing_key: target.signing_key.clone(),
    })
}

fn full(branch: &BranchName) -> Result<RefName, EffectError> {
    format!("refs/heads/{branch}")
        .parse()
        .map_err(|why: crate::git::RefNameError| {
            super::error::invalid(StepReason::InvalidRequest, why.to_string())
        })
}

/// Removes the folders of calls that died with their process.
async fn remove_left_behind(folder: PathBuf) {
    let removing = tokio::task::spawn_blocking(move || {
        let is_old = |entry: &std::fs::DirEntry| {
            let changed = entry.metadata().and_then(|about| about.modified());
            let age = changed.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            age.is_ok_and(|age| age > LEFT_BEHIND)
        };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for old in entries.filter(is_old) {
            // another process may be removing it
            let _ = std::fs::remove_dir_all(old.path());
        }
    });
    let _ = removing.await;
}
