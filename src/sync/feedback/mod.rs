//! Says on the forge what came of a commit, and what a pull request would change.
//!
//! Nothing here changes what is applied or live; a forge that cannot be told is told later.

mod comment;
mod error;
mod line;
mod memory;
mod pull;
mod standing;
mod status;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

pub use self::error::FeedbackError;
use self::{
    memory::{Commits, Memories, Memory, Situation},
    pull::Look,
    standing::ForgeState,
};
use crate::{
    cluster::{
        backoff::Backoffs,
        context::Context,
        error_chain,
        reconciler::Reconciler,
        shared::SharedStores,
        status::AFTER_CONFLICT,
        timers::{Again, Wake},
    },
    forge::{CommitStatus, Forge, ForgeError, PullRequest},
    git::CommitId,
    remotes::{RepositorySettings, forges},
    sync::{self, plan},
};
use signoff_api::{
    Flow, Repository, names,
    reason::{Classified as _, ErrorClass},
};

/// How many repositories are told of at the same time.
const CONCURRENCY: u16 = 4;
/// How many pull requests of a Repository are told what they change, those that changed last.
const MOST_PULLS: usize = 100;
/// Longest name that is the value of a label.
const MAX_LABEL: usize = 63;

struct Feedback {
    context: Arc<Context>,
    settings: RepositorySettings,
    flows: Store<Flow>,
    memories: Memories,
    /// Repositories whose forge has told of news since they were last looked at.
    hooked: Mutex<HashSet<ObjectRef<Repository>>>,
    backoffs: Backoffs<ObjectRef<Repository>>,
    shutdown: CancellationToken,
}

/// Tells forges of commits and pull requests until `shutdown`. `hooks` tells of Repositories whose forge has news. The stores must be filled
/// before.
pub async fn run(
    context: Arc<Context>,
    stores: SharedStores,
    settings: RepositorySettings,
    hooks: broadcast::Receiver<ObjectRef<Repository>>,
    shutdown: CancellationToken,
) {
    let repositories = stores.repositories.store();
    let shared = Arc::new(Feedback {
        context: Arc::clone(&context),
        settings,
        flows: stores.flows.store(),
        memories: Memories::default(),
        hooked: Mutex::default(),
        backoffs: Backoffs::default(),
        shutdown: shutdown.clone(),
    });
    let forgetting = Arc::clone(&shared);
    let forget = move |gone: &Arc<Repository>| {
        let (shared, gone) = (Arc::clone(&forgetting), Arc::clone(gone));
        forgetting.backoffs.succeeded(&ObjectRef::from_obj(&*gone));
        tokio::spawn(async move { shared.forget(&gone).await });
    };
    let hearing = Arc::clone(&shared);
    let hooked = heard(hooks).inspect(move |repository| {
        hearing.hooked().insert(repository.clone());
    });
    let queue = stream::select_all([
        sync::those_there(&stores, forget).boxed(),
        sync::owners_of_changed(&stores).boxed(),
        hooked.boxed(),
    ]);
    let reconciler = Reconciler {
        name: "Feedback",
        concurrency: CONCURRENCY,
        reconcile: |repository, shared: Arc<Feedback>| {
            Box::pin(async move {
                let context = Arc::clone(&shared.context);
                context.counted("Feedback", tell(repository, shared)).await
            })
        },
        failed: |repository: &Repository, error: &FeedbackError, shared: &Feedback| {
            tracing::warn!(repository = %repository.name_any(), error = %error_chain(error), "a forge could not be told; trying again");
            shared.pause(repository, error)
        },
    };
    reconciler
        .run(&context, shared, repositories, queue, shutdown)
        .await;
}

/// The Repositories that a forge tells of.
fn heard(
    hooks: broadcast::Receiver<ObjectRef<Repository>>,
) -> impl Stream<Item = ObjectRef<Repository>> + Send {
    stream::unfold(hooks, |mut hooks| async move {
        loop {
            match hooks.recv().await {
                Ok(repository) => return Some((repository, hooks)),
                // those that were missed are looked at at their interval
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

async fn tell(repository: Arc<Repository>, shared: Arc<Feedback>) -> Result<Again, FeedbackError> {
    let spec = &repository.spec;
    if repository.metadata.deletion_timestamp.is_some() || repository.status.is_none() {
        return Ok(None);
    }
    if spec.forge.is_none() {
        shared.stands(&repository, ForgeState::None).await?;
        return Ok(None);
    }
    if spec.suspend == Some(true) {
        return Ok(None);
    }
    let (uid, now) = (repository.uid().unwrap_or_default(), shared.context.now());
    let rests = shared.memories.of(&uid, |memory| memory.rests(&repository, now));
    if let Some(until) = rests {
        let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        return Ok(Some(Wake::After(left)));
    }
    if !shared.has_caught_up(&repository).await? {
        return Ok(Some(Wake::After(AFTER_CONFLICT)));
    }
    let told = tell_all(&shared, &repository).await;
    let standing = told.as_ref().err().map_or(ForgeState::Told, ForgeState::Failed);
    let written = shared.stands(&repository, standing).await;
    told.and(written)?;
    shared.memories.of(&uid, Memory::rested);
    shared.backoffs.succeeded(&ObjectRef::from_obj(&*repository));
    Ok(Some(Wake::After(sync::interval(&repository))))
}

/// What the forge refuses of one thing does not hold back the others; a forge that is down or wants to be left alone does.
async fn tell_all(shared: &Feedback, repository: &Repository) -> Result<(), FeedbackError> {
    let forge = forges::of_repository(shared.context.client(), &shared.settings, repository).await?;
    let Some(forge) = forge else { return Ok(()) };
    let flows = shared.flows_of(repository);
    let flows: Vec<&Flow> = flows.iter().map(|flow| &**flow).collect();
    let mut failure = None;
    for (commit, status) in status::of_repository(repository, &flows) {
        let posted = shared.post(repository, &*forge, commit, status).await;
        refused(posted.map_err(FeedbackError::from), &mut failure)?;
    }
    let looked = look_at_pulls(shared, repository, &flows, &*forge).await;
    refused(looked, &mut failure)?;
    failure.map_or(Ok(()), Err)
}

/// Looks at the open pull requests if it is time to list them.
async fn look_at_pulls(
    shared: &Feedback,
    repository: &Repository,
    flows: &[&Flow],
    forge: &dyn Forge,
) -> Result<(), FeedbackError> {
    let Some(target) = pull::target(repository) else {
        return Ok(());
    };
    let uid = repository.uid().unwrap_or_default();
    if shared.hooked().remove(&ObjectRef::from_obj(repository)) {
        shared.memories.of(&uid, Memory::list_again);
    }
    let (situation, commits) = (Situation::of(repository, flows), Commits::of(repository));
    let began = shared.context.now();
    let after = began
        .checked_sub(sync::interval(repository))
        .unwrap_or(Timestamp::MIN);
    let is_due = |memory: &mut Memory| memory.is_due(&situation, &commits, after);
    if !shared.memories.of(&uid, is_due) {
        return Ok(());
    }
    let mut pulls = forge.open_pull_requests_into(target.branch()).await?;
    pulls.truncate(MOST_PULLS);
    let look = Look {
        feedback: shared,
        repository,
        flows,
        forge,
        target,
        situation: situation.clone(),
    };
    let mut failure = None;
    let own = if pulls.iter().any(is_from_a_question) {
        Some(forge.own_account().await?.login)
    } else {
        None
    };
    // one of ours that puts a question changes no flow; others may call their branches so to have it not told what they change
    let asks = |pull: &PullRequest| Some(&pull.author) == own.as_ref() && is_from_a_question(pull);
    for pull in pulls.iter().filter(|pull| !asks(pull)) {
        refused(look.at(pull).await, &mut failure)?;
    }
    let heads = pulls.iter().filter_map(|pull| pull.head_commit);
    let used: Vec<CommitId> = heads.chain(commits.draft).chain(commits.live).collect();
    let numbers: Vec<_> = pulls.iter().map(|pull| pull.number).collect();
    shared.memories.of(&uid, |memory| {
        memory.keep(&used, &numbers);
        if failure.is_none() {
            memory.listed(began, situation, commits);
        }
    });
    failure.map_or(Ok(()), Err)
}

/// Keeps the first of what was refused for good, and lets the rest go on; gives back what stands in the way of everything.
fn refused(
    result: Result<(), FeedbackError>,
    first: &mut Option<FeedbackError>,
) -> Result<(), FeedbackError> {
    match result {
        Err(error) if error.class() == ErrorClass::Invalid => {
            first.get_or_insert(error);
            Ok(())
        }
        other => other,
    }
}

impl Feedback {
    fn hooked(&self) -> MutexGuard<'_, HashSet<ObjectRef<Repository>>> {
        self.hooked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a Repository that is gone, and its mirror.
    async fn forget(&self, repository: &Repository) {
        self.memories.forget(&repository.uid().unwrap_or_default());
        if let Err(error) = self.mirror(repository).remove().await {
            tracing::warn!(%error, "the mirror of a deleted repository's pull requests could not be removed");
        }
    }

    /// How long the forge is left alone after a failure.
    fn pause(&self, repository: &Repository, error: &FeedbackError) -> Duration {
        let pause = match error.class() {
            // looking again is all that can be done; a user acts on the forge as well as here
            ErrorClass::Invalid => sync::interval(repository),
            ErrorClass::Transient | ErrorClass::Waiting => error
                .retry_after()
                .unwrap_or_else(|| self.backoffs.failed(ObjectRef::from_obj(repository))),
        };
        let until = self.context.now().checked_add(pause);
        if let (Ok(until), Some(uid)) = (until, repository.uid()) {
            self.memories
                .of(&uid, |memory| memory.rest(until, repository, error));
        }
        pause
    }

    /// The flows of a Repository, by name.
    fn flows_of(&self, repository: &Repository) -> Vec<Arc<Flow>> {
        let mut flows = self.flows.state();
        flows.retain(|flow| plan::is_owned(repository, &**flow));
        flows.sort_by_key(|flow| flow.name_any());
        flows
    }

    /// Whether the flows known here are at least as new as the commits that the Repository says it was read at: they come by a watch of
    /// their own, and without this a new commit would for a moment be told to have cut nothing.
    async fn has_caught_up(&self, repository: &Repository) -> Result<bool, FeedbackError> {
        let (uid, commits) = (repository.uid().unwrap_or_default(), Commits::of(repository));
        let is_known = |memory: &mut Memory| memory.caught_up.as_ref() == Some(&commits);
        if self.memories.of(&uid, is_known) {
            return Ok(true);
        }
        let (name, namespace) = (repository.name_any(), repository.namespace().unwrap_or_default());
        let params = if name.len() <= MAX_LABEL {
            ListParams::default().labels(&format!("{}={name}", names::REPOSITORY))
        } else {
            ListParams::default()
        };
        let listed = self
            .context
            .list::<PartialObjectMeta<Flow>>(&namespace, &params)
            .await;
        let listed = listed.map_err(|error| FeedbackError::Api("list the flows", error))?;
        let is_here = |flow: &PartialObjectMeta<Flow>| {
            let known = self
                .flows
                .get(&ObjectRef::new(&flow.name_any()).within(&namespace));
            known.is_some_and(|known| {
                known.uid() == flow.uid() && known.metadata.generation >= flow.metadata.generation
            })
        };
        let caught_up = listed
            .items
            .iter()
            .filter(|flow| plan::is_owned(repository, *flow))
            .all(is_here);
        if caught_up {
            self.memories.of(&uid, |memory| memory.caught_up = Some(commits));
        }
        Ok(caught_up)
    }

    /// Says something beside a commit, unless that stands there.
    async fn post(
        &self,
        repository: &Repository,
        forge: &dyn Forge,
        commit: CommitId,
        status: CommitStatus,
    ) -> Result<(), ForgeError> {
        let uid = repository.uid().unwrap_or_default();
        let statuses = self.memories.of(&uid, |memory| memory.statuses.clone());
        statuses.set(forge, commit, status).await
    }
}

/// Whether a pull request comes from what looks like a branch for a question, of this Repository or of another one: both may be of one account.
fn is_from_a_question(pull: &PullRequest) -> bool {
    let parts: Vec<&str> = pull.head.split('/').collect();
    let [prefix, namespace, approval] = parts[..] else {
        return false;
    };
    let rest = prefix.strip_prefix("signoff");
    pull.same_project
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        && !namespace.is_empty()
        && !approval.is_empty()
}

#[cfg(test)]
mod tests;
