//! The trigger controller: starts runs of flows for the events that the triggers of their live releases name, one for each
//! event, and says in the status of the flow what was started last, what comes next, and why nothing is started.
//!
//! An event names its run, so that whoever hears of it again finds that run. How far a trigger has come is in the status
//! of its flow: events up to there are not looked for again.

mod flow_end;
mod schedule;
mod start;
mod status;
mod webhook;

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt as _,
    runtime::{
        events::EventType,
        reflector::{ObjectRef, Store},
    },
};
use tokio_util::sync::CancellationToken;

use self::{flow_end::Ends, start::Starter, status::Progress, webhook::Arrivals};
use crate::cluster::{
    backoff::Backoffs,
    context::Context,
    error_chain,
    fairness::Permits,
    object_key::ObjectKey,
    reconciler::Reconciler,
    releases::{LoadedRelease, ReleaseUnusable, Releases},
    run_endings::RunNews,
    shared::{Change, SharedStores},
    status::{AFTER_CONFLICT, is_missing, is_stale, patch_status},
    timers::{Again, Wake},
    written::Written,
};
use signoff_api::{
    Flow, Release, Run,
    reason::{Classified, ErrorClass},
    trigger::TriggerStatus,
};
use signoff_engine::trigger::{SourcePlan, TriggerPlan};

/// How many flows of a namespace are worked on at the same time.
const CONCURRENCY: usize = 16;
/// How many runs that ended are read at the same time.
const READS: usize = 8;

/// Why the triggers of a flow could not be brought forward now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The live release could not be read.
    #[error(transparent)]
    Release(#[from] ReleaseUnusable),
}

impl Classified for TriggerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) => ErrorClass::Transient,
            Self::Release(unusable) => unusable.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::Release(unusable) => unusable.reason(),
        }
    }
}

/// What the controller needs.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Client, clock, events.
    pub context: Arc<Context>,
    /// Releases, compiled.
    pub releases: Arc<Releases>,
}

/// What the reconciler shares.
struct Triggers {
    deps: Deps,
    /// Releases as the watch shows them, to see which flows have triggers at all.
    shown: Store<Release>,
    /// Flows as the watch shows them.
    known: Store<Flow>,
    written: Written<Flow>,
    ends: Arc<Ends>,
    arrivals: Arc<Arrivals>,
    backoffs: Backoffs<ObjectRef<Flow>>,
    turns: Permits,
}

/// Starts runs until `shutdown`. The stores must be filled before.
pub async fn run(deps: Deps, stores: SharedStores, news: RunNews, shutdown: CancellationToken) {
    let (flows, releases) = (stores.flows.store(), stores.releases.store());
    let of_release = |release: Change<Release>| stream::iter(flow_of(release.object()));
    let ends = Arc::<Ends>::default();
    let (waiting, reader) = (Arc::clone(&ends), Arc::clone(&deps.context));
    let of_run = move |run: ObjectKey<Run>| {
        let (waiting, reader) = (Arc::clone(&waiting), Arc::clone(&reader));
        async move { stream::iter(waiting.heard(&reader, &run).await) }
    };
    let arrivals = Arc::<Arrivals>::default();
    let seen = Arc::clone(&arrivals);
    let flow_changes = stores.flows.subscribe();
    let queue = stream::select_all([
        flow_changes
            .map(|flow| ObjectRef::from_obj(&**flow.object()))
            .boxed(),
        stores.releases.subscribe().flat_map(of_release).boxed(),
        news.triggered.stream().map(move |run| seen.seen(run)).boxed(),
        news.ended.stream().map(of_run).buffered(READS).flatten().boxed(),
    ]);
    let context = Arc::clone(&deps.context);
    let shared = Arc::new(Triggers {
        deps,
        shown: releases,
        known: flows.clone(),
        written: Written::default(),
        ends,
        arrivals,
        backoffs: Backoffs::default(),
        turns: Permits::of_which_one_may_hold(CONCURRENCY),
    });
    let reconciler = Reconciler {
        // bounded by their turns, of which one namespace has not all
        concurrency: 0,
        name: "Trigger",
        reconcile: |flow, shared| Box::pin(in_turn(flow, shared)),
        failed: |flow: &Flow, error: &TriggerError, shared: &Triggers| {
            tracing::warn!(flow = %flow.name_any(), error = %error_chain(error), "the triggers of a flow could not be brought forward; trying again");
            shared.backoffs.failed(ObjectRef::from_obj(flow))
        },
    };
    reconciler.run(&context, shared, flows, queue, shutdown).await;
}

fn flow_of(release: &Release) -> Option<ObjectRef<Flow>> {
    Some(ObjectRef::new(&release.spec.flow).within(&release.namespace()?))
}

/// Brings it forward as it is when its namespace has a turn.
async fn in_turn(flow: Arc<Flow>, shared: Arc<Triggers>) -> Result<Again, TriggerError> {
    // most flows have no triggers, and wait for nobody
    if !shared.concerns(&flow) {
        shared.ends.listen(&flow, &[]);
        return Ok(None);
    }
    let _turn = shared.turns.acquire(&flow.namespace().unwrap_or_default()).await;
    // it may have changed while it waited for its turn
    let Some(flow) = shared.known.get(&ObjectRef::from_obj(&*flow)) else {
        return Ok(None);
    };
    let context = Arc::clone(&shared.deps.context);
    context.counted("Trigger", reconcile(flow, shared)).await
}

async fn reconcile(flow: Arc<Flow>, shared: Arc<Triggers>) -> Result<Again, TriggerError> {
    if flow.metadata.deletion_timestamp.is_some() || shared.written.is_behind(&flow) {
        // the watch brings it as it was written
        return Ok(None);
    }
    let release = match shared.live(&flow).await {
        Ok(release) => release,
        // the watch brings the release when it can be used
        Err(error) if error.class() != ErrorClass::Transient => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let plans = release
        .as_ref()
        .map_or(&[][..], |release| release.plan.triggers());
    shared.ends.listen(&flow, plans);
    let heard = Heard {
        ended: shared.ends.take(&flow),
        arrived: shared.arrivals.of(&flow),
    };
    let mut progress = Vec::new();
    for plan in plans {
        progress.push(advance(&shared, &flow, release.as_ref(), plan, &heard).await);
    }
    let failed = progress.iter_mut().find_map(|progress| progress.failed.take());
    let next: Vec<TriggerStatus> = progress.iter().map(|progress| progress.status.clone()).collect();
    let written = shared.write(&flow, &next).await;
    if failed.is_some() || !matches!(written, Ok(true)) {
        // their runs are found again
        shared.ends.give_back(&flow, heard.ended);
    }
    if !written? {
        return Ok(Some(Wake::After(AFTER_CONFLICT)));
    }
    shared.arrivals.told(&flow, &heard.arrived);
    for told in progress.iter().filter_map(|progress| progress.told.as_ref()) {
        let (reason, note) = (told.reason.to_string(), &told.note);
        let context = &shared.deps.context;
        context.event(&*flow, EventType::Warning, &reason, note).await;
    }
    let wake_at: Option<Timestamp> = progress.iter().filter_map(|progress| progress.wake_at).min();
    if let Some(error) = failed {
        return Err(TriggerError::Api("start a run", error));
    }
    shared.backoffs.succeeded(&ObjectRef::from_obj(&*flow));
    Ok(wake_at.map(Wake::At))
}

/// What was heard of runs.
struct Heard {
    /// Runs of other flows that have ended.
    ended: Vec<Arc<Run>>,
    /// The newest run of each trigger that the gateway started.
    arrived: HashMap<String, (Timestamp, String)>,
}

/// Starts what is due of one trigger.
async fn advance(
    shared: &Triggers,
    flow: &Flow,
    release: Option<&Arc<LoadedRelease>>,
    plan: &TriggerPlan,
    heard: &Heard,
) -> Progress {
    let now = shared.deps.context.now();
    let before = flow.status.as_ref().map(|status| status.triggers.as_slice());
    let before = before.unwrap_or_default().iter();
    let before = before.clone().find(|before| before.name == plan.name);
    let is_suspended = plan.is_suspended || flow.spec.suspend.unwrap_or_default();
    let progress = Progress::since(before, plan, is_suspended, now);
    let Some(release) = release.filter(|_| !is_suspended) else {
        return progress;
    };
    let starter = Starter {
        context: &shared.deps.context,
        flow,
        release,
        trigger: plan,
    };
    match &plan.source {
        SourcePlan::Schedule(schedule) => schedule::advance(&starter, schedule, progress, now).await,
        SourcePlan::Webhook(_) => webhook::advance(progress, plan, &heard.arrived),
        SourcePlan::Flow(other) => {
            flow_end::advance(&starter, other, progress, &shared.ends, &heard.ended, now).await
        }
    }
}

impl Triggers {
    /// Whether a flow has triggers, or its status says something of some.
    fn concerns(&self, flow: &Flow) -> bool {
        let Some(status) = &flow.status else { return false };
        let live = status.live_release().and_then(|live| {
            let reference = ObjectRef::new(live).within(&flow.namespace().unwrap_or_default());
            self.shown.get(&reference)
        });
        // the watch brings one that it does not show yet
        let has_triggers = |release: &Release| {
            let triggers = release.spec.definition.triggers.as_ref();
            triggers.is_some_and(|triggers| !triggers.is_empty())
        };
        !status.triggers.is_empty() || live.is_some_and(|live| has_triggers(&live))
    }

    async fn live(&self, flow: &Flow) -> Result<Option<Arc<LoadedRelease>>, ReleaseUnusable> {
        let status = flow.status.as_ref();
        let Some(live) = status.and_then(|status| status.live_release()) else {
            return Ok(None);
        };
        let namespace = flow.namespace().unwrap_or_default();
        let release = self.deps.releases.load(&namespace, live).await?;
        // whoever writes statuses may name any release there
        Ok(Some(release).filter(|release| release.facts.flow == flow.name_any()))
    }

    /// Writes the status of the triggers, if it is another one. False if the flow has changed meanwhile.
    async fn write(&self, flow: &Flow, triggers: &[TriggerStatus]) -> Result<bool, TriggerError> {
        let Some(before) = &flow.status else {
            return Ok(true);
        };
        if before.triggers == triggers {
            return Ok(true);
        }
        let mut next = before.clone();
        next.triggers = triggers.to_vec();
        match patch_status(&self.deps.context, flow, &next).await {
            Ok(written) => {
                self.written.wrote(&written);
                Ok(true)
            }
            Err(error) if is_missing(&error) => Ok(true),
            Err(error) if is_stale(&error) => {
                self.deps.context.metrics().api_conflict("flows");
                Ok(false)
            }
            Err(error) => Err(TriggerError::Api("write the flow's status", error)),
        }
    }
}
