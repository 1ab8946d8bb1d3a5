//! One decision of a run and what follows from it.

use std::{collections::BTreeMap, sync::Arc, time::Instant as Monotonic};

use futures::FutureExt as _;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Actor, ApprovalTask, Deciding, LONGEST_UNWRITTEN, Life, REFUSALS, Refusals, Unconfirmed, Unwritten,
    Writing, begin_write, settle::is_past,
};
use crate::{
    cluster::{error_chain, releases::LoadedRelease, run_facts::run_facts},
    runs::{
        contents, gather, kept_events, objects, pin,
        retry::{self, Earlier},
        transitions::{self, Transition},
    },
};
use signoff_api::{
    Run, RunStatus,
    concurrency::ConcurrencyStatus,
    reason::{Classified as _, ErrorClass, StepReason},
    run::{PinnedRelease, StepStatus},
};
use signoff_engine::{
    advance::{Advance, advance},
    callback_token::is_of_old_pass,
    concurrency::Place,
    contents::wanted,
    effect::Effect,
    events,
    facts::{ConnectionFact, Facts},
    heartbeat, inputs, notification,
    object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind, OwnedObject},
    retry::{RetryRefused, end_taken_over, take_over},
};

impl Actor {
    /// Decides on the acknowledged state and begins what follows.
    pub(super) async fn decide(&mut self) {
        let Some(run) = self.run.clone() else { return };
        self.dirty = false;
        self.awaits = None;
        self.wake_at = None;
        if run.metadata.deletion_timestamp.is_some() {
            self.life = Life::Gone;
            return;
        }
        if run
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_finished())
        {
            self.finish(&run);
            return;
        }
        if self.draining && self.outcomes.is_empty() {
            if self.unwritten.is_some() {
                let state = self.newest_state(&run);
                self.begin(&run, state, Vec::new());
            }
            return;
        }
        if self.refusals.count >= REFUSALS {
            let refused = pin::refused(&run, &self.refusals.why, self.deps.context.now());
            self.begin(&run, refused, Vec::new());
            return;
        }
        match pin::release(&self.deps, &run).await {
            Ok(release) => {
                // what the watch shows by now need not be remembered
                self.newer
                    .retain(|key, fact| fact.is_closed() || !objects::is_open(&self.deps, &run, key));
                let gathered = async {
                    let objects = gather::objects(&self.deps, &run, &release, &self.newer).await?;
                    let connections = gather::connections(&self.deps, &run, &release).await?;
                    let earlier = Box::pin(retry::earlier(&self.deps, &run, &release)).await?;
                    Ok::<_, kube::Error>((objects, connections, earlier))
                };
                match gathered.await {
                    Ok((objects, connections, earlier)) => {
                        let known = (run.status.as_ref(), run.inputs());
                        let wanted = wanted(&release.plan, known, &self.outcomes, &objects);
                        let loaded = contents::load(&self.deps, &run, wanted, &mut self.contents);
                        if let Err(error) = Box::pin(loaded).await {
                            self.dirty = true;
                            self.deps.metrics.reconcile_failed("Run", "Transient");
                            tracing::warn!(run = %self.key, reason = %error.reason, "the content of a resource could not be read; trying again");
                            self.retry_later();
                            return;
                        }
                        self.advance(&run, &release, (objects, connections), earlier);
                    }
                    Err(error) => {
                        self.dirty = true;
                        self.pause("an object or a connection of the run could not be read", &error);
                    }
                }
            }
            Err(why) => self.hold(&run, &why),
        }
    }

    /// Begins to make a decision.
    fn advance(
        &mut self,
        run: &Arc<Run>,
        release: &Arc<LoadedRelease>,
        (objects, connections): (BTreeMap<ObjectKey, ObjectFact>, BTreeMap<String, ConnectionFact>),
        earlier: Option<Earlier>,
    ) {
        let mut state = self.newest_state(run);
        let now = self.deps.context.now();
        // nothing is asked of the inputs of a run that is cancelled
        let is_new = state.release.is_none() && !is_stopped(run);
        state.release.get_or_insert_with(|| pinned_to(release));
        let in_flight = self.in_flight.keys().cloned().collect();
        let outcomes = self.outcomes.clone();
        let known: Vec<_> = outcomes.iter().map(|outcome| outcome.key.clone()).collect();
        let unasked = (self.refused.clone(), self.unopened.clone());
        let mut facts = gather::facts(&self.deps, run, release, objects, unasked, outcomes, in_flight);
        facts.connections = connections;
        facts.contents = self.contents.clone();
        let waiting = self.in_flight.iter().filter_map(|(key, call)| {
            let connection = call.waits_for.as_ref()?;
            Some((key.clone(), connection.clone()))
        });
        facts.waiting_calls = waiting.collect();
        // while draining, outcomes are written down and nothing new begins
        facts.run.suspend |= self.draining;
        // what was sent is settled before a run ends, and the question about it shows the request
        let under_way =
            |step: &StepStatus| (step.attempt > 0 || step.items.is_some()) && !step.phase.is_finished();
        let settles = state.steps.iter().any(under_way);
        let cancel = facts.run.cancel || facts.run.terminate;
        let last_steps = release.plan.has_finally() && !facts.run.terminate && !state.steps.is_empty();
        let may_be_answered = release.plan.hands_out_callbacks() || release.plan.awaits_events();
        let evaluates = !cancel || settles || last_steps || !known.is_empty();
        let pinned = Arc::clone(release);
        let (release, places, of) = (Arc::clone(release), Arc::clone(&self.places), Arc::clone(run));
        let decide = move || {
            let (mut state, mut facts) = (state, facts);
            let ask = |concurrency: &ConcurrencyStatus| places.ask(&of, concurrency);
            decide(&release, is_new, (&mut state, &mut facts), earlier, ask, now)
        };
        let result = if evaluates {
            let (context, namespace) = (Arc::clone(&self.deps.context), self.key.namespace().to_owned());
            async move {
                if cancel {
                    context.evaluate_first(&namespace, decide).await
                } else {
                    context.evaluate(&namespace, decide).await
                }
            }
            .boxed()
        } else {
            std::future::ready(decide()).boxed()
        };
        self.deciding = Some(Deciding {
            run: Arc::clone(run),
            release: pinned,
            outcomes: known,
            draining: self.draining,
            may_be_answered,
            result,
        });
    }

    /// The state that was decided last, with what the gateway has written since.
    fn newest_state(&mut self, run: &Run) -> RunStatus {
        let written = run.status.clone().unwrap_or_default();
        // if somebody else wrote meanwhile, the passes since are done again
        self.unwritten
            .take_if(|unwritten| unwritten.revision != written.revision);
        match &self.unwritten {
            Some(unwritten) => RunStatus {
                callbacks: written.callbacks,
                heartbeats: written.heartbeats,
                events: written.events,
                notifications: written.notifications,
                has_notifications: written.has_notifications,
                ..unwritten.state.clone()
            },
            None => written,
        }
    }

    /// Until when a decision may stay unwritten, if it may.
    fn may_stay_unwritten(&self, run: &Run, advanced: &Advance, then: &[Effect]) -> Option<Instant> {
        let now = Instant::now();
        let until = match &self.unwritten {
            Some(unwritten) => unwritten.until,
            None if run.status.as_ref() == Some(&advanced.state) => return None,
            None => now + LONGEST_UNWRITTEN,
        };
        let is_written = run.status.is_some();
        (is_written && advanced.is_deferrable && then.is_empty() && !self.draining && until > now)
            .then_some(until)
    }

    /// Keeps a state that is not written now. Says whether it is a new one.
    fn keep_unwritten(&mut self, run: &Run, state: RunStatus, until: Instant) -> bool {
        let known = self.unwritten.as_ref().map(|unwritten| &unwritten.state);
        let is_new = known != Some(&state);
        self.outcomes.retain(|outcome| !is_past(&state, &outcome.key));
        self.dirty |= is_new && !self.outcomes.is_empty();
        self.unwritten = Some(Unwritten {
            revision: run.status.as_ref().map_or(0, |status| status.revision),
            state,
            until,
        });
        is_new
    }

    /// A decision was made: begins what follows.
    pub(super) fn decided(&mut self, decided: Decided) {
        let Some(deciding) = self.deciding.take() else {
            return;
        };
        self.places.looked_at(&self.key, self.uid);
        let revision = |run: &Run| run.status.as_ref().map(|status| status.revision);
        let current = self.run.clone();
        let current = current.filter(|current| revision(current) == revision(&deciding.run));
        let Some(run) = current.filter(|_| deciding.draining == self.draining) else {
            // it was about another state, or about beginning what may not begin any more
            self.dirty = true;
            return;
        };
        // what came meanwhile is decided on next
        self.dirty |= !Arc::ptr_eq(&run, &deciding.run);
        let mut advanced = match decided {
            Decided::Advanced(advanced) => *advanced,
            Decided::Unfit(reason, message) => {
                let now = self.deps.context.now();
                let mut unfit = pin::unfit(&run, reason, &message, now);
                tell_end(&deciding.release, &run, &mut unfit, now);
                self.begin(&run, unfit, Vec::new());
                return;
            }
            // it is woken when that is decided
            Decided::PlaceUndecided => return,
        };
        leave_out_sent(&mut advanced.state, &deciding.run, &run);
        self.wake_at = advanced.wake_at;
        let was_ending = run.status.as_ref().is_some_and(|status| status.ending.is_some());
        if advanced.state.ending.is_some() && !was_ending {
            // what the run does at its end is sent
            std::mem::take(&mut self.ending).cancel();
        }
        let calls = advanced
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Call(_)));
        if !calls && !advanced.state.phase.is_finished() {
            // what it went on to is not an effect, so there is nothing to measure
            self.resumed = None;
        }
        // whoever is called may call back or cause an event at once, and the gateway must know the run by then
        let is_known = run.status.as_ref().is_some_and(|status| status.release.is_some());
        let begins_to_wait = !events::begun(run.status.as_ref(), &advanced.state).is_empty();
        let may_call_unknown = (is_known || !deciding.may_be_answered) && !begins_to_wait;
        let (at_once, acknowledged): (Vec<_>, Vec<_>) = advanced
            .effects
            .drain(..)
            .partition(|effect| may_start_unwritten(effect, may_call_unknown));
        if self.awaits_opening(&at_once) {
            // what is decided when it is there is written in its place
            return self.perform(&run, at_once);
        }
        let is_new = match self.may_stay_unwritten(&run, &advanced, &acknowledged) {
            Some(until) => self.keep_unwritten(&run, advanced.state, until),
            None => self.begin(&run, advanced.state, acknowledged),
        };
        if !is_new {
            // no state can make use of them
            self.outcomes
                .retain(|outcome| !deciding.outcomes.contains(&outcome.key));
        }
        self.perform(&run, at_once);
    }

    /// Whether an object is about to be created of which the state to be written is to say that it is there. If that
    /// failed before, the state says what it says without.
    fn awaits_opening(&self, effects: &[Effect]) -> bool {
        let is_new = |effect: &Effect| match effect {
            // there may always be another item that is about to begin
            Effect::Open(OwnedObject::Run(wanted)) if wanted.parent.item.is_some() => false,
            Effect::Open(OwnedObject::Job(wanted)) if wanted.item.is_some() => false,
            Effect::Open(wanted) => !self.newer.contains_key(&wanted.key()),
            Effect::Call(_) | Effect::Close(_) | Effect::Abort(_) => false,
        };
        self.failures == 0 && effects.iter().any(is_new)
    }

    /// Begins to write the next state if it is another one. What depends on the write follows it, or starts at once without one.
    fn begin(&mut self, run: &Arc<Run>, mut next: RunStatus, then: Vec<Effect>) -> bool {
        self.unwritten = None;
        let current = run.status.as_ref();
        next.revision = current.map_or(0, |status| status.revision);
        next.callbacks = current.map(|status| status.callbacks.clone()).unwrap_or_default();
        next.heartbeats = current
            .map(|status| status.heartbeats.clone())
            .unwrap_or_default();
        next.events = current.map(|status| status.events.clone()).unwrap_or_default();
        let of_old_passes: Vec<String> = next
            .callbacks
            .keys()
            .filter(|key| is_of_old_pass(&next, key))
            .cloned()
            .collect();
        for key in of_old_passes {
            next.callbacks.remove(&key);
        }
        if current == Some(&next) {
            self.perform(run, then);
            return false;
        }
        // they alone are not worth a write
        heartbeat::forget_ended(&mut next);
        events::forget_ended(&mut next);
        next.revision = next.revision.checked_add(1).unwrap_or(1);
        let result = begin_write(&self.deps, run, &next);
        self.writing = Some(Writing {
            before: Arc::clone(run),
            next,
            result,
            then,
            began: Instant::now(),
        });
        true
    }

    /// There is no release to go on with: says so, once.
    fn hold(&mut self, run: &Arc<Run>, why: &pin::Unpinned) {
        self.deps.metrics.reconcile_failed("Run", class_name(why.class()));
        if why.class() == ErrorClass::Transient {
            tracing::warn!(run = %self.key, error = %error_chain(why), "the run could not be pinned; trying again");
            self.retry_later();
            return;
        }
        self.awaits = Some(pin::awaited(run));
        let held = pin::held(run, why, self.deps.context.now());
        self.begin(run, held, Vec::new());
    }

    /// A state was acknowledged.
    pub(super) fn acknowledged(&mut self, before: &Run, run: Run, then: Vec<Effect>) {
        self.failures = 0;
        self.refusals = Refusals::default();
        self.dirty |= self.retry_at.take().is_some();
        let asked_anew = before.spec != run.spec;
        let before = before.status.as_ref();
        let run = self.know(run);
        let Some(after) = &run.status else { return };
        self.outcomes.retain(|outcome| !is_past(after, &outcome.key));
        for key in std::mem::take(&mut self.left_early) {
            self.newer.remove(&key);
            self.dirty = true;
        }
        self.dirty |= asked_anew || !self.outcomes.is_empty() || after.phase.is_finished();
        for told in transitions::between(before, after) {
            self.tell(&run, told);
        }
        let begun = events::begun(before, after);
        if !begun.is_empty() {
            let deps = Arc::clone(&self.deps);
            let (run, hashes) = (self.key.clone(), begun.into_iter().collect());
            self.approval_tasks.spawn(async move {
                kept_events::give(&deps, &run, hashes).await;
                ApprovalTask::Told
            });
        }
        // what it holds a place for begins now
        let held_since = |status: &RunStatus| status.concurrency.as_ref()?.held_since.clone();
        self.dirty |= after.started_at.is_none() && held_since(after) != before.and_then(held_since);
        if after.phase.is_finished() && !before.is_some_and(|status| status.phase.is_finished()) {
            self.places.left(&self.key, self.uid);
            self.deps.waker.child_ended(&run);
            self.deps.metrics.run_finished(phase_name(after.phase));
            self.observe_resumption();
            tracing::info!(run = %self.key, phase = %after.phase, "the run has ended");
        }
        self.perform(&run, then);
    }

    /// Finds out what became of a write whose answer was lost or was a refusal.
    pub(super) fn confirm(&mut self) {
        let Some(Unconfirmed {
            before,
            next,
            then,
            refused,
        }) = self.unconfirmed.take()
        else {
            return;
        };
        let Some(run) = self.run.clone() else { return };
        let applied = run.status.clone().is_some_and(|mut status| {
            status.callbacks.clone_from(&next.callbacks);
            status.heartbeats.clone_from(&next.heartbeats);
            status.events.clone_from(&next.events);
            status.notifications.clone_from(&next.notifications);
            status.has_notifications = next.has_notifications;
            status == next
        });
        if applied {
            return self.acknowledged(&before, (*run).clone(), then);
        }
        let revision = |run: &Run| run.status.as_ref().map(|status| status.revision);
        // where nobody else has written, it was not a conflict
        match refused.filter(|_| revision(&before) == revision(&run)) {
            Some(why) => {
                self.refusals.count = self.refusals.count.saturating_add(1);
                self.refusals.why = why;
            }
            None => self.refusals = Refusals::default(),
        }
    }

    /// Begins effects. One that is under way, or whose outcome is known but not yet written, is not begun again.
    fn perform(&mut self, run: &Arc<Run>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call(call) => self.call(run, *call),
                Effect::Open(wanted) => {
                    let key = wanted.key();
                    // one that does not wait for a write is not fenced by it
                    if wanted.is_named_when_there() && !self.deps.leadership.is_held() {
                        continue;
                    }
                    if self.busy_objects.insert(key.clone()) {
                        let (deps, run) = (Arc::clone(&self.deps), Arc::clone(run));
                        self.approval_tasks.spawn(async move {
                            let result = objects::open(&deps, &run, &wanted).await;
                            ApprovalTask::Opened(key, result)
                        });
                    }
                }
                Effect::Close(wanted) => self.close(run, wanted),
                Effect::Abort(key) => {
                    if let Some(call) = self.in_flight.remove(&key) {
                        call.task.abort();
                    }
                }
            }
        }
    }

    /// The run has ended: stops what is under way and closes what is open. A crash in between is made good by a sweep at the next start.
    fn finish(&mut self, run: &Arc<Run>) {
        self.effects.abort_all();
        self.in_flight.clear();
        self.outcomes.clear();
        let steps = run.status.iter().flat_map(|status| &status.steps);
        let open: Vec<ObjectKey> = steps
            .filter_map(ObjectKey::of)
            // the run has ended after those that it started
            .filter(|key| match key.kind {
                ObjectKind::Approval | ObjectKind::WorkItem | ObjectKind::Job => true,
                ObjectKind::Run | ObjectKind::Process => false,
            })
            .filter(|key| match self.newer.get(key) {
                Some(fact) => !fact.is_closed(),
                None => objects::is_open(&self.deps, run, key),
            })
            .collect();
        for key in open {
            let message = "the run has ended".to_owned();
            self.close(
                run,
                CloseObject {
                    key,
                    closing: Closing::Cancelled,
                    message,
                },
            );
        }
        if self.busy_objects.is_empty() {
            self.life = Life::Done;
        }
    }

    /// Lets people know, by an Event.
    pub(super) fn tell(&mut self, run: &Arc<Run>, told: Transition) {
        let (context, run) = (Arc::clone(&self.deps.context), Arc::clone(run));
        self.approval_tasks.spawn(async move {
            context.event(&*run, told.type_, told.reason, &told.note).await;
            ApprovalTask::Told
        });
    }

    pub(super) fn observe_resumption(&mut self) {
        if let Some((after, since)) = self.resumed.take() {
            self.deps
                .metrics
                .resumed(after, Monotonic::now().duration_since(since.into_std()));
        }
    }
}

/// Whether somebody has stopped the run.
pub(in crate::runs) fn is_stopped(run: &Run) -> bool {
    run.spec.cancel == Some(true) || run.spec.terminate == Some(true)
}

/// What a decision came to.
pub(super) enum Decided {
    Advanced(Box<Advance>),
    /// It cannot begin: the inputs do not fit the release, it has no key, or the run that it retries cannot be retried.
    Unfit(StepReason, String),
    /// It is not known yet whether there is a place for it.
    PlaceUndecided,
}

/// Decides: all that takes as long as whoever wrote the flow, or started the run, makes it take.
fn decide(
    release: &LoadedRelease,
    is_new: bool,
    (state, facts): (&mut RunStatus, &mut Facts),
    earlier: Option<Earlier>,
    ask: impl FnOnce(&ConcurrencyStatus) -> Option<Place>,
    now: Timestamp,
) -> Decided {
    if is_new {
        match inputs::complete(&release.definition, &facts.run.inputs) {
            Err(message) => return Decided::Unfit(StepReason::InvalidInputs, message),
            Ok(completed) if completed == facts.run.inputs => {}
            Ok(completed) => {
                facts.run.inputs = completed.clone();
                state.inputs = Some(completed);
            }
        }
        let taken_over = earlier.map(|earlier| take_over_from(release, state, facts, earlier));
        if let Some(Err(refused)) = taken_over {
            return Decided::Unfit(StepReason::RetryRefused, refused.to_string());
        }
        if end_taken_over(state, facts.run.generation, now) {
            notification::note_end(&release.plan, &facts.run, state, now);
            return Decided::Advanced(Box::new(advance(&release.plan, state, facts, now)));
        }
        match release.plan.concurrency_of(facts) {
            Err((reason, message)) => return Decided::Unfit(reason, message),
            Ok(concurrency) => state.concurrency = concurrency,
        }
    }
    // one that is suspended begins nothing, and others pass it
    let wants_place = state.started_at.is_none()
        && !(facts.run.cancel || facts.run.terminate || facts.run.suspend)
        && state.ending.is_none();
    if let Some(concurrency) = state.concurrency.as_ref().filter(|_| wants_place) {
        match ask(concurrency) {
            Some(place) => facts.place = place,
            None => return Decided::PlaceUndecided,
        }
    }
    Decided::Advanced(Box::new(advance(&release.plan, state, facts, now)))
}

/// A release, as a run that is pinned to it says.
fn pinned_to(release: &LoadedRelease) -> PinnedRelease {
    PinnedRelease {
        name: release.facts.name.clone(),
        digest: release.facts.digest.clone(),
        commit: release.facts.commit.clone(),
    }
}

/// Has people told of a run that cannot begin, if its flow says so.
fn tell_end(release: &LoadedRelease, run: &Run, state: &mut RunStatus, now: Timestamp) {
    notification::note_end(&release.plan, &run_facts(run), state, now);
    if state.has_notifications == Some(true) {
        // it says which words are sent
        state.release.get_or_insert_with(|| pinned_to(release));
    }
}

/// Leaves out of a decision the messages that were sent while it was made. `of` is the run that was decided on, `now` as it
/// is now.
fn leave_out_sent(state: &mut RunStatus, of: &Run, now: &Run) {
    let pending = |run: &Run| run.status.as_ref().map(|status| status.notifications.clone());
    let (before, now_pending) = (pending(of).unwrap_or_default(), pending(now).unwrap_or_default());
    if before == now_pending {
        return;
    }
    let notifications = &mut state.notifications;
    notifications.retain(|key, _| !before.contains_key(key) || now_pending.contains_key(key));
    state.has_notifications = (!notifications.is_empty()).then_some(true);
}

/// Takes over what stands of the run that a new run retries.
fn take_over_from(
    release: &LoadedRelease,
    state: &mut RunStatus,
    facts: &Facts,
    (from, earlier): Earlier,
) -> Result<(), RetryRefused> {
    let same = (&release.facts.digest, &facts.run.inputs);
    take_over(&release.plan, from.as_deref(), &earlier?, same, state)
}

/// What may be repeated need not wait for the write, unless nothing may be called before it. Objects that the state names first wait, so that a
/// state that was refused leaves none behind.
fn may_start_unwritten(effect: &Effect, may_call: bool) -> bool {
    match effect {
        Effect::Call(call) => may_call && !call.fenced,
        Effect::Abort(_) => true,
        Effect::Open(wanted) => may_call && wanted.is_named_when_there(),
        Effect::Close(_) => false,
    }
}

/// The run was to end before a call was made.
fn class_name(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "Transient",
        ErrorClass::Waiting => "Waiting",
        ErrorClass::Invalid => "Invalid",
    }
}

/// The phase as a metric's label.
pub(in crate::runs) fn phase_name(phase: signoff_api::RunPhase) -> &'static str {
    use signoff_api::RunPhase as P;
    match phase {
        P::Pending => "Pending",
        P::Queued => "Queued",
        P::Running => "Running",
        P::Waiting => "Waiting",
        P::Succeeded => "Succeeded",
        P::Failed => "Failed",
        P::Rejected => "Rejected",
        P::TimedOut => "TimedOut",
        P::Cancelled => "Cancelled",
    }
}
