//! One run while it moves: takes in what happened, decides, writes, performs, and rests when there is nothing to do.
//!
//! * At most one status write is in flight; what happens meanwhile goes into the next one.
//! * An effect that may be repeated starts beside the write; one that may not starts only when its intent is acknowledged. Where others may
//!   call back, the first write comes before every call: the gateway takes no callback for a run that has no release yet.
//! * What came of an effect is kept until a state that knows it is acknowledged, whatever happens to writes in between.

mod calls;
mod decide;
mod leave;
mod owned_objects;
mod settle;

use self::decide::Decided;
pub(super) use self::decide::{is_stopped, phase_name};

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Deps, FlowKey, RunKey, objects::ObjectError, places::Places, write};
use crate::{
    cluster::{
        backoff::Backoff, error_chain, fairness::Permit, object_key::UidMark, parts::rethrow,
        releases::LoadedRelease, status::is_missing,
    },
    telemetry::metrics::Resumption,
};
use signoff_api::{Run, RunPhase, RunStatus, run::StepPhase};
use signoff_engine::{
    callback_token::record_key,
    effect::{Effect, EffectKey},
    facts::{ApprovalFact, Contents, EffectError, EffectOutcome, Response, RunFact, WorkFact},
    object::{ObjectFact, ObjectKey},
};

/// Pauses between attempts to write or read.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(15),
};
/// How often in a row the API server must refuse the same state for its content until the run is ended: what it takes may be changing.
const REFUSALS: u32 = 3;
/// How long a call waits for its turn until people are told.
const TOLD_OF_TURN: Duration = Duration::from_secs(10);
/// How long passes of a poll may be unwritten.
const LONGEST_UNWRITTEN: Duration = Duration::from_mins(1);
/// Longest pause before the clock is looked at again: it may be set, and the machine may sleep.
const LONGEST_LOOK: Duration = Duration::from_mins(1);

/// An Approval that was judged in this process.
#[derive(Debug)]
pub(super) struct Judged {
    /// Its name.
    pub approval: String,
    pub fact: ApprovalFact,
    /// The run as it was read meanwhile.
    pub run: Option<Run>,
    /// When the deciding Decision was seen.
    pub since: Option<Instant>,
}

/// What a run is told.
#[derive(Debug)]
pub(super) enum RunEvent {
    /// The watch shows it like this. A new one has a turn, which ends when it has nothing to write.
    Changed(Box<Run>, Option<Permit>),
    /// It is new and has a turn, and is to be read.
    Read(Permit),
    /// The watch shows it no more: it is gone, or it has ended.
    LeftWatch,
    /// Something it may be waiting for has changed.
    Wake(Option<(Resumption, Instant)>),
    /// An Approval of it was judged; the watch will show the same.
    Judged(Box<Judged>),
    /// A run that it started and waits for has ended.
    ChildEnded(String, Box<RunFact>),
    /// A run that it started and waits for is gone, or has ended elsewhere.
    ChildLeft(String),
    /// A task of it is over.
    WorkIsOver(String, Box<WorkFact>),
    /// Start nothing more; write down what comes of what is under way.
    Drain,
}

/// What is left of a run that rests.
#[derive(Debug)]
pub(super) struct ParkedRun {
    pub uid: UidMark,
    /// Newest resource version known; nothing up to it is news.
    pub version: u64,
    pub phase: RunPhase,
    /// When it goes on by itself.
    pub wake_at: Option<Timestamp>,
    /// The flow whose change it waits for, when it has no release to go on with.
    pub awaits: Option<FlowKey>,
    /// Whether nothing will ever be done for it again.
    pub done: bool,
    pub mailbox: UnboundedReceiver<RunEvent>,
}

/// Whether anything is still to be done for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Going,
    /// It has ended, and what was open for it is closed.
    Done,
    /// It is not there any more.
    Gone,
}

/// A decision that is being made, on a thread of its own: it evaluates what whoever wrote the flow wrote.
struct Deciding {
    /// The run that is decided on.
    run: Arc<Run>,
    /// Its release.
    release: Arc<LoadedRelease>,
    /// The outcomes that were known.
    outcomes: Vec<EffectKey>,
    draining: bool,
    /// Whether what is called may call back, or cause an event that a step waits for.
    may_be_answered: bool,
    result: BoxFuture<'static, Decided>,
}

/// A state that is not written yet: passes of a poll came since the last write.
struct Unwritten {
    /// Revision of the state that it goes on from.
    revision: i64,
    state: RunStatus,
    /// When it is written at the latest.
    until: Instant,
}

/// A status write and what depends on it.
struct Writing {
    /// The run as it was; the watch may show what is written before the answer comes.
    before: Arc<Run>,
    next: RunStatus,
    result: BoxFuture<'static, Result<Run, kube::Error>>,
    /// What may start only when the write is acknowledged.
    then: Vec<Effect>,
    began: Instant,
}

/// A write of which it is not known whether it was applied.
struct Unconfirmed {
    before: Arc<Run>,
    next: RunStatus,
    then: Vec<Effect>,
    /// Why the API server refused its content, if it did.
    refused: Option<String>,
}

/// Refusals of a state for its content, one after another.
#[derive(Debug, Default)]
struct Refusals {
    count: u32,
    /// What the API server said last.
    why: String,
}

enum ApprovalTask {
    Opened(ObjectKey, Result<ObjectFact, ObjectError>),
    Closed(ObjectKey, Result<Option<ObjectFact>, ObjectError>),
    /// People were told of a transition, or waits were given the events that were kept for them.
    Told,
}

/// A call that is under way.
struct InFlight {
    task: AbortHandle,
    /// Whether it must not be repeated.
    fenced: bool,
    /// The Connection for which it has waited so long that people are told.
    waits_for: Option<String>,
}

/// A call has waited long for its turn, or has it since.
enum TurnEvent {
    WaitsFor(EffectKey, String, CancellationToken),
    Over(EffectKey),
}

type Performed = (EffectKey, Timestamp, Result<Response, EffectError>);

pub(super) struct Actor {
    deps: Arc<Deps>,
    places: Arc<Places>,
    key: RunKey,
    uid: UidMark,
    mailbox: UnboundedReceiver<RunEvent>,
    /// The run as last acknowledged by the API server; nothing when it must be read first.
    run: Option<Arc<Run>>,
    version: u64,
    phase: RunPhase,
    life: Life,
    draining: bool,
    /// Whether there may be something to decide.
    dirty: bool,
    outcomes: Vec<EffectOutcome>,
    effects: JoinSet<Performed>,
    in_flight: BTreeMap<EffectKey, InFlight>,
    /// Calls that wait for a turn to go through a Connection with limits.
    turns: JoinSet<TurnEvent>,
    /// Cancelled when the run is to end: what still waits for a permit is not sent.
    ending: CancellationToken,
    approval_tasks: JoinSet<ApprovalTask>,
    /// Objects that are being opened or closed.
    busy_objects: BTreeSet<ObjectKey>,
    /// Objects known more recently than the watch shows them.
    newer: BTreeMap<ObjectKey, ObjectFact>,
    /// Runs that were gone before it was known here that they were there.
    left_early: BTreeSet<ObjectKey>,
    deciding: Option<Deciding>,
    /// Contents of resources that expressions read.
    contents: Contents,
    /// Objects that the API server refuses to create, with its reason.
    refused: BTreeMap<ObjectKey, String>,
    /// Objects that could not be created so far, with the reason.
    unopened: BTreeMap<ObjectKey, String>,
    writing: Option<Writing>,
    unwritten: Option<Unwritten>,
    /// What waits for a write whose acknowledgement was lost.
    unconfirmed: Option<Unconfirmed>,
    refusals: Refusals,
    failures: u32,
    retry_at: Option<Instant>,
    wake_at: Option<Timestamp>,
    awaits: Option<FlowKey>,
    resumed: Option<(Resumption, Instant)>,
    /// Whether the watch shows it no more.
    left_watch: bool,
    /// Held until there is nothing to write for the first time.
    turn: Option<Permit>,
}

impl Actor {
    pub(super) fn new(
        (deps, places): (Arc<Deps>, Arc<Places>),
        key: RunKey,
        uid: UidMark,
        version: u64,
        mailbox: UnboundedReceiver<RunEvent>,
    ) -> Self {
        Self {
            deps,
            places,
            key,
            uid,
            mailbox,
            run: None,
            version,
            phase: RunPhase::Pending,
            life: Life::Going,
            draining: false,
            dirty: true,
            outcomes: Vec::new(),
            effects: JoinSet::new(),
            in_flight: BTreeMap::new(),
            turns: JoinSet::new(),
            ending: CancellationToken::new(),
            approval_tasks: JoinSet::new(),
            busy_objects: BTreeSet::new(),
            newer: BTreeMap::new(),
            left_early: BTreeSet::new(),
            deciding: None,
            contents: Contents::new(),
            refused: BTreeMap::new(),
            unopened: BTreeMap::new(),
            writing: None,
            unwritten: None,
            unconfirmed: None,
            refusals: Refusals::default(),
            failures: 0,
            retry_at: None,
            wake_at: None,
            awaits: None,
            resumed: None,
            left_watch: false,
            turn: None,
        }
    }

    /// Drives the run until it rests.
    pub(super) async fn run(mut self, first: VecDeque<RunEvent>) -> ParkedRun {
        for event in first {
            self.take(event);
        }
        loop {
            while let Ok(event) = self.mailbox.try_recv() {
                self.take(event);
            }
            if self.life == Life::Gone || self.is_lost() {
                self.leave().await;
                return self.parked_run();
            }
            if self.may_decide() {
                if self.run.is_none() {
                    self.read().await;
                } else {
                    self.decide().await;
                }
                continue;
            }
            if self.is_idle() {
                return self.parked_run();
            }
            if self.deciding.is_none() && self.writing.is_none() && self.approval_tasks.is_empty() {
                self.turn = None;
            }
            self.wait().await;
        }
    }

    fn may_decide(&self) -> bool {
        self.dirty
            && self.life == Life::Going
            && self.deciding.is_none()
            && self.writing.is_none()
            && self.retry_at.is_none()
    }

    /// Whether it left the watch without having ended, as far as the last answer says.
    fn is_lost(&self) -> bool {
        self.left_watch && self.writing.is_none() && self.run.is_some() && !self.phase.is_finished()
    }

    fn is_idle(&self) -> bool {
        self.deciding.is_none()
            && self.writing.is_none()
            && self.effects.is_empty()
            && self.approval_tasks.is_empty()
            && self.retry_at.is_none()
            && (self.life != Life::Going || !self.dirty && self.unwritten.is_none())
    }

    /// Waits for the next thing to happen and takes it in.
    async fn wait(&mut self) {
        let unwritten = self.unwritten.as_ref().filter(|_| self.deciding.is_none());
        let until = unwritten.map(|unwritten| unwritten.until);
        let timer = self.own_timer().into_iter().chain(until).min();
        let timer = self.retry_at.or(timer);
        tokio::select! {
            // nothing more is told of a run that the watch shows no more
            event = self.mailbox.recv(), if !self.left_watch => self.take(event.unwrap_or(RunEvent::LeftWatch)),
            decided = async { match &mut self.deciding {
                Some(deciding) => (&mut deciding.result).await,
                None => std::future::pending().await,
            } } => self.decided(decided),
            result = async { match &mut self.writing {
                Some(writing) => (&mut writing.result).await,
                None => std::future::pending().await,
            } } => self.written(result),
            Some(performed) = self.effects.join_next() => {
                match performed {
                    Ok((key, at, result)) => {
                        self.in_flight.remove(&key);
                        self.outcomes.push(EffectOutcome { key, at, result });
                        self.dirty = true;
                    }
                    // one that was aborted has no outcome; one that broke is like a crash of this process
                    Err(broken) => rethrow(broken),
                }
            }
            Some(turn) = self.turns.join_next() => match turn {
                Ok(turn) => self.turn_event(turn),
                Err(broken) => rethrow(broken),
            },
            Some(approval_task) = self.approval_tasks.join_next() => {
                match approval_task {
                    Ok(approval_task) => self.approval_task_done(approval_task),
                    Err(broken) => rethrow(broken),
                }
            }
            () = async { match timer {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            } } => {
                self.retry_at = None;
                self.dirty = true;
            }
        }
    }

    /// While effects keep it from resting, the run minds its own clock.
    fn own_timer(&self) -> Option<Instant> {
        let wake_at = self.wake_at?;
        let now = self.deps.context.now();
        let left = wake_at.duration_since(now).unsigned_abs().min(LONGEST_LOOK);
        let overdue = wake_at <= now;
        // a write in flight decides anew when it is acknowledged
        (self.writing.is_none() || !overdue)
            .then(|| Instant::now() + if overdue { Duration::ZERO } else { left })
    }

    fn take(&mut self, event: RunEvent) {
        match event {
            RunEvent::Changed(run, turn) => {
                self.turn = turn.or(self.turn.take());
                self.changed(*run);
            }
            RunEvent::Read(turn) => self.turn = Some(turn),
            RunEvent::LeftWatch => self.left_watch = true,
            RunEvent::Wake(resumed) => {
                self.resumed = self.resumed.or(resumed);
                self.dirty = true;
            }
            RunEvent::Judged(judged) => {
                let Judged {
                    approval,
                    fact,
                    run,
                    since,
                } = *judged;
                if fact.status.phase.is_closed()
                    && let Some(since) = since
                {
                    self.resumed.get_or_insert((Resumption::Decision, since));
                }
                let key = ObjectKey::approval(approval);
                self.newer.insert(key, ObjectFact::Approval(Box::new(fact)));
                self.dirty = true;
                if let Some(run) = run {
                    self.changed(run);
                }
            }
            RunEvent::ChildEnded(name, fact) => {
                self.newer.insert(ObjectKey::run(name), ObjectFact::Run(*fact));
                self.dirty = true;
            }
            RunEvent::WorkIsOver(name, fact) => {
                self.newer
                    .insert(ObjectKey::work_item(name), ObjectFact::WorkItem(fact));
                self.dirty = true;
            }
            RunEvent::ChildLeft(name) => {
                let key = ObjectKey::run(name);
                // it is read, once the state names it
                self.newer.remove(&key);
                if self.busy_objects.contains(&key) {
                    self.left_early.insert(key);
                }
                self.dirty = true;
            }
            RunEvent::Drain => {
                self.draining = true;
                self.dirty |= self.unwritten.is_some();
            }
        }
    }

    fn changed(&mut self, run: Run) {
        if UidMark::of_object(&run) != self.uid {
            self.life = Life::Gone;
            return;
        }
        // what was read or written since is newer than the watch; and a write in doubt is settled by reading only
        let newer = version_of(&run) > self.version || self.run.is_none();
        if newer && self.unconfirmed.is_none() {
            let stopped = decide::is_stopped(&run);
            let terminated = run.spec.terminate == Some(true);
            self.know(run);
            self.dirty = true;
            // a run that is stopped does not wait for what was being decided before
            if let Some(deciding) = &self.deciding
                && (stopped && !decide::is_stopped(&deciding.run)
                    || terminated && deciding.run.spec.terminate != Some(true))
            {
                self.deciding = None;
            }
        }
    }

    /// Takes the run as the API server has it.
    fn know(&mut self, run: Run) -> Arc<Run> {
        if let Some(newer) = self
            .run
            .as_ref()
            .filter(|known| version_of(known) > version_of(&run))
        {
            return Arc::clone(newer);
        }
        self.version = self.version.max(version_of(&run));
        self.phase = run.status.as_ref().map(|status| status.phase).unwrap_or_default();
        if run.status.as_ref().is_some_and(has_awaited_answer) {
            self.resumed.get_or_insert((Resumption::Callback, Instant::now()));
            self.dirty = true;
        }
        let run = Arc::new(run);
        self.run = Some(Arc::clone(&run));
        run
    }

    /// Reads the run afresh: at the start of a move, after a conflict, after an answer was lost.
    async fn read(&mut self) {
        match self
            .deps
            .context
            .namespaced::<Run>(self.key.namespace())
            .get_opt(self.key.name())
            .await
        {
            Ok(Some(run)) if UidMark::of_object(&run) == self.uid => {
                self.know(run);
                self.confirm();
            }
            Ok(_) => self.life = Life::Gone,
            Err(error) => self.pause("the run could not be read", &error),
        }
    }

    fn written(&mut self, result: Result<Run, kube::Error>) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        self.deps.metrics.reconciled("Run", writing.began.elapsed());
        match result {
            Ok(run) => self.acknowledged(&writing.before, run, writing.then),
            Err(error) if is_missing(&error) => self.life = Life::Gone,
            Err(error) => {
                // whether or not it was applied, only the API server knows: ask it before deciding again
                if matches!(&error, kube::Error::Api(status) if status.code == 409 || status.code == 422) {
                    self.deps.metrics.api_conflict("runs");
                    // a first conflict is news from elsewhere; one after another is something wrong
                    if self.failures > 0 {
                        self.pause("the run's status was not accepted", &error);
                    } else {
                        self.failures = 1;
                    }
                } else {
                    self.pause("the run's status could not be written", &error);
                }
                self.unconfirmed = Some(Unconfirmed {
                    before: writing.before,
                    next: writing.next,
                    then: writing.then,
                    refused: refusal_of_content(&error),
                });
                self.run = None;
                self.dirty = true;
            }
        }
    }

    fn pause(&mut self, what: &str, error: &kube::Error) {
        self.deps.metrics.reconcile_failed("Run", "Transient");
        tracing::warn!(run = %self.key, error = %error_chain(error), failures = self.failures, "{what}; trying again");
        self.retry_later();
    }

    fn retry_later(&mut self) {
        // others do not wait for it
        self.places.looked_at(&self.key, self.uid);
        self.failures += 1;
        self.retry_at = Some(Instant::now() + PAUSES.after(self.failures));
    }

    fn parked_run(self) -> ParkedRun {
        ParkedRun {
            uid: self.uid,
            version: self.version,
            phase: self.phase,
            wake_at: self.wake_at,
            awaits: self.awaits,
            done: self.life != Life::Going,
            mailbox: self.mailbox,
        }
    }
}

/// What the API server says of a state that its schema does not take. A test of a patch that fails has no causes.
fn refusal_of_content(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let has_causes = status
        .details
        .as_ref()
        .is_some_and(|details| !details.causes.is_empty());
    (status.code == 422 && has_causes).then(|| status.message.clone())
}

/// Whether a step waits for a callback or an event that has come.
fn has_awaited_answer(status: &RunStatus) -> bool {
    let waits = status
        .steps
        .iter()
        .filter(|step| step.phase == StepPhase::Waiting);
    let mut keys = waits.map(|step| record_key(&step.name, step.iteration, step.item));
    let has_answers = !(status.callbacks.is_empty() && status.events.is_empty());
    has_answers && keys.any(|key| status.callbacks.contains_key(&key) || status.events.contains_key(&key))
}

/// The resource version as a number; 0, which is never news, if it is none.
pub(super) fn version_of(run: &Run) -> u64 {
    run.resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

fn begin_write(
    deps: &Arc<Deps>,
    run: &Arc<Run>,
    next: &RunStatus,
) -> BoxFuture<'static, Result<Run, kube::Error>> {
    let (deps, run, next) = (Arc::clone(deps), Arc::clone(run), next.clone());
    // a task of its own, so that it goes on while the run waits for other things
    let task = tokio::spawn(async move {
        let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
        let _permit = deps.bounds.writes.acquire(namespace).await;
        write::status(&deps.context, &run, &next).await
    });
    Box::pin(async move {
        match task.await {
            Ok(result) => result,
            Err(error) => Err(kube::Error::Service(Box::new(error))),
        }
    })
}

#[cfg(test)]
mod tests;
