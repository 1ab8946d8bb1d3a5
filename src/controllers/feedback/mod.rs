//! Says on the forge what came of a commit, and what a pull request would change.
//!
//! Nothing here changes what is applied or live; a forge that cannot be told is told later.

mod pull;
mod status;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        controller::{Action, Config, ReconcileRequest, applier, trigger_self, trigger_with},
        events::EventType,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoffs,
    context::Context,
    error_chain,
    forges::{self, ForgeSettingsError},
    repository::{self, RepositoryError, RepositorySettings},
};
use crate::{
    api::{
        Flow, Repository,
        reason::{Classified, ErrorClass},
    },
    forge::{CommitStatus, ForgeError},
    git::{CommitId, GitError},
};

/// How many repositories are told of at the same time.
const CONCURRENCY: u16 = 4;
/// Pause before what only a user can mend is tried again.
const AFTER_INVALID: Duration = Duration::from_mins(5);

/// Why something could not be said on a forge now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The forge is not set up.
    #[error(transparent)]
    Settings(#[from] ForgeSettingsError),
    /// The forge refuses.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// The credentials for git cannot be had.
    #[error(transparent)]
    Credentials(#[from] RepositoryError),
    /// The head of a pull request cannot be read.
    #[error("the head of a pull request cannot be read")]
    Git(#[from] GitError),
}

impl FeedbackError {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Forge(error) | Self::Settings(ForgeSettingsError::Forge(error)) => error.retry_after(),
            _ => None,
        }
    }
}

impl Classified for FeedbackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) => ErrorClass::Transient,
            Self::Settings(error) => error.class(),
            Self::Forge(error) => error.class(),
            Self::Credentials(error) => error.class(),
            Self::Git(error) => error.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::Settings(error) => error.reason(),
            Self::Forge(error) => error.reason(),
            Self::Credentials(error) => error.reason(),
            Self::Git(error) => error.reason(),
        }
    }
}

/// What was last said about something.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Beside a commit.
    Status(CommitId, CommitStatus),
    /// On a pull request at this head, while these releases were live.
    Pull(CommitId, Vec<String>),
    /// What people of the cluster were told is wrong.
    Warned(String),
}

struct Feedback {
    context: Arc<Context>,
    settings: RepositorySettings,
    flows: Store<Flow>,
    /// By the uid of the Repository, and what it is about.
    said: Mutex<HashMap<(String, String), Known>>,
    backoffs: Backoffs<ObjectRef<Repository>>,
}

impl Feedback {
    fn knows(&self, repository: &Repository, about: &str, as_it_is: &Known) -> bool {
        let key = (repository.uid().unwrap_or_default(), about.to_owned());
        self.lock().get(&key) == Some(as_it_is)
    }

    fn know(&self, repository: &Repository, about: String, as_it_is: Known) {
        let key = (repository.uid().unwrap_or_default(), about);
        self.lock().insert(key, as_it_is);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Known>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells forges of commits and pull requests until `shutdown`. `hooks` tells of Repositories whose forge has news.
pub async fn run(
    context: Arc<Context>,
    settings: RepositorySettings,
    hooks: broadcast::Receiver<ObjectRef<Repository>>,
    shutdown: CancellationToken,
) {
    let (repositories, repository_writer) = reflector::store::<Repository>();
    let (flows, flow_writer) = reflector::store::<Flow>();
    let repository_events = watcher(context.all::<Repository>(), watcher::Config::default())
        .default_backoff()
        .reflect(repository_writer)
        .touched_objects();
    let flow_events = watcher(context.all::<Flow>(), watcher::Config::default())
        .default_backoff()
        .reflect(flow_writer)
        .touched_objects();
    let hooked = stream::unfold(hooks, |mut hooks| async move {
        loop {
            match hooks.recv().await {
                Ok(repository) => return Some((repository, hooks)),
                // those that were missed are looked at at their interval
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let queue = stream::select_all([
        trigger_self(repository_events, ()).boxed(),
        trigger_with(flow_events, |flow: Flow| repository::owner_of(&flow)).boxed(),
        hooked
            .map(|repository| Ok(ReconcileRequest::from(repository)))
            .boxed(),
    ])
    .map_err(Arc::new)
    .take_until(shutdown.cancelled_owned());
    let shared = Arc::new(Feedback {
        context,
        settings,
        flows,
        said: Mutex::default(),
        backoffs: Backoffs::default(),
    });
    applier(
        |repository, shared| {
            let context = Arc::clone(&shared.context);
            let telling = Box::pin(tell(repository, shared));
            Box::pin(async move { context.counted("Feedback", telling).await })
        },
        |repository: Arc<Repository>, error: &FeedbackError, shared: Arc<Feedback>| {
            tracing::warn!(repository = %repository.name_any(), error = %error_chain(error), "a forge could not be told; trying again");
            Action::requeue(match error.class() {
                ErrorClass::Invalid => AFTER_INVALID,
                _ => error
                    .retry_after()
                    .unwrap_or_else(|| shared.backoffs.failed(ObjectRef::from_obj(&*repository))),
            })
        },
        shared,
        repositories,
        queue,
        Config::default().concurrency(CONCURRENCY),
    )
    .for_each(|_| std::future::ready(()))
    .await;
}

async fn tell(repository: Arc<Repository>, shared: Arc<Feedback>) -> Result<Action, FeedbackError> {
    let spec = &repository.spec;
    if spec.forge.is_none() || spec.suspend == Some(true) || repository.metadata.deletion_timestamp.is_some()
    {
        return Ok(Action::await_change());
    }
    if shared.flows.wait_until_ready().await.is_err() {
        return Ok(Action::await_change());
    }
    match tell_all(&shared, &repository).await {
        Ok(()) => {
            shared.backoffs.succeeded(&ObjectRef::from_obj(&*repository));
            Ok(Action::requeue(repository::interval(&repository)))
        }
        Err(error) => {
            warn(&shared, &repository, &error).await;
            Err(error)
        }
    }
}

async fn tell_all(shared: &Feedback, repository: &Repository) -> Result<(), FeedbackError> {
    let forge = forges::of_repository(&shared.context, &shared.settings.network, repository).await?;
    let Some(forge) = forge else { return Ok(()) };
    let ours = ObjectRef::from_obj(repository);
    let state = shared.flows.state();
    let mut flows: Vec<&Flow> = state
        .iter()
        .map(|flow| &**flow)
        .filter(|flow| repository::owner_of(flow).as_ref() == Some(&ours))
        .collect();
    flows.sort_by_key(|flow| flow.name_any());
    for (commit, status) in status::of_repository(repository, &flows) {
        let (about, said) = (status.context.clone(), Known::Status(commit, status.clone()));
        if !shared.knows(repository, &about, &said) {
            forge.set_commit_status(commit, &status).await?;
            shared.know(repository, about, said);
        }
    }
    let Some(live) = &repository.spec.live else {
        return Ok(());
    };
    let branch = live.name.strip_prefix("refs/heads/").unwrap_or(&live.name);
    let mut failure = None;
    for pull in forge.open_pull_requests_into(branch).await? {
        // one that puts a question of ours changes no flow
        let asks = pull.same_project && pull.head.starts_with("signoff/");
        if !asks && let Err(error) = pull::look(shared, repository, &flows, &*forge, &pull).await {
            // one that cannot be read is not in the way of the others
            failure.get_or_insert(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Says once what only a user can mend.
async fn warn(shared: &Feedback, repository: &Repository, error: &FeedbackError) {
    let (about, said) = ("warned", Known::Warned(error_chain(error)));
    if error.class() != ErrorClass::Invalid || shared.knows(repository, about, &said) {
        return;
    }
    let note = format!("the forge cannot be told: {}", error_chain(error));
    let context = &shared.context;
    context
        .event(repository, EventType::Warning, error.reason(), &note)
        .await;
    shared.know(repository, about.to_owned(), said);
}
