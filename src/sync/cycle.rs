//! One sync: ask the remote if it is time, read what the refs hold, make the cluster so.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt as _,
    runtime::{events::EventType, reflector::ObjectRef},
};

use super::{
    Repositories,
    apply::{self, Applied},
    files::{self, Defined},
    interval,
    plan::{self, Cluster, Live},
    sources::{Source, Sources},
    summary::{self, LiveAt, Outcome},
};
use crate::{
    git::{CommitId, GitError, Mirror, RefAt, RefSelector},
    remotes::{
        RepositoryError, credentials,
        mirrors::Purpose,
        trust::{self, Followed, Head},
    },
};
use signoff_api::{Flow, Repository, RepositoryStatus, names, repository::Channel};

/// What this process remembers of each Repository, by uid. Losing it costs one look at the remote.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<HashMap<String, Memory>>);

#[derive(Clone, Debug)]
struct Memory {
    generation: Option<i64>,
    /// When the remote was last asked.
    asked_at: Timestamp,
    /// Value of the annotation that was acted on.
    request: Option<String>,
    heads: Heads,
    /// What was read at those heads.
    read: HashMap<ReadAt, Arc<Defined>>,
}

/// A commit and a folder of it.
type ReadAt = (CommitId, String);

/// Where the refs are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heads {
    draft: Followed,
    live: Followed,
}

impl Heads {
    fn use_commit(&self, commit: CommitId) -> bool {
        let used = |followed: &Followed| followed.head.as_ref().is_some_and(|head| head.commit == commit);
        used(&self.draft) || used(&self.live)
    }
}

/// What a sync came to.
pub(super) struct Done {
    pub(super) status: RepositoryStatus,
    /// Something is to be tried again.
    pub(super) failure: Option<RepositoryError>,
}

impl Memories {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Value of the annotation that asks for a sync, as the status takes it.
pub(super) fn request_of(repository: &Repository) -> Option<String> {
    repository
        .annotations()
        .get(names::REQUESTED_AT)
        .map(|value| value.chars().take(256).collect())
}

impl Repositories {
    /// How long until the remote is to be asked again.
    pub(super) fn until_due(&self, repository: &Repository) -> Duration {
        let asked_at = self
            .memories
            .lock()
            .get(&repository.uid().unwrap_or_default())
            .map(|memory| memory.asked_at);
        let Some(asked_at) = asked_at else {
            return Duration::ZERO;
        };
        let since = self.context.now().duration_since(asked_at);
        // a clock that was set back makes it due
        let since = Duration::try_from(since).unwrap_or(Duration::MAX);
        interval(repository).saturating_sub(since)
    }

    fn is_due(&self, repository: &Repository, asked: bool) -> bool {
        let remembered = self
            .memories
            .lock()
            .get(&repository.uid().unwrap_or_default())
            .cloned();
        let news = remembered.is_none_or(|memory| {
            memory.generation != repository.metadata.generation || memory.request != request_of(repository)
        });
        asked || news || self.until_due(repository).is_zero()
    }

    /// Whether the remote answered when it was last asked.
    pub(super) fn is_known_good(&self, repository: &Repository) -> bool {
        let uid = repository.uid().unwrap_or_default();
        !self.rests.has_failed(repository) && self.memories.lock().contains_key(&uid)
    }

    /// Forgets a Repository that is gone, and its mirror.
    pub(super) async fn forget(&self, repository: &Repository) {
        let uid = repository.uid().unwrap_or_default();
        self.memories.lock().remove(&uid);
        self.rests.over(&uid);
        self.claims.forget(&uid);
        if let Err(error) = self.mirror(repository).remove().await {
            tracing::warn!(%error, "the mirror of a deleted repository could not be removed");
        }
    }

    /// Makes the remote be asked at the next look: a request that failed stays one, and what the mirror lacks is fetched.
    fn ask_again(&self, uid: &str) {
        if let Some(memory) = self.memories.lock().get_mut(uid) {
            memory.asked_at = Timestamp::UNIX_EPOCH;
        }
    }

    fn mirror(&self, repository: &Repository) -> Mirror {
        self.settings.mirror(repository, Purpose::Flows)
    }
}

pub(super) async fn sync(
    shared: &Repositories,
    repository: &Arc<Repository>,
) -> Result<Done, RepositoryError> {
    let uid = repository.uid().unwrap_or_default();
    let asked = shared.asked.take(&ObjectRef::from_obj(&**repository));
    let sources = Sources::of(&repository.spec)?;
    if shared.is_due(repository, asked)
        && let Err(error) = fetch(shared, repository, &uid, &sources).await
    {
        shared.ask_again(&uid);
        return Err(error);
    }
    let heads = shared
        .memories
        .lock()
        .get(&uid)
        .map(|memory| memory.heads.clone());
    let no_ref = || RepositoryError::NoRef(sources.draft.at.to_string());
    let Heads { draft, live } = heads.ok_or_else(no_ref)?;
    let Some(draft_head) = draft.head else {
        return Err(draft.refused.map_or_else(no_ref, RepositoryError::Unsigned));
    };
    let draft_read = read(shared, repository, &uid, draft_head.commit, &sources.draft).await?;
    let live_read = match live.head.as_ref().zip(sources.live.as_ref()) {
        Some((head, source)) => match read(shared, repository, &uid, head.commit, source).await {
            Ok(read) => Some((head, read)),
            // a folder that is not there is as good as a ref that is not
            Err(GitError::NoFolder(_)) => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let todo = plan(
        shared,
        repository,
        channel(&draft_head, &draft_read),
        live_read.as_ref().map(|(head, read)| channel(head, read)),
    );
    let (flows, planned, conflicts) = (
        todo.flows.iter().cloned().collect(),
        todo.problems.clone(),
        todo.conflicts.clone(),
    );
    let of_both: Vec<&Arc<Defined>> = std::iter::once(&draft_read)
        .chain(live_read.as_ref().map(|(_, read)| read))
        .collect();
    let namespace = repository.namespace().unwrap_or_default();
    let Applied {
        problems,
        deleted,
        failure,
    } = apply::apply(&shared.context, &namespace, todo, &of_both).await;
    for name in deleted {
        let note = format!("flow {name} is no longer in git and was deleted");
        shared
            .context
            .event(&**repository, EventType::Normal, "FlowDeleted", &note)
            .await;
    }
    let of_live = live_read.as_ref().map(|(_, read)| (Channel::Live, &**read));
    let read: Vec<(Channel, &Defined)> = std::iter::once((Channel::Draft, &*draft_read))
        .chain(of_live)
        .collect();
    let all = summary::by_channel(&read, planned.into_iter().chain(problems), &conflicts);
    let outcome = Outcome {
        draft: &draft_head,
        live: match (&sources.live, &live_read) {
            (None, _) => LiveAt::Unmanaged,
            (Some(_), Some((head, _))) => LiveAt::Head(head),
            (Some(_), None) if live.refused.is_some() => LiveAt::Withheld,
            (Some(source), None) => LiveAt::Missing(source.missing(live.head.is_some())),
        },
        refused: draft.refused.iter().chain(&live.refused).collect(),
        flows,
        problems: all,
        conflicts: conflicts.len(),
    };
    let now = shared.context.now();
    let mut status = summary::synced(repository, outcome, now);
    if let Some(error) = &failure {
        let told = Repository {
            status: Some(status),
            ..(**repository).clone()
        };
        status = summary::failed(&told, error, now);
    }
    status.last_handled_request = request_of(repository);
    Ok(Done { status, failure })
}

/// Asks the remote where its refs are, and fetches what is new.
async fn fetch(
    shared: &Repositories,
    repository: &Repository,
    uid: &str,
    sources: &Sources,
) -> Result<(), RepositoryError> {
    let remote = credentials::remote(shared.context.client(), repository).await?;
    let trust = trust::read(&shared.context, repository).await?;
    let began = Instant::now();
    let mirror = shared.mirror(repository);
    let synced = mirror
        .sync(remote, sources.selectors(), shared.shutdown.clone())
        .await?;
    shared.context.metrics().git_synced(began.elapsed());
    let used = repository.status.as_ref();
    let follow = async |wanted: &RefSelector, before| {
        let at: Option<&RefAt> = synced.refs.get(wanted).and_then(Option::as_ref);
        trust::follow(&mirror, trust.as_ref(), at, before, shared.context.now()).await
    };
    let heads = Heads {
        draft: follow(&sources.draft.at, used.and_then(|used| used.draft.as_ref())).await?,
        live: match &sources.live {
            Some(live) => follow(&live.at, used.and_then(|used| used.live.as_ref())).await?,
            None => Followed::default(),
        },
    };
    let mut memories = shared.memories.lock();
    let before = memories
        .remove(uid)
        .filter(|memory| memory.generation == repository.metadata.generation);
    let mut read = before.map(|memory| memory.read).unwrap_or_default();
    read.retain(|(commit, _), _| heads.use_commit(*commit));
    let memory = Memory {
        generation: repository.metadata.generation,
        asked_at: shared.context.now(),
        request: request_of(repository),
        heads,
        read,
    };
    memories.insert(uid.to_owned(), memory);
    Ok(())
}

/// What a folder of a commit defines, read once.
async fn read(
    shared: &Repositories,
    repository: &Repository,
    uid: &str,
    commit: CommitId,
    source: &Source,
) -> Result<Arc<Defined>, GitError> {
    let at = (commit, source.folder.clone());
    let known = shared
        .memories
        .lock()
        .get(uid)
        .and_then(|memory| memory.read.get(&at).cloned());
    if let Some(known) = known {
        return Ok(known);
    }
    let tree = shared.mirror(repository).read(commit, &source.folder).await;
    let mut tree = tree.inspect_err(|_| shared.ask_again(uid))?;
    source.trim(&mut tree);
    let namespace = repository.namespace().unwrap_or_default();
    // a large repository may take long, and others have work to do on this thread
    let of = namespace.clone();
    let jobs = repository.spec.jobs.clone();
    let read = move || {
        let mut defined = files::read(tree, &namespace);
        files::refuse_jobs(&mut defined, jobs.as_ref());
        Arc::new(defined)
    };
    let defined = shared.context.read(&of, read).await;
    if let Some(memory) = shared.memories.lock().get_mut(uid) {
        memory.read.insert(at, Arc::clone(&defined));
    }
    Ok(defined)
}

fn channel<'a>(head: &'a Head, defined: &'a Defined) -> plan::Channel<'a> {
    plan::Channel {
        name: head.name.as_str(),
        defined,
        verified: head.verified.as_ref(),
    }
}

fn plan(
    shared: &Repositories,
    repository: &Repository,
    draft: plan::Channel<'_>,
    live: Option<plan::Channel<'_>>,
) -> plan::Todo {
    let namespace = repository.namespace().unwrap_or_default();
    let flows = shared.flows.state();
    let flows: BTreeMap<String, &Flow> = flows
        .iter()
        .filter(|flow| {
            flow.namespace().as_deref() == Some(&namespace) && flow.metadata.deletion_timestamp.is_none()
        })
        .map(|flow| (flow.name_any(), &**flow))
        .collect();
    let channels = std::iter::once(&draft).chain(&live);
    let new = channels
        .flat_map(|channel| channel.defined.flows.keys())
        .filter(|name| !flows.contains_key(*name))
        .collect();
    let cluster = Cluster {
        claimed: shared.claims.claim(repository, &new),
        flows,
        repository: &|uid| {
            let known = shared.known.state();
            let found = known.iter().find(|known| {
                known.metadata.uid.as_deref() == Some(uid) && known.namespace().as_deref() == Some(&namespace)
            });
            found.map(|found| found.name_any())
        },
        has_release: &|name| {
            shared
                .releases
                .get(&ObjectRef::new(name).within(&namespace))
                .is_some()
        },
    };
    let live = match (&repository.spec.live, live) {
        (None, _) => Live::Unmanaged,
        (Some(_), None) => Live::Unknown,
        (Some(_), Some(channel)) => Live::Read(channel),
    };
    plan::plan(repository, draft, live, &cluster)
}
