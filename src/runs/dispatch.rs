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
    actor::{Actor, Judged, Mail, Rest, phase_name, version_of},
    sweep,
};
use crate::cluster::{
    fairness::{FairQueue, Permit},
    object_key::UidMark,
    parts::caught,
    timers::{Due, Timers, Wake},
};
use signoff_api::{Run, RunPhase};

/// Longest time that effects under way may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(15);
/// How many new runs that wait for a turn are kept as they were shown; the others are read again.
const KEPT: usize = 1_024;
/// Pause before a run whose task broke is looked at again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// What the dispatcher is told.
#[derive(Debug)]
pub(super) enum Message {
    /// The watch begins to list all runs anew.
    Relisting,
    /// The watch has listed all runs.
    Relisted,
    /// The watch shows a run. In a listing it has a turn, which ends when it has nothing to write.
    Seen(Box<Run>, Option<Permit>),
    /// The watch shows a run no more: it is gone, or it has ended.
    Unseen(RunKey, UidMark),
    /// A flow, or a release of it, has changed.
    FlowChanged(FlowKey),
    /// A Connection in this namespace has changed.
    ConnectionChanged(String),
    /// An Approval of a run, by its name, was closed or is gone.
    ApprovalChanged(RunKey, String),
    /// An Approval of a run was judged in this process.
    Judged(RunKey, Box<Judged>),
    /// A run rests.
    Rested(RunKey, Box<Rest>),
    /// The task of a run broke.
    Broken(RunKey, UidMark),
}

/// What is kept of a run, thousands of times while they wait: what only some of them need is elsewhere.
struct Entry {
    uid: UidMark,
    version: u64,
    phase: RunPhase,
    /// Whether it is in line for its first turn.
    in_line: bool,
    /// Its task, while it moves.
    moving: Option<Box<Moving>>,
    timer: Option<Due>,
    awaits: Option<Box<FlowKey>>,
    /// The Approval it was last told of directly; the watch showing the same is no news.
    judged: Option<Box<str>>,
}

/// The task of a run that moves.
struct Moving {
    mailbox: UnboundedSender<Mail>,
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
    messages: OwnedMutexGuard<UnboundedReceiver<Message>>,
    /// Given to the tasks, so that they can report.
    report: UnboundedSender<Message>,
    entries: HashMap<RunKey, Entry>,
    /// Runs without a release, by the flow they wait for.
    awaiting: HashMap<FlowKey, HashSet<RunKey>>,
    /// The last change told of each flow, counted over all flows.
    changed: HashMap<FlowKey, u64>,
    changes: u64,
    /// Runs not yet seen since the watch began to list anew.
    unseen: Option<HashSet<RunKey>>,
    /// When runs go on by themselves.
    timers: Timers<RunKey>,
    /// New runs that wait for a turn. Namespaces take turns, and within one the first that came goes first.
    line: FairQueue<InLine>,
    /// When a turn was given back.
    freed: watch::Receiver<()>,
    moving: JoinSet<()>,
    /// How many that were when it was last told.
    told_depth: usize,
    draining: bool,
}

impl Dispatcher {
    pub(super) fn new(
        deps: Arc<Deps>,
        report: UnboundedSender<Message>,
        messages: OwnedMutexGuard<UnboundedReceiver<Message>>,
    ) -> Self {
        let timers = deps.context.timers();
        Self {
            freed: deps.bounds.intake.freed(),
            deps,
            messages,
            report,
            entries: HashMap::new(),
            awaiting: HashMap::new(),
            changed: HashMap::new(),
            changes: 0,
            unseen: None,
            timers,
            line: FairQueue::default(),
            moving: JoinSet::new(),
            told_depth: 0,
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
                    self.tell(&key, Mail::Wake(None));
                }
                Ok(()) = self.freed.changed(), if !self.line.is_empty() => self.next_in_line(),
                Some(_) = self.moving.join_next() => {}
            }
        }
        self.drain().await;
    }

    async fn drain(&mut self) {
        self.draining = true;
        for entry in self.entries.values() {
            if let Some(moving) = &entry.moving {
                // a task that is ending needs no telling
                let _ = moving.mailbox.send(Mail::Drain);
            }
        }
        let ended = async { while self.moving.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("effects were still under way at the end of the drain time");
        }
        self.moving.shutdown().await;
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Relisting => self.unseen = Some(self.entries.keys().cloned().collect()),
            Message::Relisted => {
                for key in self.unseen.take().unwrap_or_default() {
                    self.remove(&key);
                }
                self.sweep();
            }
            Message::Seen(run, turn) => self.seen(*run, turn),
            Message::Unseen(key, uid) => {
                if self.entries.get(&key).is_some_and(|entry| entry.uid == uid) {
                    self.remove(&key);
                }
            }
            Message::FlowChanged(flow) => {
                self.changes += 1;
                self.changed.insert(flow.clone(), self.changes);
                for key in self.awaiting.get(&flow).cloned().unwrap_or_default() {
                    self.tell(&key, Mail::Wake(None));
                }
            }
            Message::ConnectionChanged(namespace) => {
                // those that people decide on, who may have been shown it
                let asked = self.deps.open.of_runs().into_iter();
                let here = asked.filter(|(approval, _)| approval.namespace() == namespace);
                let runs: HashSet<String> = here.map(|(_, run)| run).collect();
                for run in runs {
                    self.tell(&RunKey::new(&namespace, &run), Mail::Wake(None));
                }
            }
            Message::ApprovalChanged(key, name) => {
                let known = self
                    .entries
                    .get(&key)
                    .is_some_and(|entry| entry.judged.as_deref() == Some(&*name));
                if !known {
                    self.tell(&key, Mail::Wake(None));
                }
            }
            Message::Judged(key, judged) => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.judged = Some(judged.approval.clone().into());
                }
                self.tell(&key, Mail::Judged(judged));
            }
            Message::Rested(key, rest) => self.rested(&key, *rest),
            Message::Broken(key, uid) => {
                if let Some(entry) = self.entries.get_mut(&key)
                    && entry.uid == uid
                {
                    entry.moving = None;
                    entry.timer = Some(self.timers.insert(key, Wake::After(AFTER_PANIC)));
                }
            }
        }
        self.deps
            .metrics
            .queue_changed("Run", self.told_depth, self.moving.len());
        self.told_depth = self.moving.len();
    }

    fn seen(&mut self, run: Run, turn: Option<Permit>) {
        let key = RunKey::of(&run);
        if let Some(unseen) = &mut self.unseen {
            unseen.remove(&key);
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
                    in_line: false,
                    moving: None,
                    timer: None,
                    awaits: None,
                    judged: None,
                });
                self.deps.metrics.run_phase(None, Some(phase_name(phase)));
                let turn = turn.or_else(|| self.deps.bounds.intake.try_acquire(key.namespace()));
                return match turn {
                    Some(turn) => self.tell(&key, Mail::Changed(Box::new(run), Some(turn))),
                    None => self.line_up(key, run),
                };
            }
            // the echo of our own write
            MapEntry::Occupied(entry) if entry.get().version >= version_of(&run) => return,
            MapEntry::Occupied(_) => {}
        }
        self.tell(&key, Mail::Changed(Box::new(run), turn));
    }

    /// Lets a new run wait for a turn, so that a burst of them is not all in memory.
    fn line_up(&mut self, key: RunKey, run: Run) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.in_line = true;
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
            .is_some_and(|entry| entry.uid == uid && entry.in_line);
        if waits {
            let first = match shown {
                Some(run) => Mail::Changed(run, Some(turn)),
                None => Mail::Read(turn),
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
            self.moving.spawn(sweep::close_if_ended(deps, approval, run));
        }
    }

    fn remove(&mut self, key: &RunKey) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        self.deps.endings.tell(key.namespace());
        self.deps.metrics.run_phase(Some(phase_name(entry.phase)), None);
        self.forget_waits(key, entry.timer, entry.awaits.as_deref());
        if let Some(moving) = entry.moving {
            let _ = moving.mailbox.send(Mail::Unseen);
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
    fn tell(&mut self, key: &RunKey, mail: Mail) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        match &entry.moving {
            // kept for the task that follows if this one is ending
            Some(moving) => {
                let _ = moving.mailbox.send(mail);
            }
            None => self.start(key, VecDeque::from([mail])),
        }
    }

    fn start(&mut self, key: &RunKey, first: VecDeque<Mail>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let (sender, mailbox) = mpsc::unbounded_channel();
        entry.moving = Some(Box::new(Moving {
            mailbox: sender,
            started_at: self.changes,
        }));
        // something else may have happened that makes it start at once; it is read if that does not bring it
        entry.in_line = false;
        let (timer, awaits) = (entry.timer.take(), entry.awaits.take());
        let (uid, version) = (entry.uid, entry.version);
        self.forget_waits(key, timer, awaits.as_deref());
        let actor = Actor::new(Arc::clone(&self.deps), key.clone(), uid, version, mailbox);
        let (report, key, context) = (self.report.clone(), key.clone(), Arc::clone(&self.deps.context));
        self.moving.spawn(async move {
            let message = match caught(actor.run(first)).await {
                Ok(rest) => Message::Rested(key, Box::new(rest)),
                Err(panic) => {
                    context.panicked("Run", &key, &panic);
                    Message::Broken(key, uid)
                }
            };
            // nobody listens at the end of the process
            let _ = report.send(message);
        });
    }

    fn rested(&mut self, key: &RunKey, mut rest: Rest) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.uid == rest.uid) else {
            return;
        };
        self.deps
            .metrics
            .run_phase(Some(phase_name(entry.phase)), Some(phase_name(rest.phase)));
        let started_at = entry.moving.take().map_or(0, |moving| moving.started_at);
        entry.version = rest.version;
        entry.phase = rest.phase;
        if rest.done {
            return;
        }
        // what came while it was ending
        let mut late = VecDeque::new();
        while let Ok(mail) = rest.mailbox.try_recv() {
            late.push_back(mail);
        }
        let changed = rest.awaits.as_ref().and_then(|flow| self.changed.get(flow));
        if changed.is_some_and(|change| *change > started_at) {
            late.push_back(Mail::Wake(None));
        }
        if !late.is_empty() {
            self.start(key, late);
            return;
        }
        if let Some(wake_at) = rest.wake_at {
            entry.timer = Some(self.timers.insert(key.clone(), Wake::At(wake_at)));
        }
        if let Some(flow) = rest.awaits {
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
mod tests {
    use super::*;

    #[test]
    fn a_run_that_waits_is_a_small_row() {
        let row = size_of::<RunKey>() + size_of::<Entry>();
        assert!(row <= 120, "{row} bytes");
    }
}
