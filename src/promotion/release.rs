//! The Release controller: checks that a release is what its digest says, says which one is live, and keeps it while runs use it.
//!
//! A release that was cut and is not live has no status: it says itself all there is to say.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    runtime::{
        events::EventType,
        reflector::{ObjectRef, Store},
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::cluster::{
    backoff::Backoffs,
    context::Context,
    error_chain,
    fairness::Permits,
    reconciler::Reconciler,
    run_endings::EndedRuns,
    shared::{Change, SharedStores},
    status::{AFTER_CONFLICT, Standing, is_missing, is_stale, patch_status, stand},
    timers::{Again, Wake},
};
use signoff_api::{
    Flow, Release, ReleaseStatus, Run, RunPhase, names,
    reason::{Classified, ErrorClass},
    run::Channel,
};

/// How many releases of a namespace are worked on at the same time.
const CONCURRENCY: usize = 16;

/// Why a release could not be looked after now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The definition has no JSON form.
    #[error("the definition has no canonical form")]
    NotCanonical(#[source] serde_json::Error),
}

impl Classified for ReleaseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) => ErrorClass::Transient,
            Self::NotCanonical(_) => ErrorClass::Invalid,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::NotCanonical(_) => "NotCanonical",
        }
    }
}

struct Releases {
    context: Arc<Context>,
    flows: Store<Flow>,
    backoffs: Backoffs<ObjectRef<Release>>,
    /// What the watch shows.
    known: Store<Release>,
    turns: Permits,
}

/// Looks after releases until `shutdown`. The stores must be filled before: a live release would look as if nothing held it.
pub async fn run(
    context: Arc<Context>,
    stores: SharedStores,
    ended: EndedRuns<String>,
    shutdown: CancellationToken,
) {
    let releases = stores.releases.store();
    let (of_flows, held) = (releases.clone(), releases.clone());
    // a run that has ended or is gone may have been the last that held a release
    let let_go = ended
        .stream()
        .flat_map(move |namespace| stream::iter(leaving(&namespace, &held)));
    let of_flow = move |flow: Change<Flow>| stream::iter(of_flow(flow.object(), &of_flows));
    let release_changes = stores.releases.subscribe();
    let queue = stream::select_all([
        release_changes
            .flat_map(|change| stream::iter(concerned(&change)))
            .boxed(),
        stores.flows.subscribe().flat_map(of_flow).boxed(),
        let_go.boxed(),
    ]);
    let shared = Arc::new(Releases {
        context: Arc::clone(&context),
        flows: stores.flows.store(),
        backoffs: Backoffs::default(),
        known: releases.clone(),
        turns: Permits::of_which_one_may_hold(CONCURRENCY),
    });
    let reconciler = Reconciler {
        // bounded by their turns, of which one namespace has not all
        concurrency: 0,
        name: "Release",
        reconcile: |release, shared| Box::pin(in_turn(release, shared)),
        failed: |release: &Release, error: &ReleaseError, shared: &Releases| {
            tracing::warn!(release = %release.name_any(), error = %error_chain(error), "a release could not be looked after; trying again");
            shared.backoffs.failed(ObjectRef::from_obj(release))
        },
    };
    reconciler.run(&context, shared, releases, queue, shutdown).await;
}

/// The releases to look at after a change: one that is gone held those that it ran.
fn concerned(change: &Change<Release>) -> Vec<ObjectRef<Release>> {
    let release = change.object();
    let mut all = vec![ObjectRef::from_obj(&**release)];
    if let (Change::Removed(gone), Some(namespace)) = (change, release.namespace()) {
        let held = gone.spec.dependencies.iter();
        all.extend(held.map(|held| ObjectRef::new(&held.release).within(&namespace)));
    }
    all
}

/// The releases whose channel a flow's status may have changed.
fn of_flow(flow: &Flow, releases: &Store<Release>) -> Vec<ObjectRef<Release>> {
    let (namespace, name) = (flow.namespace(), flow.name_any());
    let affected = |release: &Release| {
        let before = release.status.as_ref();
        let channel_before = before.and_then(|status| status.channel);
        release.spec.flow == name
            && release.namespace() == namespace
            && (channel_before != channel(flow, &release.name_any())
                || release.metadata.deletion_timestamp.is_some())
    };
    releases
        .state()
        .iter()
        .filter(|release| affected(release))
        .map(|release| ObjectRef::from_obj(&**release))
        .collect()
}

/// The releases of a namespace that are to go.
fn leaving(namespace: &str, releases: &Store<Release>) -> Vec<ObjectRef<Release>> {
    releases
        .state()
        .iter()
        .filter(|release| {
            release.metadata.deletion_timestamp.is_some() && release.namespace().as_deref() == Some(namespace)
        })
        .map(|release| ObjectRef::from_obj(&**release))
        .collect()
}

/// The channel that a release is on. Which one is the draft, the flow says: it changes with every push.
fn channel(flow: &Flow, release: &str) -> Option<Channel> {
    let is_live = flow.status.as_ref()?.live_release() == Some(release);
    is_live.then_some(Channel::Live)
}

/// Brings it forward as it is when its namespace has a turn.
async fn in_turn(release: Arc<Release>, shared: Arc<Releases>) -> Result<Again, ReleaseError> {
    let _turn = shared
        .turns
        .acquire(&release.namespace().unwrap_or_default())
        .await;
    // it may have changed while it waited for its turn
    let Some(release) = shared.known.get(&ObjectRef::from_obj(&*release)) else {
        return Ok(None);
    };
    let context = Arc::clone(&shared.context);
    context.counted("Release", reconcile(release, shared)).await
}

async fn reconcile(release: Arc<Release>, shared: Arc<Releases>) -> Result<Again, ReleaseError> {
    if release.metadata.deletion_timestamp.is_some() {
        let_go(&shared, &release).await?;
        return Ok(None);
    }
    let problem = problem(&release)?;
    let flow = release.namespace().and_then(|namespace| {
        shared
            .flows
            .get(&ObjectRef::new(&release.spec.flow).within(&namespace))
    });
    let channel = flow.and_then(|flow| channel(&flow, &release.name_any()));
    let before = release.status.clone().unwrap_or_default();
    let next = status(&release, problem.as_deref(), channel, shared.context.now());
    if before != next {
        match patch_status(&shared.context, &*release, &next).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) if is_stale(&error) => {
                shared.context.metrics().api_conflict("releases");
                return Ok(Some(Wake::After(AFTER_CONFLICT)));
            }
            Err(error) => return Err(ReleaseError::Api("write the release's status", error)),
        }
        if let (Some(message), true) = (problem, before.conditions.is_empty()) {
            shared
                .context
                .event(&*release, EventType::Warning, "DigestMismatch", &message)
                .await;
        }
    }
    shared.backoffs.succeeded(&ObjectRef::from_obj(&*release));
    Ok(None)
}

/// Recomputes the digest; gives what is wrong with the release.
fn problem(release: &Release) -> Result<Option<String>, ReleaseError> {
    let digest = release
        .spec
        .content_digest()
        .map_err(ReleaseError::NotCanonical)?;
    let name = names::release_name(&release.spec.flow, &digest);
    Ok(if digest != release.spec.digest {
        Some(format!(
            "it says it is {}, but its content is {digest}",
            release.spec.digest
        ))
    } else if name != release.name_any() {
        Some(format!("a release with this content is called {name}"))
    } else {
        None
    })
}

/// The status that a release is to have. It is empty while nothing is wrong with the release and it was never live.
fn status(
    release: &Release,
    problem: Option<&str>,
    channel: Option<Channel>,
    now: Timestamp,
) -> ReleaseStatus {
    let mut next = release.status.clone().unwrap_or_default();
    next.channel = channel;
    let (standing, reason, message) = match problem {
        Some(problem) => (Standing::Stalled, "DigestMismatch", problem),
        None if next == ReleaseStatus::default() => return next,
        None => (Standing::Ready, "Verified", "the content is what the digest says"),
    };
    let generation = release.metadata.generation;
    stand(&mut next.conditions, standing, reason, message, generation, now);
    next
}

/// Whether a flow that stays has this release live.
fn is_live(shared: &Releases, release: &Release) -> bool {
    let reference = ObjectRef::new(&release.spec.flow).within(&release.namespace().unwrap_or_default());
    shared.flows.get(&reference).is_some_and(|flow| {
        flow.metadata.deletion_timestamp.is_none()
            && channel(&flow, &release.name_any()) == Some(Channel::Live)
    })
}

/// Removes the finalizer of a release that is to go, once no run that goes on uses it.
async fn let_go(shared: &Releases, release: &Release) -> Result<(), ReleaseError> {
    if !release
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == names::FINALIZER)
    {
        return Ok(());
    }
    let namespace = release.namespace().unwrap_or_default();
    if is_live(shared, release) {
        let note = "it stays while it is live: its gate judges the next promotion";
        shared
            .context
            .event(release, EventType::Normal, "InUse", note)
            .await;
        return Ok(());
    }
    let runs_it = |other: &Release| {
        other.namespace() == release.namespace()
            && other
                .spec
                .dependencies
                .iter()
                .any(|dependency| dependency.release == release.name_any())
    };
    if let Some(user) = shared.known.find(runs_it) {
        let note = format!("it stays while release {} runs it", user.name_any());
        shared
            .context
            .event(release, EventType::Normal, "InUse", &note)
            .await;
        return Ok(());
    }
    let unfinished = ListParams::default().fields(&RunPhase::unfinished());
    let runs = shared.context.list::<Run>(&namespace, &unfinished).await;
    let runs = runs.map_err(|error| ReleaseError::Api("list the runs", error))?;
    let name = release.name_any();
    let uses = |run: &Run| {
        run.status.as_ref().is_some_and(|status| {
            !status.phase.is_finished() && status.release.as_ref().is_some_and(|pinned| pinned.name == name)
        })
    };
    if let Some(run) = runs.items.iter().find(|run| uses(run)) {
        let note = format!("it stays until run {} has ended", run.name_any());
        shared
            .context
            .event(release, EventType::Normal, "InUse", &note)
            .await;
        return Ok(());
    }
    // it may use this release, and would need it when it can be decoded again
    if let Some(run) = runs.undecodable.first() {
        let run = run.metadata.name.as_deref().unwrap_or_default();
        let note = format!("it stays while run {run}, which may use it, cannot be decoded");
        shared
            .context
            .event(release, EventType::Normal, "InUse", &note)
            .await;
        return Ok(());
    }
    let kept: Vec<&String> = release
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != names::FINALIZER)
        .collect();
    let patch = json!({ "metadata": { "resourceVersion": release.resource_version(), "finalizers": kept } });
    let api = shared.context.namespaced::<Release>(&namespace);
    match api
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(ReleaseError::Api("remove the finalizer", error)),
    }
}

#[cfg(test)]
mod tests;
