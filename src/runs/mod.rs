//! The Run controller: pin, decide (engine), write, perform.
//!
//! A run that waits is an entry of a few dozen bytes; the whole run is read when it has to move. A run that moves is a task of its
//! own ([`actor`]). There is no finalizer on a run: its work ends with the task, and its Approvals go with it by their owner
//! reference, so a run costs no more writes than its progress.

mod actor;
mod contents;
mod dispatch;
#[cfg(test)]
mod fixture;
mod gather;
mod jobs;
mod kept_events;
mod objects;
mod pin;
mod places;
mod retry;
mod sweep;
mod transitions;
mod write;

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Resource as _, ResourceExt as _,
    api::ObjectMeta,
    runtime::{reflector::Store, watcher},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::jobs::{JobRunner, Jobs};
use self::{
    actor::Judged,
    dispatch::{DispatchEvent, Dispatcher},
};
use crate::{
    cluster::{
        context::Context,
        fairness::Permits,
        inbox::{Inbox, inbox},
        leadership::Leadership,
        object_key::{ApprovalKey, ObjectKey, UidMark},
        objects::{Decoded, watch},
        parts::beside,
        releases::Releases,
        run_endings::RunEndings,
        shared::{OpenApprovals, QuestionListener},
    },
    perform::{CallTurns, Executors},
    telemetry::metrics::Metrics,
};
use signoff_api::{Approval, Connection, Flow, Release, Run, RunPhase, WorkItem, names};
use signoff_engine::callback_token::CallbackMinter;

/// How many status writes of runs are under way at the same time: enough to keep an API server busy. Each is a connection of its own.
const WRITES: usize = 32;

/// How many runs are looked at for the first time at the same time.
const INTAKE: usize = 96;

/// How long a listing waits for a turn of a namespace whose runs hold all that it may have. The namespace's others are then put in line.
const PATIENCE: Duration = Duration::from_millis(250);

type RunKey = ObjectKey<Run>;
type FlowKey = ObjectKey<Flow>;

/// What runs need to go on.
#[derive(Debug)]
pub struct Deps {
    /// Client, clock, events.
    pub context: Arc<Context>,
    /// Releases they are pinned to.
    pub releases: Arc<Releases>,
    /// Flows as the watch shows them, for their live and draft releases.
    pub flows: Store<Flow>,
    /// Connections as the watch shows them, for what people are shown of them.
    pub connections: Store<Connection>,
    /// The questions that are open, as the watch shows them.
    pub open: OpenApprovals,
    /// The tasks that are open, as the watch shows them, without their input.
    pub work: Store<WorkItem>,
    /// The Jobs of steps.
    pub jobs: Jobs,
    /// Performs HTTP steps.
    pub executors: Executors,
    /// Makes callback addresses.
    pub callbacks: CallbackMinter,
    /// What is counted.
    pub metrics: Metrics,
    /// How much may be under way at the same time.
    pub bounds: Bounds,
    /// Whether effects may be performed.
    pub leadership: Leadership,
    /// Tells runs that one which they wait for has ended.
    pub waker: RunWaker,
    /// Who wants to know when a run has ended.
    pub endings: RunEndings,
}

/// How much may be under way at the same time. Namespaces take turns. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct Bounds {
    effects: Permits,
    /// Turns of calls through Connections with limits.
    turns: CallTurns,
    /// As many writes as are good for the API server.
    writes: Permits,
    /// As many runs looked at for the first time as keep the writes busy.
    intake: Permits,
}

impl Bounds {
    /// Turns of calls through Connections with limits, for whoever else calls through them.
    pub fn turns(&self) -> CallTurns {
        self.turns.clone()
    }

    /// With at most so many effects performed at the same time.
    pub fn new(effects: usize) -> Self {
        Self {
            effects: Permits::that_leave_some(effects),
            turns: CallTurns::default(),
            writes: Permits::new_in_turns(WRITES),
            intake: Permits::that_leave_some(INTAKE),
        }
    }
}

/// Tells runs that something they may be waiting for has changed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunWaker(mpsc::UnboundedSender<DispatchEvent>);

/// Where a [`RunWaker`]'s calls arrive. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct RunCalls(mpsc::UnboundedSender<DispatchEvent>, Inbox<DispatchEvent>);

/// A waker and where its calls arrive.
pub fn waker() -> (RunWaker, RunCalls) {
    let (sender, receiver) = inbox();
    (RunWaker(sender.clone()), RunCalls(sender, receiver))
}

impl QuestionListener for RunWaker {
    fn approval_is_over(&self, approval: &ApprovalKey, run: Option<&str>) {
        if let Some(run) = run {
            let run = RunKey::new(approval.namespace(), run);
            self.send(DispatchEvent::ApprovalChanged(run, approval.name().to_owned()));
        }
    }
}

impl RunWaker {
    /// An Approval was judged, and the API server has acknowledged it. `run` is the run it was put for, if that was read meanwhile; `since`
    /// is when the deciding Decision was seen.
    pub fn judged(&self, approval: &Approval, run: Option<Run>, since: Option<Instant>) {
        if let Some(name) = &approval.spec.subject.run {
            let key = RunKey::new(approval.metadata.namespace.as_deref().unwrap_or_default(), name);
            let judged = Judged {
                approval: approval.name_any(),
                fact: objects::approval::approval_fact(approval),
                run: run.map(slim),
                since,
            };
            self.send(DispatchEvent::Judged(key, Box::new(judged)));
        }
    }

    /// A run has ended, as the API server has acknowledged it.
    fn child_ended(&self, run: &Run) {
        let parent = run.spec.parent.as_ref().filter(|parent| parent.is_waited_for());
        if let Some(name) = parent.and_then(|parent| parent.run()) {
            let child = RunKey::of(run);
            self.send(DispatchEvent::ChildEnded {
                parent: RunKey::new(child.namespace(), name),
                child,
                fact: Box::new(objects::child::fact(run)),
            });
        }
    }

    /// A task is over, as the API server has acknowledged it.
    pub fn work_is_over(&self, item: &WorkItem) {
        let namespace = item.metadata.namespace.as_deref().unwrap_or_default();
        self.send(DispatchEvent::WorkIsOver {
            run: RunKey::new(namespace, &item.spec.run),
            name: item.name_any(),
            fact: Box::new(objects::work_item::fact(item)),
        });
    }

    /// A task left the watch of open ones.
    pub fn work_left(&self, item: &WorkItem) {
        let namespace = item.metadata.namespace.as_deref().unwrap_or_default();
        let run = RunKey::new(namespace, &item.spec.run);
        self.send(DispatchEvent::ApprovalChanged(run, item.name_any()));
    }

    /// A Job of a run, or its pod, has changed or is gone.
    pub fn job_changed(&self, object: &ObjectMeta) {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let run = object.labels.as_ref().and_then(|labels| labels.get(names::RUN));
        if let Some(run) = run {
            let name = object.name.clone().unwrap_or_default();
            self.send(DispatchEvent::ApprovalChanged(RunKey::new(namespace, run), name));
        }
    }

    /// A flow has changed as the watch shows it.
    pub fn flow_changed(&self, flow: &Flow) {
        self.send(DispatchEvent::FlowChanged(FlowKey::of(flow)));
    }

    /// A release has changed as the watch shows it.
    pub fn release_changed(&self, release: &Release) {
        let namespace = release.metadata.namespace.as_deref().unwrap_or_default();
        self.send(DispatchEvent::FlowChanged(FlowKey::new(
            namespace,
            &release.spec.flow,
        )));
    }

    /// A Connection of this namespace has changed as the watch shows it.
    pub fn connection_changed(&self, namespace: &str) {
        self.send(DispatchEvent::ConnectionChanged(namespace.to_owned()));
    }

    fn send(&self, message: DispatchEvent) {
        // nobody listens at the end of the process
        let _ = self.0.send(message);
    }
}

/// Drives all runs until `shutdown`. The stores must be filled before.
pub async fn run(deps: Arc<Deps>, calls: RunCalls, shutdown: CancellationToken) {
    let RunCalls(sender, receiver) = calls;
    let mut messages = receiver.open().await;
    // what was for one before this that broke: everything is listed anew
    while messages.try_recv().is_ok() {}
    let dispatcher = Dispatcher::new(Arc::clone(&deps), sender.clone(), messages);
    let runs = shutdown
        .clone()
        .run_until_cancelled_owned(watch_runs(Arc::clone(&deps), sender));
    let events = shutdown
        .clone()
        .run_until_cancelled_owned(kept_events::look_after(Arc::clone(&deps)));
    beside(events, beside(runs, dispatcher.run(shutdown))).await;
}

async fn watch_runs(deps: Arc<Deps>, to: mpsc::UnboundedSender<DispatchEvent>) {
    // one that has ended leaves the watch
    let unfinished = watcher::Config::default().fields(&RunPhase::unfinished());
    let mut events = watch::<Run>(&deps.context, unfinished).boxed();
    // namespaces whose runs are put in line for the rest of the listing
    let mut slow = HashSet::new();
    while let Some(event) = events.next().await {
        let message = match event {
            Ok(watcher::Event::Init) => {
                slow.clear();
                DispatchEvent::Relisting
            }
            Ok(watcher::Event::InitDone) => DispatchEvent::Relisted,
            // not listed, it is as good as gone
            Ok(watcher::Event::InitApply(Decoded::Undecodable(_))) => continue,
            Ok(watcher::Event::InitApply(Decoded::Object(run))) => {
                // a listing of many is taken in as fast as it is worked through, and not all at once
                let namespace = run.metadata.namespace.clone().unwrap_or_default();
                let turn = if slow.contains(&namespace) {
                    None
                } else {
                    tokio::time::timeout(PATIENCE, deps.bounds.intake.acquire(&namespace))
                        .await
                        .ok()
                };
                if turn.is_none() {
                    // runs of others come after it
                    slow.insert(namespace);
                }
                DispatchEvent::Seen(Box::new(slim(run)), turn)
            }
            Ok(watcher::Event::Apply(Decoded::Object(run))) => DispatchEvent::Seen(Box::new(slim(run)), None),
            Ok(watcher::Event::Apply(run @ Decoded::Undecodable(_)) | watcher::Event::Delete(run)) => {
                let meta = run.meta();
                let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
                let key = RunKey::new(namespace.unwrap_or_default(), name.unwrap_or_default());
                DispatchEvent::LeftWatch(key, UidMark::of_object(&run))
            }
            // it starts again
            Err(_) => continue,
        };
        if to.send(message).is_err() {
            return;
        }
    }
}

fn slim(mut run: Run) -> Run {
    run.metadata.managed_fields = None;
    run
}
