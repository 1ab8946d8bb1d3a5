//! What others answered, as the record says: calls, callbacks, events, and runs of other flows.

use serde_json::json;

use super::{Player, inputs_of};
use crate::simulation::replay::{Difference, recorded::Found};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use signoff_api::{
    Json, RunPhase,
    approval::ApprovalPurpose,
    names,
    reason::StepReason,
    run::{EventRecord, HeartbeatRecord, StepError, StepOutcome, StepPhase, StepStatus, Usage},
};
use signoff_engine::{
    callback_token::record_key,
    effect::{CallPart, EffectKey},
    facts::{EffectError, EffectOutcome, RecordedAnswer, Response, RunFact},
    object::{ObjectFact, ObjectKey, StartRun},
};

/// After this long, the operator has heard of a callback.
const HEARD: SignedDuration = SignedDuration::from_secs(60);
/// How a message begins that says why the API server refuses a run.
const REFUSED: &str = "the API server refuses the run of flow ";

impl Player<'_> {
    /// Gives the engine what is known by now. Whether there is news.
    pub(super) fn answer(&mut self) -> bool {
        let called = self.callbacks_and_events();
        let decided = self.close_questions();
        let ended = self.children_end();
        let worked = self.tasks_end();
        let ran = self.jobs_end();
        let answered = self.answer_calls();
        called || decided || ended || worked || ran || answered
    }

    fn answer_calls(&mut self) -> bool {
        let due: Vec<(EffectKey, Result<Response, EffectError>)> = self
            .calls
            .iter()
            .filter_map(|(key, part)| Some((key.clone(), self.answered(key, part)?)))
            .collect();
        // where an item failed, no other begins: those that ended well did so before
        let is_late = |(key, answer): &(EffectKey, Result<Response, EffectError>)| {
            key.item.is_some() && answer.is_err()
        };
        let (late, first): (Vec<_>, Vec<_>) = due.into_iter().partition(is_late);
        let now = if first.is_empty() { late } else { first };
        let is_news = !now.is_empty();
        for (key, result) in now {
            self.calls.remove(&key);
            self.facts.in_flight.remove(&key);
            let at = self.now;
            self.facts.outcomes.push(EffectOutcome { key, at, result });
        }
        is_news
    }

    /// What a call was answered, if that is known by now.
    pub(super) fn answered(&self, key: &EffectKey, part: &CallPart) -> Option<Result<Response, EffectError>> {
        let ended = self.index.ended_at(&key.step, key.iteration, key.item);
        let is_over = ended.is_some_and(|at| at <= self.now);
        if let Some(item) = key.item {
            if self.asked_whether_item(key, item) {
                return Some(Err(unknown(String::new())));
            }
            return self.answer_of_item(key, item).filter(|_| is_over);
        }
        let Found::Entry(entry) = self.index.find(&key.step, key.iteration) else {
            return None;
        };
        if !part.is_whole() {
            return self.answer_of_part(key, entry, part);
        }
        if let Some(why) = self.asked_whether(key, entry) {
            return Some(Err(unknown(why)));
        }
        let is_repeated =
            entry.attempt > key.attempt || entry.attempt == key.attempt && entry.phase == StepPhase::Retrying;
        if is_repeated {
            return Some(Err(failed(entry.error.as_ref(), true)));
        }
        if !is_over {
            return None;
        }
        match (entry.phase, entry.outcome?) {
            (_, StepOutcome::Cancelled | StepOutcome::Omitted | StepOutcome::Skipped) => None,
            (StepPhase::Failed, _) => Some(Err(failed(entry.error.as_ref(), false))),
            (_, _) => Some(Ok(output(entry.output.as_ref(), entry.usage))),
        }
    }

    fn answer_of_item(&self, key: &EffectKey, item: i64) -> Option<Result<Response, EffectError>> {
        let entry = self.index.entry(&key.step, key.iteration, None)?;
        let items = entry.items.as_ref()?;
        match items.outcome(item)? {
            StepOutcome::Succeeded => {
                let outputs = entry.output.as_ref().and_then(|output| output.0.as_array());
                let index = usize::try_from(item).ok()?;
                let output = outputs.and_then(|outputs| outputs.get(index));
                Some(Ok(Response::Recorded(RecordedAnswer {
                    output: output.cloned(),
                    usage: None,
                    is_error: false,
                })))
            }
            StepOutcome::Failed => {
                let error = items.errors.iter().find(|error| error.items.contains(item));
                let error = error.map(|error| StepError {
                    reason: error.reason,
                    message: error.message.clone(),
                });
                Some(Err(failed(error.as_ref(), false)))
            }
            StepOutcome::Skipped
            | StepOutcome::Omitted
            | StepOutcome::Approved
            | StepOutcome::Rejected
            | StepOutcome::ChangesRequested
            | StepOutcome::TimedOut
            | StepOutcome::Callback
            | StepOutcome::Event
            | StepOutcome::Elapsed
            | StepOutcome::Cancelled => None,
        }
    }

    /// Why people were asked whether an attempt happened, if they were.
    pub(super) fn asked_whether(&self, key: &EffectKey, entry: &StepStatus) -> Option<String> {
        let run = &self.facts.run;
        let attempt = Some(key.attempt);
        let name = names::approval_name(&run.name, &run.uid, &key.step, key.iteration, attempt);
        let asked = self.approval(&name);
        let why = asked.and_then(|asked| asked.spec.show.iter().find(|item| item.name == "why"));
        if let Some(why) = why {
            return Some(why.inline.clone());
        }
        let is_named = entry.approval.as_ref() == Some(&name);
        let message = || {
            entry
                .error
                .as_ref()
                .map(|error| error.message.clone())
                .unwrap_or_default()
        };
        (is_named || asked.is_some()).then(message)
    }

    /// Whether people were asked whether an item happened.
    fn asked_whether_item(&self, key: &EffectKey, item: i64) -> bool {
        let field = format!("item-{item}");
        self.recorded.approvals.iter().any(|approval| {
            let spec = &approval.spec;
            let is_of_step = spec.subject.step.as_ref() == Some(&key.step)
                && spec.subject.iteration == Some(key.iteration);
            let form = spec.form.as_ref().map(|form| &form.0["properties"]);
            let asks = form.is_some_and(|fields| fields.get(&field).is_some());
            spec.purpose == ApprovalPurpose::Outcome && is_of_step && asks
        })
    }

    fn callbacks_and_events(&mut self) -> bool {
        let mut is_news = false;
        let open: Vec<StepStatus> = self
            .state
            .steps
            .iter()
            .filter(|entry| entry.phase == StepPhase::Waiting)
            .cloned()
            .collect();
        for entry in open {
            let key = record_key(&entry.name, entry.iteration, entry.item);
            let ended = self.index.ended_at(&entry.name, entry.iteration, entry.item);
            let outcome = self.recorded_outcome(&entry);
            self.beat(&entry, &key, ended);
            let noted = self.index.status.resolutions.get(&key);
            let is_seen = noted.is_some_and(|noted| noted.at.0 <= self.now);
            if let Some(resolution) = self.recorded.run.spec.resolutions.get(&key).filter(|_| is_seen) {
                let known = self.facts.run.resolutions.insert(key.clone(), resolution.clone());
                is_news |= known.is_none();
            }
            if let Some(callback) = self.index.status.callbacks.get(&key) {
                let heard = if outcome == Some(StepOutcome::Callback) {
                    callback.received_at.0
                } else {
                    callback
                        .received_at
                        .0
                        .saturating_add(HEARD)
                        .unwrap_or(Timestamp::MAX)
                };
                if heard <= self.now && !self.state.callbacks.contains_key(&key) {
                    self.state.callbacks.insert(key.clone(), callback.clone());
                    is_news = true;
                }
            }
            let came = outcome == Some(StepOutcome::Event) && ended.is_some_and(|at| at <= self.now);
            if came && !self.state.events.contains_key(&key) {
                let record = self.event(&entry, &key);
                self.state.events.insert(key, record);
                is_news = true;
            }
        }
        is_news
    }

    fn recorded_outcome(&self, entry: &StepStatus) -> Option<StepOutcome> {
        let whole = self.index.entry(&entry.name, entry.iteration, None)?;
        match entry.item {
            Some(item) => whole.items.as_ref()?.outcome(item),
            None => whole.outcome,
        }
    }

    /// An event, whose body is in the output of the wait.
    fn event(&mut self, entry: &StepStatus, key: &str) -> EventRecord {
        let whole = self.index.entry(&entry.name, entry.iteration, None);
        let output = whole.and_then(|whole| whole.output.as_ref());
        let body = match entry.item.and_then(|item| usize::try_from(item).ok()) {
            Some(item) => output.and_then(|output| output.0.get(item).cloned().map(Json)),
            None => output.cloned(),
        };
        self.note(
            (entry.name.clone(), entry.iteration, None),
            "the body of the event is taken from the output",
        );
        let known = self.index.status.events.get(key);
        EventRecord {
            received_at: known.map_or(MicroTime(self.now), |known| known.received_at.clone()),
            name: known.map_or_else(|| "event".to_owned(), |known| known.name.clone()),
            body,
        }
    }

    /// Heartbeats are not in the record, but for the newest. They came in time, unless one is known not to have come.
    fn beat(&mut self, entry: &StepStatus, key: &str, ended: Option<Timestamp>) {
        let definition = &self.recorded.release.spec.definition;
        let step = definition.all_steps().find(|step| step.name == entry.name);
        let callback = step.and_then(|step| step.kind.as_kind().callback());
        let Some(heartbeat) = callback.and_then(|callback| callback.heartbeat.as_ref()) else {
            return;
        };
        let error = self.index.entry(&entry.name, entry.iteration, None);
        let error = error.and_then(|entry| entry.error.as_ref());
        let is_lost = error.is_some_and(|error| error.reason == StepReason::HeartbeatLost);
        let span = SignedDuration::try_from(heartbeat.duration()).unwrap_or(SignedDuration::MAX);
        let last = ended.filter(|_| is_lost).and_then(|at| at.checked_sub(span).ok());
        let received_at = MicroTime(last.map_or(self.now, |last| last.min(self.now)));
        self.state
            .heartbeats
            .insert(key.to_owned(), HeartbeatRecord { received_at });
    }

    /// Starts a run, which is there if the record says so.
    pub(super) fn start(&mut self, start: StartRun) {
        let key = ObjectKey::run(&start.name);
        let of_step = (start.parent.step.clone(), start.parent.iteration, None);
        let Some(entry) = self.index.entry(&of_step.0, of_step.1, None) else {
            return;
        };
        let error = entry.error.as_ref();
        let refused = error.filter(|error| error.message.starts_with(REFUSED));
        if let Some(refused) = refused {
            let why = refused.message.split_once(": ").map_or("", |(_, why)| why);
            self.facts.refused.insert(key, why.to_owned());
            return;
        }
        let has_items = start.parent.item.is_some();
        let is_there = has_items || entry.run.is_some() || entry.phase.is_finished();
        if !is_there || self.facts.objects.contains_key(&key) {
            return;
        }
        match self
            .recorded
            .runs
            .iter()
            .find(|run| run.metadata.name.as_ref() == Some(&start.name))
        {
            Some(child) => {
                let pinned = child.status.as_ref().and_then(|status| status.release.as_ref());
                let mut pairs = vec![("run.inputs", json!(inputs_of(child)), json!(start.inputs))];
                // a run under the same key was started by whoever came first
                pairs.retain(|_| !start.is_keyed);
                pairs.extend(
                    pinned.map(|pinned| ("run.release", json!(pinned.digest), json!(start.parent.digest))),
                );
                for (field, recorded, decided) in pairs.into_iter().filter(|(_, a, b)| a != b) {
                    self.found.entry(of_step.clone()).or_default().push(Difference {
                        field: field.to_owned(),
                        recorded,
                        decided,
                    });
                }
                self.note(
                    of_step,
                    &format!("how run {} ended is taken from its status", start.name),
                );
            }
            None => self.note(
                of_step,
                &format!("how run {} ended is taken from the record", start.name),
            ),
        }
        let fact = RunFact {
            step: start.parent.step.clone(),
            iteration: start.parent.iteration,
            item: start.parent.item,
            phase: RunPhase::Running,
            output: None,
            error: None,
            cancel: false,
            terminate: false,
        };
        self.facts.objects.insert(key.clone(), ObjectFact::Run(fact));
        self.children.insert(key, start);
    }

    fn children_end(&mut self) -> bool {
        let mut is_news = false;
        for (key, start) in &self.children {
            let (step, pass) = (&start.parent.step, start.parent.iteration);
            let item = start.parent.item;
            let ended = self.index.ended_at(step, pass, item);
            let is_over = ended.is_some_and(|at| at <= self.now);
            let Some(ObjectFact::Run(fact)) = self.facts.objects.get_mut(key).filter(|_| is_over) else {
                continue;
            };
            if fact.phase.is_finished() {
                continue;
            }
            let Some(entry) = self.index.entry(step, pass, None) else {
                continue;
            };
            is_news = true;
            let (outcome, output, error) = ended_child(entry, item);
            if error
                .as_ref()
                .is_some_and(|error| error.reason == StepReason::RunDeleted)
            {
                self.facts.objects.remove(key);
                continue;
            }
            let child = self
                .recorded
                .runs
                .iter()
                .find(|run| run.metadata.name.as_ref() == Some(&key.name));
            let status = child.and_then(|child| child.status.as_ref());
            if let Some(status) = status {
                fact.phase = status.phase;
                fact.output.clone_from(&status.output);
                fact.error.clone_from(&status.error);
            } else {
                fact.phase = phase_of(outcome);
                fact.output = output;
                fact.error = error;
            }
        }
        is_news
    }
}

/// How a run that a step, or an item of it, started has ended.
fn ended_child(
    entry: &StepStatus,
    item: Option<i64>,
) -> (Option<StepOutcome>, Option<Json>, Option<StepError>) {
    let Some((items, item)) = entry.items.as_ref().zip(item) else {
        return (entry.outcome, entry.output.clone(), entry.error.clone());
    };
    let outputs = entry.output.as_ref().and_then(|output| output.0.as_array());
    let index = usize::try_from(item).ok();
    let output = outputs.zip(index).and_then(|(all, index)| all.get(index));
    let error = items.errors.iter().find(|error| error.items.contains(item));
    let error = error.map(|error| StepError {
        reason: error.reason,
        message: error.message.clone(),
    });
    (items.outcome(item), output.cloned().map(Json), error)
}

fn phase_of(outcome: Option<StepOutcome>) -> RunPhase {
    match outcome {
        Some(StepOutcome::Failed) => RunPhase::Failed,
        Some(StepOutcome::Rejected) => RunPhase::Rejected,
        Some(StepOutcome::TimedOut) => RunPhase::TimedOut,
        Some(StepOutcome::Cancelled) => RunPhase::Cancelled,
        None => RunPhase::Running,
        Some(
            StepOutcome::Succeeded
            | StepOutcome::Skipped
            | StepOutcome::Omitted
            | StepOutcome::Approved
            | StepOutcome::ChangesRequested
            | StepOutcome::Callback
            | StepOutcome::Event
            | StepOutcome::Elapsed,
        ) => RunPhase::Succeeded,
    }
}

fn output(output: Option<&Json>, usage: Option<Usage>) -> Response {
    Response::Recorded(RecordedAnswer {
        output: output.map(|output| output.0.clone()),
        usage,
        is_error: false,
    })
}

pub(super) fn failed(error: Option<&StepError>, retryable: bool) -> EffectError {
    EffectError {
        reason: error.map_or(StepReason::Unreachable, |error| error.reason),
        message: error.map(|error| error.message.clone()).unwrap_or_default(),
        retryable,
        may_have_happened: false,
        retry_after: None,
        status: None,
    }
}

pub(super) fn unknown(message: String) -> EffectError {
    EffectError {
        reason: StepReason::OutcomeUnknown,
        message,
        retryable: true,
        may_have_happened: true,
        retry_after: None,
        status: None,
    }
}
