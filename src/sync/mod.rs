//! The Repository controller: follows a git remote and makes the flows in the cluster those in git.

mod apply;
mod claims;
mod cycle;
pub mod feedback;
pub(super) mod files;
mod keep;
mod plan;
mod requests;
mod rest;
pub(super) mod sources;
pub(super) mod summary;

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use kube::{
    Resource as _, ResourceExt as _,
    runtime::{
        events::EventType,
        reflector::{ObjectRef, Store},
    },
};
use tokio_util::sync::CancellationToken;

pub use self::requests::{SyncQueue, SyncRequests, sync_requests};
use self::{claims::Claims, cycle::Memories, requests::Asked, rest::FailurePauses};
use crate::{
    cluster::{
        backoff::Backoffs,
        context::Context,
        error_chain,
        fairness::Permits,
        reconciler::Reconciler,
        shared::{Change, SharedStores},
        status::{is_missing, is_stale, patch_status},
        timers::{Again, Wake},
        written::Written,
    },
    remotes::{INTERVAL, RepositoryError, RepositorySettings, mirrors},
};
use signoff_api::{
    Flow, Release, Repository, RepositoryStatus, address,
    reason::{Classified as _, ErrorClass},
};

/// How many repositories of a namespace are synced at the same time, of those whose remotes answer and of the others: a remote that hangs
/// or sends without end keeps nobody waiting but its like.
const CONCURRENCY: usize = 8;
/// Shortest interval.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the reconciler shares.
struct Repositories {
    context: Arc<Context>,
    settings: RepositorySettings,
    known: Store<Repository>,
    written: Written<Repository>,
    flows: Store<Flow>,
    releases: Store<Release>,
    memories: Memories,
    asked: Asked,
    claims: Claims,
    /// Failures to apply what was read.
    backoffs: Backoffs<ObjectRef<Repository>>,
    /// Failures to read it.
    rests: FailurePauses,
    /// Room for the repositories whose remotes answered when they were last asked, and for the others.
    known_good: Permits,
    others: Permits,
    shutdown: CancellationToken,
}

/// Syncs repositories until `shutdown`, which cuts fetches under way. The stores must be filled before: the plan compares with them.
pub async fn run(
    context: Arc<Context>,
    stores: SharedStores,
    settings: RepositorySettings,
    requests: SyncQueue,
    shutdown: CancellationToken,
) {
    let repositories = stores.repositories.store();
    let (asked, requested) = requests.split();
    let shared = Arc::new(Repositories {
        context: Arc::clone(&context),
        settings,
        known: repositories.clone(),
        written: Written::default(),
        flows: stores.flows.store(),
        releases: stores.releases.store(),
        memories: Memories::default(),
        asked,
        claims: Claims::default(),
        backoffs: Backoffs::default(),
        rests: FailurePauses::default(),
        known_good: Permits::of_which_one_may_hold(CONCURRENCY),
        others: Permits::of_which_one_may_hold(CONCURRENCY),
        shutdown: shutdown.clone(),
    });
    let sweeping = Arc::clone(&shared);
    let sweep = async move { mirrors::sweep(&sweeping.context, &sweeping.settings).await };
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(sweep));
    let forgetting = Arc::clone(&shared);
    let forget = move |gone: &Arc<Repository>| {
        let (shared, gone) = (Arc::clone(&forgetting), Arc::clone(gone));
        forgetting.backoffs.succeeded(&ObjectRef::from_obj(&*gone));
        forgetting.asked.forget(&ObjectRef::from_obj(&*gone));
        forgetting.written.forget(&gone);
        tokio::spawn(async move { shared.forget(&gone).await });
    };
    let queue = stream::select_all([
        those_there(&stores, forget).boxed(),
        // a flow that was edited or deleted by hand is set right
        owners_of_changed(&stores).boxed(),
        requested.boxed(),
    ]);
    let reconciler = Reconciler {
        name: "Repository",
        // bounded by the room there is for syncs
        concurrency: 0,
        reconcile: |repository, shared: Arc<Repositories>| {
            Box::pin(async move {
                let context = Arc::clone(&shared.context);
                context.counted("Repository", reconcile(repository, shared)).await
            })
        },
        failed: |repository: &Repository, error: &RepositoryError, shared: &Repositories| {
            tracing::warn!(repository = %repository.name_any(), error = %error_chain(error), "a sync failed; trying again");
            let rest = shared.rests.left(repository, false, shared.context.now());
            rest.unwrap_or_else(|| shared.backoffs.failed(ObjectRef::from_obj(repository)))
        },
    };
    reconciler
        .run(&context, shared, repositories, queue, shutdown)
        .await;
}

/// The Repositories that have come or changed. Those that are gone are forgotten.
fn those_there<F: Fn(&Arc<Repository>) + Send + 'static>(
    stores: &SharedStores,
    forget: F,
) -> impl Stream<Item = ObjectRef<Repository>> + Send + use<F> {
    let changes = stores.repositories.subscribe();
    changes.filter_map(move |change| {
        if let Change::Removed(gone) = &change {
            forget(gone);
        }
        let there = change
            .applied()
            .map(|repository| ObjectRef::from_obj(&**repository));
        std::future::ready(there)
    })
}

/// The Repositories of flows that have come, changed or gone.
fn owners_of_changed(stores: &SharedStores) -> impl Stream<Item = ObjectRef<Repository>> + Send + use<> {
    let known = stores.repositories.store();
    let changes = stores.flows.subscribe();
    changes.filter_map(move |flow| std::future::ready(owner_of(&known, flow.object())))
}

/// The Repository that a flow belongs to.
fn owner_of(known: &Store<Repository>, flow: &Flow) -> Option<ObjectRef<Repository>> {
    let known = known.state();
    let owner = known
        .iter()
        .find(|known| plan::is_owned(known, flow) && known.namespace() == flow.namespace())?;
    Some(ObjectRef::from_obj(&**owner))
}

pub(super) fn interval(repository: &Repository) -> Duration {
    repository
        .spec
        .interval
        .as_ref()
        .map_or(INTERVAL, |interval| interval.duration().max(SHORTEST))
}

async fn reconcile(repository: Arc<Repository>, shared: Arc<Repositories>) -> Result<Again, RepositoryError> {
    if repository.meta().deletion_timestamp.is_some() {
        keep::let_go(&shared.context, &repository).await?;
        return Ok(None);
    }
    if shared.written.is_behind(&repository) {
        // the watch brings it as it was written
        return Ok(None);
    }
    if keep::hold(&shared.context, &repository).await? {
        // the watch brings the Repository as it is then
        return Ok(None);
    }
    let context = &shared.context;
    keep::untie(context, &repository, &shared.flows.state()).await?;
    let gated = gated(&shared, &repository);
    let before = repository.status.clone().unwrap_or_default();
    if before.gated != gated {
        write(&shared, &repository, RepositoryStatus { gated, ..before }).await?;
        // the watch brings the Repository as it is then
        return Ok(None);
    }
    if repository.spec.suspend.unwrap_or_default() {
        write(
            &shared,
            &repository,
            summary::suspended(&repository, context.now()),
        )
        .await?;
        return Ok(None);
    }
    shared.asked.pass_on(&repository);
    let asked = shared.asked.has(&ObjectRef::from_obj(&*repository));
    if let Some(left) = shared.rests.left(&repository, asked, context.now()) {
        return Ok(Some(Wake::After(left)));
    }
    let namespace = repository.namespace().unwrap_or_default();
    let room = if shared.is_known_good(&repository) {
        shared.known_good.acquire(&namespace).await
    } else {
        shared.others.acquire(&namespace).await
    };
    let current = shared.known.get(&ObjectRef::from_obj(&*repository));
    if current.map(|current| current.resource_version()) != Some(repository.resource_version()) {
        // it was changed or deleted while it waited for room, and comes again as it is now
        return Ok(Some(Wake::After(Duration::ZERO)));
    }
    let synced = cycle::sync(&shared, &repository).await;
    drop(room);
    match synced {
        Ok(cycle::Done { status, failure }) => {
            shared.rests.over(&repository.uid().unwrap_or_default());
            write(&shared, &repository, status).await?;
            if let Some(error) = failure {
                return Err(error);
            }
            shared.backoffs.succeeded(&ObjectRef::from_obj(&*repository));
            Ok(Some(Wake::After(shared.until_due(&repository))))
        }
        Err(error) if shared.shutdown.is_cancelled() => Err(error),
        Err(error) => {
            let mut status = summary::failed(&repository, &error, context.now());
            status.last_handled_request = cycle::request_of(&repository);
            let pause = shared.rests.failed(&repository, &error, context.now());
            if let Some(pause) = rest::retry_after(&error) {
                let url = &repository.spec.url;
                shared.settings.pauses.of(&repository, url).begin(pause);
            }
            write(&shared, &repository, status).await?;
            match error.class() {
                ErrorClass::Transient => Err(error),
                ErrorClass::Waiting | ErrorClass::Invalid => Ok(Some(Wake::After(pause))),
            }
        }
    }
}

/// Whether one of its flows is live behind a gate.
fn gated(shared: &Repositories, repository: &Repository) -> Option<bool> {
    let gated = |flow: &Arc<Flow>| plan::is_gated(flow) && plan::is_owned(repository, &**flow);
    shared.flows.state().iter().any(gated).then_some(true)
}

/// Writes the status if it is news, and tells people of transitions.
async fn write(
    shared: &Repositories,
    repository: &Arc<Repository>,
    mut next: RepositoryStatus,
) -> Result<(), RepositoryError> {
    let context = &shared.context;
    next.url = Some(address::without_credentials(&repository.spec.url));
    let before = repository.status.clone().unwrap_or_default();
    if repository.status.as_ref() == Some(&next) {
        return Ok(());
    }
    match patch_status(context, &**repository, &next).await {
        Ok(written) => shared.written.wrote(&written),
        Err(error) if is_missing(&error) => return Ok(()),
        // the watch brings the newer object
        Err(error) if is_stale(&error) => {
            context.metrics().api_conflict("repositories");
            return Ok(());
        }
        Err(error) => return Err(RepositoryError::Api("write the repository's status", error)),
    }
    let ready = |status: &RepositoryStatus| {
        status
            .conditions
            .iter()
            .find(|c| c.type_ == "Ready")
            .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
    };
    let (Some(now), was) = (ready(&next), ready(&before)) else {
        return Ok(());
    };
    // that it goes on as before is no news, whichever commit it is at
    let goes_on = |was: &(String, String, String)| was.0 == "True" && (&was.0, &was.1) == (&now.0, &now.1);
    if Some(&now) != was.as_ref() && !was.as_ref().is_some_and(goes_on) {
        let type_ = if now.0 == "True" {
            EventType::Normal
        } else {
            EventType::Warning
        };
        context.event(&**repository, type_, &now.1, &now.2).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
