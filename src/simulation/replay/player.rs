//! Lets the engine decide anew, at the times of the record, with what the record says of others.

mod agents;
mod answers;
mod gaps;
mod jobs;
mod questions;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{
    Difference, Replay,
    compare::Played,
    recorded::{EntryKey, Found, Index, Recorded, key_of, status},
};
use crate::simulation::world::{Question, callbacks};
use signoff_api::{
    Digest, RunStatus, canonical,
    concurrency::ConcurrencyStatus,
    json::JsonObject,
    reason::StepReason,
    run::{StepPhase, StepStatus},
};
use signoff_engine::{
    advance::advance,
    concurrency::{Holders, Place},
    contents,
    effect::{Call, CallPart, Effect, EffectKey},
    facts::{ConnectionFact, Facts, ProcessFact, ReleaseFacts, RunFacts},
    inputs,
    object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind, OwnedObject, StartRun},
    plan::Plan,
};

/// Most decisions at one moment.
const MAX_TURNS: usize = 20_000;

pub(super) struct Player<'a> {
    recorded: &'a Recorded,
    index: Index,
    plan: Plan,
    state: RunStatus,
    facts: Facts,
    now: Timestamp,
    /// Calls that were sent and are not answered.
    calls: BTreeMap<EffectKey, CallPart>,
    questions: Vec<Question>,
    /// Digests of questions as the engine asks them, by name.
    digests: BTreeMap<String, Digest>,
    /// Runs that steps started.
    children: BTreeMap<ObjectKey, StartRun>,
    /// What the engine decided of each pass, as it was last.
    decided: BTreeMap<EntryKey, StepStatus>,
    /// Passes that were taken over from the record.
    taken_over: BTreeSet<EntryKey>,
    found: BTreeMap<EntryKey, Vec<Difference>>,
    notes: BTreeMap<EntryKey, BTreeSet<String>>,
    open: BTreeSet<(EntryKey, &'static str)>,
    unproven: Vec<String>,
    has_gaps: bool,
}

impl<'a> Player<'a> {
    pub(super) fn new(recorded: &'a Recorded, plan: Plan, release: ReleaseFacts) -> Result<Self, String> {
        if contents::are_read(&plan) {
            return Err(
                "its flow reads the contents of resources, which the record does not hold".to_owned(),
            );
        }
        let index = Index {
            status: status(recorded),
        };
        let run = &recorded.run;
        let spec = &run.spec;
        let given = spec.inputs.clone().unwrap_or_default();
        // a run whose inputs do not fit has begun nothing
        let completed = inputs::complete(&recorded.release.spec.definition, &given);
        let inputs = completed.clone().unwrap_or_else(|_| given.clone());
        let facts = Facts {
            run: RunFacts {
                namespace: run.metadata.namespace.clone().unwrap_or_default(),
                name: run.metadata.name.clone().unwrap_or_default(),
                uid: run.metadata.uid.clone().unwrap_or_default(),
                generation: run.metadata.generation,
                requested_by: spec.requested_by.clone(),
                earlier_requesters: spec.earlier_requesters.clone(),
                parents: spec
                    .parent
                    .iter()
                    .flat_map(|parent| parent.chain.clone())
                    .collect(),
                depth: spec.depth(),
                trigger: spec.trigger.clone(),
                inputs: inputs.clone(),
                cancel: false,
                terminate: false,
                stopped_by: spec.stopped_by.clone(),
                stop_message: spec.stop_message.clone(),
                suspend: false,
                channel: spec.channel.unwrap_or_default(),
                // each is there from when the run saw it
                resolutions: BTreeMap::new(),
            },
            release,
            place: Place::default(),
            objects: BTreeMap::new(),
            refused: BTreeMap::new(),
            unopened: BTreeMap::new(),
            outcomes: vec![],
            in_flight: BTreeSet::new(),
            waiting_calls: BTreeMap::new(),
            connections: BTreeMap::new(),
            callbacks: callbacks()?,
            contents: BTreeMap::new(),
        };
        let state = RunStatus {
            inputs: (inputs != given).then(|| inputs.clone()),
            ..begun(&index.status)
        };
        let now = index.times().first().copied().unwrap_or(Timestamp::UNIX_EPOCH);
        let mut player = Self {
            recorded,
            index,
            plan,
            state,
            facts,
            now,
            calls: BTreeMap::new(),
            questions: vec![],
            digests: BTreeMap::new(),
            children: BTreeMap::new(),
            decided: BTreeMap::new(),
            taken_over: BTreeSet::new(),
            found: BTreeMap::new(),
            notes: BTreeMap::new(),
            open: BTreeSet::new(),
            unproven: vec![],
            has_gaps: false,
        };
        player.take_place();
        if let Err(why) = completed {
            player.refuse_inputs(&why);
        }
        Ok(player)
    }

    /// Whether the run had a place is what other runs decided. The key is its own.
    fn take_place(&mut self) {
        let recorded = self.index.status.concurrency.clone();
        let known = self.plan.concurrency_of(&self.facts).ok().flatten();
        self.state.concurrency = known.map(|known| ConcurrencyStatus {
            held_since: recorded.as_ref().and_then(|recorded| recorded.held_since.clone()),
            ..known
        });
        let holders = Holders::default;
        let is_full = self.index.status.error.as_ref();
        let is_full = is_full.is_some_and(|error| error.reason == StepReason::ConcurrencyRejected);
        self.facts.place = match recorded {
            _ if is_full => Place::Full(holders()),
            Some(ConcurrencyStatus { held_since: None, .. }) => Place::Queued {
                position: 1,
                holders: holders(),
            },
            Some(_) => Place::Held,
            None => Place::Unlimited,
        };
        let keys = [
            ("concurrency.key", self.index.status.concurrency.as_ref()),
            ("concurrency.key", self.state.concurrency.as_ref()),
        ];
        let [recorded, decided] = keys.map(|(_, status)| json!(status.map(|status| &status.key)));
        if recorded != decided {
            self.difference_of_run("concurrency.key", recorded, decided);
        }
    }

    /// A run whose inputs do not fit ends before its first step.
    fn refuse_inputs(&mut self, why: &str) {
        let error = self.index.status.error.as_ref();
        if error.is_none_or(|error| error.reason != StepReason::InvalidInputs) {
            let recorded = json!(error.map(|error| error.reason));
            self.difference_of_run("error.reason", recorded, json!(StepReason::InvalidInputs));
            self.unproven.push(format!("the inputs do not fit: {why}"));
        }
    }

    fn difference_of_run(&mut self, field: &str, recorded: serde_json::Value, decided: serde_json::Value) {
        let key = (String::new(), 0, None);
        self.found.entry(key).or_default().push(Difference {
            field: field.to_owned(),
            recorded,
            decided,
        });
    }

    pub(super) fn play(&mut self) {
        // it ended before it could begin, or waits for its place
        if self.index.status.started_at.is_none() && self.index.status.steps.is_empty() {
            self.unproven.push("no step began".to_owned());
            self.state = self.index.status.clone();
            return;
        }
        let mut times = self.index.times();
        times.extend(self.expired_calls());
        loop {
            self.look_around();
            self.decide();
            if self.state.phase.is_finished() {
                break;
            }
            if let Some(step) = self.forgotten() {
                if !self.jump(&step) {
                    break;
                }
                continue;
            }
            times.retain(|at| *at > self.now);
            let Some(next) = self.next_time(&times) else { break };
            self.now = next;
        }
        self.judge_open_questions();
        let taken = self.index.status.steps.iter();
        if taken.clone().any(|entry| entry.taken_over == Some(true)) {
            let of = self.state.retry.as_ref().map(|retry| retry.run.clone());
            let of = of.unwrap_or_default();
            self.unproven
                .push(format!("what was taken over from run {of}: replay that run"));
        }
    }

    /// When the engine is asked next: at the next time of the record, or when a failed attempt is repeated before it. The
    /// times of attempts are not in the record.
    fn next_time(&self, times: &BTreeSet<Timestamp>) -> Option<Timestamp> {
        let retrying = self
            .state
            .steps
            .iter()
            .filter(|entry| entry.phase == StepPhase::Retrying);
        let due = retrying.filter_map(|entry| entry.wake_at.as_ref().map(|at| at.0));
        let recorded = |at: &Timestamp| *at <= self.index.end();
        let due = due.filter(|at| *at > self.now).filter(recorded).min();
        times.first().copied().into_iter().chain(due).min()
    }

    /// Lets the engine decide until nothing more comes of it at this time.
    fn decide(&mut self) {
        for _ in 0..MAX_TURNS {
            let answered = self.answer();
            let changed = self.turn();
            if self.state.phase.is_finished() || !changed && !answered {
                return;
            }
        }
    }

    fn turn(&mut self) -> bool {
        let next = advance(&self.plan, &self.state, &self.facts, self.now);
        let changed = next.state != self.state || next.wake_at.is_some_and(|at| at <= self.now);
        self.state = next.state;
        self.facts.outcomes.clear();
        let decided = self
            .state
            .steps
            .iter()
            .map(|entry| (key_of(entry), entry.clone()));
        let decided = decided.filter(|(key, _)| !self.taken_over.contains(key));
        self.decided.extend(decided);
        for effect in next.effects {
            self.perform(effect);
        }
        changed
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Call(call) => self.call(&call),
            Effect::Open(OwnedObject::Approval(open)) => self.ask(*open),
            Effect::Open(OwnedObject::Run(start)) => self.start(*start),
            Effect::Open(OwnedObject::WorkItem(open)) => self.queue(*open),
            Effect::Open(OwnedObject::Job(open)) => self.create(&open),
            Effect::Close(wanted) => self.close(&wanted),
            Effect::Abort(key) => {
                self.calls.remove(&key);
                self.facts.in_flight.remove(&key);
            }
        }
    }

    fn call(&mut self, call: &Call) {
        self.facts.in_flight.insert(call.key.clone());
        self.calls.insert(call.key.clone(), call.part.clone());
        let key = (call.key.step.clone(), call.key.iteration, None);
        self.note(key, "its answer is taken from the record");
    }

    fn close(&mut self, wanted: &CloseObject) {
        match wanted.key.kind {
            ObjectKind::Approval => self.close_question(wanted),
            ObjectKind::Process => {
                let fact = ObjectFact::Process(ProcessFact {
                    is_ended: true,
                    message: String::new(),
                });
                self.facts.objects.insert(wanted.key.clone(), fact);
            }
            // how it ended is taken from the record, which says that it was cancelled
            ObjectKind::WorkItem | ObjectKind::Job => {}
            ObjectKind::Run => {
                if let Some(fact) = self.facts.objects.get_mut(&wanted.key) {
                    stop(fact, wanted.closing);
                }
            }
        }
    }

    fn note(&mut self, key: EntryKey, note: &str) {
        self.notes.entry(key).or_default().insert(note.to_owned());
    }

    /// What is known about the run and the Connections by now.
    fn look_around(&mut self) {
        let spec = &self.recorded.run.spec;
        let (cancel, terminate) = (spec.cancel == Some(true), spec.terminate == Some(true));
        let is_stopped = self.index.stopped_at(cancel || terminate);
        let is_stopped = is_stopped.is_some_and(|at| at <= self.now);
        self.facts.run.cancel = cancel && is_stopped;
        self.facts.run.terminate = terminate && is_stopped;
        // since when it is suspended is not in the record
        let mut begins = self
            .index
            .status
            .steps
            .iter()
            .filter_map(|entry| entry.started_at.as_ref());
        let is_last = !begins.any(|at| at.0 >= self.now);
        self.facts.run.suspend = spec.suspend == Some(true) && is_last && !cancel;
        let absent = canonical::digest_of_value(&serde_json::Value::Null);
        let asked = self
            .index
            .status
            .steps
            .iter()
            .filter(|entry| entry.started_at.as_ref().is_some_and(|at| at.0 <= self.now));
        for bound in asked.flat_map(|entry| &entry.connections) {
            if bound.digest == absent {
                self.facts.connections.remove(&bound.name);
                continue;
            }
            let fact = ConnectionFact {
                address: bound.address.clone(),
                digest: bound.digest.clone(),
            };
            self.facts.connections.insert(bound.name.clone(), fact);
        }
    }

    pub(super) fn compare(self) -> Replay {
        let mut run = self
            .found
            .get(&(String::new(), 0, None))
            .cloned()
            .unwrap_or_default();
        let played = Played {
            index: &self.index,
            decided: &self.decided,
            end: &self.state,
            found: &self.found,
            notes: &self.notes,
            open: &self.open,
            has_gaps: self.has_gaps,
        };
        run.extend(played.run());
        Replay {
            steps: played.steps(),
            run,
            unproven: self.unproven,
        }
    }

    /// The first step of a pass that the engine cannot go on with, because the record no longer has it.
    fn forgotten(&self) -> Option<String> {
        let entries = self.state.steps.iter().filter(|entry| entry.item.is_none());
        let is_forgotten = |entry: &&StepStatus| {
            let pass = match entry.repeated {
                Some(true) => entry.iteration.saturating_add(1),
                Some(false) | None if entry.phase.is_finished() => return false,
                Some(false) | None => entry.iteration,
            };
            matches!(self.index.find(&entry.name, pass), Found::Forgotten)
        };
        entries
            .filter(is_forgotten)
            .map(|entry| entry.name.clone())
            .next()
    }
}

/// The state of a run before its first step.
fn begun(recorded: &RunStatus) -> RunStatus {
    let taken_over = recorded
        .steps
        .iter()
        .filter(|entry| entry.taken_over == Some(true));
    let steps: Vec<StepStatus> = taken_over.cloned().collect();
    let mut loops = recorded.loops.clone();
    loops.retain(|last, _| steps.iter().any(|entry| entry.name == *last));
    RunStatus {
        revision: recorded.revision,
        release: recorded.release.clone(),
        retry: recorded.retry.clone(),
        loops,
        steps,
        ..RunStatus::default()
    }
}

/// Notes that a run was told to stop.
fn stop(fact: &mut signoff_engine::object::ObjectFact, closing: Closing) {
    if let signoff_engine::object::ObjectFact::Run(run) = fact {
        match closing {
            Closing::Terminated => run.terminate = true,
            Closing::Cancelled | Closing::Superseded => run.cancel = true,
        }
    }
}

/// The inputs of a run that a step started.
pub(super) fn inputs_of(run: &signoff_api::Run) -> JsonObject {
    run.spec.inputs.clone().unwrap_or_default()
}
