//! The controller of tasks: takes in what workers answer, puts back what they lost, and ends what comes too late.
//!
//! What follows from how a task stands is decided by [`signoff_engine::work`]; here is what it needs to know.

mod leases;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    runtime::reflector::{ObjectRef, Store},
};
use tokio_util::sync::CancellationToken;

use self::leases::Leases;
use crate::{
    cluster::{
        backoff::Backoffs,
        context::Context,
        error_chain,
        fairness::Permits,
        reconciler::Reconciler,
        shared::{Change, SharedStores},
        status::{AFTER_CONFLICT, is_missing, is_stale, patch_status},
        timers::{Again, Wake},
    },
    runs::RunWaker,
};
use signoff_api::{
    WorkItem, WorkItemStatus,
    reason::{Classified, ErrorClass},
};
use signoff_engine::work::{judge, next_look};

/// Why a task could not be looked after now; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the status of the task")]
pub struct TaskError(#[from] kube::Error);

impl Classified for TaskError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Transient
    }

    fn reason(&self) -> &'static str {
        "APIFailed"
    }
}

/// How many tasks are worked on at the same time.
const CONCURRENCY: usize = 32;

struct Tasks {
    context: Arc<Context>,
    /// What the watch shows.
    known: Store<WorkItem>,
    waker: RunWaker,
    leases: Leases,
    backoffs: Backoffs<ObjectRef<WorkItem>>,
    turns: Permits,
}

/// Looks after tasks until `shutdown`. The store must be filled before.
pub async fn run(context: Arc<Context>, stores: SharedStores, waker: RunWaker, shutdown: CancellationToken) {
    let known = stores.work.store();
    let shared = Arc::new(Tasks {
        context: Arc::clone(&context),
        known: known.clone(),
        waker,
        leases: Leases::default(),
        backoffs: Backoffs::default(),
        turns: Permits::of_which_one_may_hold(CONCURRENCY),
    });
    let leaving = Arc::clone(&shared);
    let queue = stores.work.subscribe().filter_map(move |change| {
        if let Change::Removed(gone) = &change {
            leaving.leases.forget(gone);
        }
        let object = ObjectRef::from_obj(&**change.object());
        std::future::ready(Some(object))
    });
    let reconciler = Reconciler {
        // bounded by their turns, of which one namespace has not all
        concurrency: 0,
        name: "WorkItem",
        reconcile: |item, shared| Box::pin(in_turn(item, shared)),
        failed: |item: &WorkItem, error: &TaskError, shared: &Tasks| failed(item, error, shared),
    };
    reconciler.run(&context, shared, known, queue, shutdown).await;
}

fn failed(item: &WorkItem, error: &TaskError, shared: &Tasks) -> Duration {
    if is_stale(&error.0) || is_missing(&error.0) {
        shared.context.metrics().api_conflict("workitems");
        return AFTER_CONFLICT;
    }
    tracing::warn!(task = %item.name_any(), error = %error_chain(error), "a task could not be looked after; trying again");
    shared.backoffs.failed(ObjectRef::from_obj(item))
}

/// Brings it forward as it is when its namespace has a turn.
async fn in_turn(item: Arc<WorkItem>, shared: Arc<Tasks>) -> Result<Again, TaskError> {
    let _turn = shared.turns.acquire(&item.namespace().unwrap_or_default()).await;
    // it may have changed while it waited for its turn
    let Some(item) = shared.known.get(&ObjectRef::from_obj(&*item)) else {
        return Ok(None);
    };
    let context = Arc::clone(&shared.context);
    context.counted("WorkItem", reconcile(item, shared)).await
}

async fn reconcile(item: Arc<WorkItem>, shared: Arc<Tasks>) -> Result<Again, TaskError> {
    let context = &shared.context;
    let now = context.now();
    let status = item.status.clone().unwrap_or_default();
    let seen = shared.leases.seen(&item, &status, now);
    let next = judged(context, &item, &status, seen).await;
    let mut stands = status;
    if next != stands {
        let written = patch_status(context, &*item, &next).await?;
        if next.phase.is_closed() {
            shared.waker.work_is_over(&written);
            return Ok(None);
        }
        stands = next;
    }
    shared.backoffs.succeeded(&ObjectRef::from_obj(&*item));
    Ok(next_look(&item.spec, &stands, seen).map(Wake::At))
}

/// What follows from how it stands. An answer is checked against a schema, which somebody else wrote.
async fn judged(
    context: &Context,
    item: &Arc<WorkItem>,
    status: &WorkItemStatus,
    seen: k8s_openapi::jiff::Timestamp,
) -> WorkItemStatus {
    let now = context.now();
    let generation = item.metadata.generation;
    if status.answer.is_none() || item.spec.schema.is_none() {
        return judge(&item.spec, status, seen, generation, now);
    }
    let (of, status) = (Arc::clone(item), status.clone());
    let judging = move || judge(&of.spec, &status, seen, generation, now);
    context
        .evaluate(&item.namespace().unwrap_or_default(), judging)
        .await
}
