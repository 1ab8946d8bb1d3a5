//! All runs that have not ended: a slim entry for each that rests, a task for each that moves.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry as MapEntry},
    sync::Arc,
    time::Duration,
};

use compact_str::CompactString;
use tokio::{
    sync::{
        OwnedMutexGuard,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        watch,
    },
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Deps, FlowKey, RunKey,
    actor::{Actor, Judged, ParkedRun, RunEvent, phase_name, version_of},
    places::Places,
    sweep,
};
use crate::cluster::{
    fairness::{FairQueue, Permit},
    object_key::UidMark,
    parts::caught,
    timers::{Due, Timers, Wake},
};
use signoff_api::{Run, RunPhase, names};
use signoff_engine::{
    facts::{RunFact, WorkFact},
    object::ObjectKey as OwnedKey,
};

/// Longest time that effects under way may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(15);
/// How many new runs that wait for a turn are kept as they were shown; the others are read again.
const KEPT: usize = 1_024;
/// Pause before a run whose task broke is looked at again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// What the dispatcher is told.
#[derive(Debug)]
pub(super) enum DispatchEvent {
    /// The watch begins to list all runs anew.
    Relisting,
    /// The watch has listed all runs.
    Relisted,
    /// The watch shows a run. In a listing it has a turn, which ends when it has nothing to write.
    Seen(Box<Run>, Option<Permit>),
    /// The watch shows a run no more: it is gone, or it has ended.
    LeftWatch(RunKey, UidMark),
    /// A flow, or a release of it, has changed.
    FlowChanged(FlowKey),
    /// A Connection in this namespace has changed.
    ConnectionChanged(String),
    /// An Approval or a task of a run, by its name, was closed or is gone.
    ApprovalChanged(RunKey, String),
    /// An Approval of a run was judged in this process.
    Judged(RunKey, Box<Judged>),
    /// A run has ended that another one waits for.
    ChildEnded {
        child: RunKey,
        parent: RunKey,
        fact: Box<RunFact>,
    },
    /// A task of a run is over.
    WorkIsOver {
        run: RunKey,
        name: String,
        fact: Box<WorkFact>,
    },
    /// A run has a place now, or is the next one to get one, or that can be decided now.
    PlaceChanged(RunKey),
    /// A run, by its uid too, is to be cancelled for another one of that name, which takes its place.
    MakeWay { run: RunKey, uid: u64, by: String },
    /// A run rests.
    Parked(RunKey, Box<ParkedRun>),
    /// The task of a run broke.
    Broken(RunKey, UidMark),
}

/// What is kept of a run, thousands of times while they wait: what only some of them need is elsewhere.
struct Entry {
    uid: UidMark,
    version: u64,
    phase: RunPhase,
    /// Whether it is in line for its first turn.
    queued: bool,
    /// Its task, while it moves.
    active: Option<Box<ActiveRun>>,
    timer: Option<Due>,
    awaits: Option<Box<FlowKey>>,
    /// The Approval or task it was last told of directly; the watch showing the same is no news.
    judged: Option<Box<str>>,
}

/// The task of a run that moves.
struct ActiveRun {
    mailbox: UnboundedSender<RunEvent>,
    /// How many changes of flows had been told of when it started.
    started_at: u64,
}

/// A new run for which there was no turn.
struct InLine {
    key: RunKey,
    uid: UidMark,
    /// As the watch has shown it; it is read where so many wait that no more of them are kept.
    shown: Option<Box<Run>>,
}

pub(super) struct Dispatcher {
    deps: Arc<Deps>,
    messages: OwnedMutexGuard<UnboundedReceiver<DispatchEvent>>,
    /// Given to the tasks, so that they can report.
    report: UnboundedSender<DispatchEvent>,
    entries: HashMap<RunKey, Entry>,
    /// Runs without a release, by the flow they wait for.
    awaiting: HashMap<FlowKey, HashSet<RunKey>>,
    /// Runs that other runs started and wait for, by those.
    children: HashMap<RunKey, HashSet<RunKey>>,
    /// The runs that wait for others, by those.
    parents: HashMap<RunKey, RunKey>,
    /// Places of runs whose flows limit how many of them go on at the same time.
    places: Arc<Places>,
    /// The last change told of each flow, counted over all flows.
    changed: HashMap<FlowKey, u64>,
    changes: u64,
    /// Runs not yet seen since the watch began to list anew.
    left_watch: Option<HashSet<RunKey>>,
    /// When runs go on by themselves.
    timers: Timers<RunKey>,
    /// New runs that wait for a turn. Namespaces take turns, and within one the first that came goes first.
    line: FairQueue<InLine>,
    /// When a turn was given back.
    freed: watch::Receiver<()>,
    active: JoinSet<()>,
    /// How many that were when it was last told.
    told_depth: usize,
    /// Whether the Jobs of runs that go on were looked at: only a crash leaves any.
    has_swept_jobs: bool,
    draining: bool,
}

impl Dispatcher {
    pub(super) fn new(
        deps: Arc<Deps>,
        report: UnboundedSender<DispatchEvent>,
        messages: OwnedMutexGuard<UnboundedReceiver<DispatchEvent>>,
    ) -> Self {
        let timers = deps.context.timers();
        let places = Places::new(report.clone(), deps.leadership.clone());
        Self {
            places: Arc::new(places),
            freed: deps.bounds.intake.freed(),
            deps,
            messages,
            report,
            entries: HashMap::new(),
            awaiting: HashMap::new(),
            children: HashMap::new(),
            parents: HashMap::new(),
            changed: HashMap::new(),
            changes: 0,
            left_watch: None,
            timers,
            line: FairQueue::default(),
            active: JoinSet::new(),
            told_depth: 0,
            has_swept_jobs: false,
            draining: false,
        }
    }

    /// Drives all runs until `shutdown`, then lets what is under way end.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(message) = self.messages.recv() => self.handle(message),
                Some(key) = self.timers.next() => {
                    if let Some(entry) = self.entries.get_mut(&key) {
                        entry.timer = None;
                    }
                    self.tell(&key, RunEvent::Wake(None));
                }
                Ok(()) = self.freed.changed(), if !self.line.is_empty() => self.next_in_line(),
                Some(_) = self.active.join_next() => {}
            }
        }
        self.drain().await;
    }

    async fn drain(&mut self) {
        self.draining = true;
        for entry in self.entries.values() {
            if let Some(active) = &entry.active {
                // a task that is ending needs no telling
                let _ = active.mailbox.send(RunEvent::Drain);
            }
        }
        let ended = async { while self.active.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("effects were still under way at the end of the drain time");
        }
        self.active.shutdown().await;
    }

    fn handle(&mut self, message: DispatchEvent) {
        match message {
            DispatchEvent::Relisting => self.left_watch = Some(self.entries.keys().cloned().collect()),
            DispatchEvent::Relisted => {
                for key in self.left_watch.take().unwrap_or_default() {
                    self.remove(&key);
                }
                self.places.listed();
                self.sweep();
            }
            DispatchEvent::Seen(run, turn) => self.seen(*run, turn),
            DispatchEvent::LeftWatch(key, uid) => {
                if self.entries.get(&key).is_some_and(|entry| entry.uid == uid) {
                    self.remove(&key);
                }
            }
            DispatchEvent::FlowChanged(flow) => {
                self.changes += 1;
                self.changed.insert(flow.clone(), self.changes);
                for key in self.awaiting.get(&flow).cloned().unwrap_or_default() {
                    self.tell(&key, RunEvent::Wake(None));
                }
            }
            DispatchEvent::ConnectionChanged(namespace) => {
                // those that people decide on, who may have been shown it
                let asked = self.deps.open.of_runs().into_iter();
                let here = asked.filter(|(approval, _)| approval.namespace() == namespace);
                let runs: HashSet<String> = here.map(|(_, run)| run).collect();
                for run in runs {
                    self.tell(&RunKey::new(&namespace, &run), RunEvent::Wake(None));
                }
            }
            DispatchEvent::ApprovalChanged(key, name) => {
                let known = self
                    .entries
                    .get(&key)
                    .is_some_and(|entry| entry.judged.as_deref() == Some(&*name));
                if !known {
                    self.tell(&key, RunEvent::Wake(None));
                }
            }
            DispatchEvent::Judged(key, judged) => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.judged = Some(judged.approval.clone().into());
                }
                self.tell(&key, RunEvent::Judged(judged));
            }
            DispatchEvent::ChildEnded { child, parent, fact } => {
                // the watch showing the same is no news
                self.forget_child(&child);
                self.tell(&parent, RunEvent::ChildEnded(child.name().to_owned(), fact));
            }
            DispatchEvent::WorkIsOver { run, name, fact } => {
                if let Some(entry) = self.entries.get_mut(&run) {
                    // the watch showing the same is no news
                    entry.judged = Some(name.clone().into());
                }
                self.tell(&run, RunEvent::WorkIsOver(name, fact));
            }
            DispatchEvent::PlaceChanged(key) => self.tell(&key, RunEvent::Wake(None)),
            DispatchEvent::MakeWay { run, uid, by } => {
                let deps = Arc::clone(&self.deps);
                self.active.spawn(sweep::make_way(deps, run, uid, by));
            }
            DispatchEvent::Parked(key, parked_run) => self.parked(&key, *parked_run),
            DispatchEvent::Broken(key, uid) => {
                self.places.looked_at(&key, uid);
                if let Some(entry) = self.entries.get_mut(&key)
                    && entry.uid == uid
                {
                    entry.active = None;
                    entry.timer = Some(self.timers.insert(key, Wake::After(AFTER_PANIC)));
                }
            }
        }
        self.deps
            .metrics
            .queue_changed("Run", self.told_depth, self.active.len());
        self.told_depth = self.active.len();
    }

    fn seen(&mut self, run: Run, turn: Option<Permit>) {
        let key = RunKey::of(&run);
        if let Some(left_watch) = &mut self.left_watch {
            left_watch.remove(&key);
        }
        let uid = UidMark::of_object(&run);
        if self.entries.get(&key).is_some_and(|entry| entry.uid != uid) {
            self.remove(&key);
        }
        match self.entries.entry(key.clone()) {
            MapEntry::Vacant(vacant) => {
                let phase = run.status.as_ref().map(|status| status.phase).unwrap_or_default();
                vacant.insert(Entry {
                    uid,
                    version: 0,
                    phase,
                    queued: false,
                    active: None,
                    timer: None,
                    awaits: None,
                    judged: None,
                });
                self.deps.endings.seen(&run);
                self.places.seen(&run);
                self.deps.metrics.run_phase(None, Some(phase_name(phase)));
                self.note_parent(&key, &run);
                let turn = turn.or_else(|| self.deps.bounds.intake.try_acquire(key.namespace()));
                return match turn {
                    Some(turn) => self.tell(&key, RunEvent::Changed(Box::new(run), Some(turn))),
                    None => self.enqueue(key, run),
                };
            }
            // the echo of our own write
            MapEntry::Occupied(entry) if entry.get().version >= version_of(&run) => return,
            MapEntry::Occupied(_) => self.places.changed(&run),
        }
        self.tell(&key, RunEvent::Changed(Box::new(run), turn));
    }

    /// Lets a new run wait for a turn, so that a burst of them is not all in memory.
    fn enqueue(&mut self, key: RunKey, run: Run) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.queued = true;
            let (uid, shown) = (entry.uid, (self.line.len() < KEPT).then(|| Box::new(run)));
            let namespace = CompactString::from(key.namespace());
            self.line.push(&namespace, InLine { key, uid, shown });
        }
    }

    /// Gives the turns there are to those that wait for one.
    fn next_in_line(&mut self) {
        while let Some((next, turn)) = self.deps.bounds.intake.pop(&mut self.line) {
            self.begin(next, turn);
        }
    }

    fn begin(&mut self, InLine { key, uid, shown }: InLine, turn: Permit) {
        // one that is gone, or was started by something else that happened, is in line no more
        let waits = self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.uid == uid && entry.queued);
        if waits {
            let first = match shown {
                Some(run) => RunEvent::Changed(run, Some(turn)),
                None => RunEvent::Read(turn),
            };
            self.tell(&key, first);
        }
    }

    /// Closes the questions of runs that had ended before this process could do it.
    fn sweep(&mut self) {
        let left =
            self.deps.open.of_runs().into_iter().filter(|(approval, run)| {
                !self.entries.contains_key(&RunKey::new(approval.namespace(), run))
            });
        for (approval, run) in left {
            let deps = Arc::clone(&self.deps);
            let key = OwnedKey::approval(approval.name());
            let run = RunKey::new(approval.namespace(), &run);
            self.active.spawn(sweep::close_if_ended(deps, run, key));
        }
        for item in self.deps.work.state() {
            let namespace = item.metadata.namespace.as_deref().unwrap_or_default();
            let run = RunKey::new(namespace, &item.spec.run);
            if !self.entries.contains_key(&run) {
                let deps = Arc::clone(&self.deps);
                let key = OwnedKey::work_item(item.metadata.name.as_deref().unwrap_or_default());
                self.active.spawn(sweep::close_if_ended(deps, run, key));
            }
        }
        self.sweep_jobs();
        let lost = self
            .children
            .keys()
            .filter(|parent| !self.entries.contains_key(*parent));
        for parent in lost.cloned().collect::<Vec<_>>() {
            self.stop_children(&parent);
        }
    }

    /// Deletes the Jobs that no run waits for any more: it has ended, or went on without them.
    fn sweep_jobs(&mut self) {
        let is_first = !std::mem::replace(&mut self.has_swept_jobs, true);
        for job in self.deps.jobs.open() {
            let labels = job.metadata.labels.as_ref();
            let Some(run) = labels.and_then(|labels| labels.get(names::RUN)) else {
                continue;
            };
            let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
            let run = RunKey::new(namespace, run);
            if is_first || !self.entries.contains_key(&run) {
                let deps = Arc::clone(&self.deps);
                self.active.spawn(sweep::delete_if_left(deps, run, job));
            }
        }
    }

    /// Remembers which run waits for a new one. One whose parent is not there may have been started too late.
    fn note_parent(&mut self, key: &RunKey, run: &Run) {
        let parent = run.spec.parent.as_ref().filter(|parent| parent.is_waited_for());
        let Some(name) = parent.and_then(|parent| parent.run()) else {
            return;
        };
        let parent = RunKey::new(key.namespace(), name);
        self.children
            .entry(parent.clone())
            .or_default()
            .insert(key.clone());
        self.parents.insert(key.clone(), parent.clone());
        if self.left_watch.is_none() && !self.entries.contains_key(&parent) {
            self.stop_children(&parent);
        }
    }

    fn forget_child(&mut self, child: &RunKey) -> Option<RunKey> {
        let parent = self.parents.remove(child)?;
        if let Some(children) = self.children.get_mut(&parent) {
            children.remove(child);
            if children.is_empty() {
                self.children.remove(&parent);
            }
        }
        Some(parent)
    }

    /// Has the runs stopped that a run left behind which has ended. Those of one that is gone go with it.
    fn stop_children(&mut self, parent: &RunKey) {
        for child in self.children.get(parent).into_iter().flatten() {
            let deps = Arc::clone(&self.deps);
            self.active.spawn(sweep::stop_if_ended(
                deps,
                parent.clone(),
                child.name().to_owned(),
            ));
        }
    }

    fn remove(&mut self, key: &RunKey) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        self.deps.endings.tell(key);
        self.places.left(key, entry.uid);
        self.deps.metrics.run_phase(Some(phase_name(entry.phase)), None);
        self.forget_waits(key, entry.timer, entry.awaits.as_deref());
        if let Some(active) = entry.active {
            let _ = active.mailbox.send(RunEvent::LeftWatch);
        }
        self.stop_children(key);
        if let Some(parent) = self.forget_child(key) {
            self.tell(&parent, RunEvent::ChildLeft(key.name().to_owned()));
        }
    }

    fn forget_waits(&mut self, key: &RunKey, timer: Option<Due>, awaits: Option<&FlowKey>) {
        if let Some(timer) = timer {
            self.timers.remove(key.clone(), timer);
        }
        if let Some(flow) = awaits
            && let Some(runs) = self.awaiting.get_mut(flow)
        {
            runs.remove(key);
            if runs.is_empty() {
                self.awaiting.remove(flow);
            }
        }
    }

    /// Tells a run, starting its task if it rests.
    fn tell(&mut self, key: &RunKey, event: RunEvent) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        match &entry.active {
            // kept for the task that follows if this one is ending
            Some(active) => {
                let _ = active.mailbox.send(event);
            }
            None => self.start(key, VecDeque::from([event])),
        }
    }

    fn start(&mut self, key: &RunKey, first: VecDeque<RunEvent>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let (sender, mailbox) = mpsc::unbounded_channel();
        entry.active = Some(Box::new(ActiveRun {
            mailbox: sender,
            started_at: self.changes,
        }));
        // something else may have happened that makes it start at once; it is read if that does not bring it
        entry.queued = false;
        let (timer, awaits) = (entry.timer.take(), entry.awaits.take());
        let (uid, version) = (entry.uid, entry.version);
        self.forget_waits(key, timer, awaits.as_deref());
        let of_all = (Arc::clone(&self.deps), Arc::clone(&self.places));
        let actor = Actor::new(of_all, key.clone(), uid, version, mailbox);
        let (report, key, context) = (self.report.clone(), key.clone(), Arc::clone(&self.deps.context));
        self.active.spawn(async move {
            let message = match caught(Box::pin(actor.run(first))).await {
                Ok(parked_run) => DispatchEvent::Parked(key, Box::new(parked_run)),
                Err(panic) => {
                    context.panicked("Run", &key, &panic);
                    DispatchEvent::Broken(key, uid)
                }
            };
            // nobody listens at the end of the process
            let _ = report.send(message);
        });
    }

    fn parked(&mut self, key: &RunKey, mut parked_run: ParkedRun) {
        let Some(entry) = self
            .entries
            .get_mut(key)
            .filter(|entry| entry.uid == parked_run.uid)
        else {
            // it may have asked for a place when it was gone already
            self.places.left(key, parked_run.uid);
            return;
        };
        self.places.looked_at(key, parked_run.uid);
        self.deps
            .metrics
            .run_phase(Some(phase_name(entry.phase)), Some(phase_name(parked_run.phase)));
        let started_at = entry.active.take().map_or(0, |active| active.started_at);
        entry.version = parked_run.version;
        entry.phase = parked_run.phase;
        if parked_run.done {
            return;
        }
        // what came while it was ending
        let mut late = VecDeque::new();
        while let Ok(event) = parked_run.mailbox.try_recv() {
            late.push_back(event);
        }
        let changed = parked_run.awaits.as_ref().and_then(|flow| self.changed.get(flow));
        if changed.is_some_and(|change| *change > started_at) {
            late.push_back(RunEvent::Wake(None));
        }
        if !late.is_empty() {
            self.start(key, late);
            return;
        }
        if let Some(wake_at) = parked_run.wake_at {
            entry.timer = Some(self.timers.insert(key.clone(), Wake::At(wake_at)));
        }
        if let Some(flow) = parked_run.awaits {
            self.awaiting.entry(flow.clone()).or_default().insert(key.clone());
            entry.awaits = Some(Box::new(flow));
        }
    }
}

/// It knows nothing of runs any more.
impl Drop for Dispatcher {
    fn drop(&mut self) {
        let metrics = &self.deps.metrics;
        for entry in self.entries.values() {
            metrics.run_phase(Some(phase_name(entry.phase)), None);
        }
        metrics.queue_changed("Run", self.told_depth, 0);
    }
}

#[cfg(test)]
mod tests;
