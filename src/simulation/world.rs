//! The world of one run: a clock that jumps, calls with the answers of stubs, questions with a judge.

mod calls;
mod events;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Objects,
    compare::word,
    scenario::{At, Callback, Crash, Decide, Event, ExpectStep, RunEvent, Scenario, has_long_integer},
    stubs::{Fate, Used, fate},
    trigger::{Start, start},
};
use crate::manifest::did_you_mean;
use signoff_api::{
    ApprovalPhase, ApprovalSpec, ApprovalStatus, DecisionSpec, Definition, Digest, Json, RunStatus, bounds,
    canonical,
    items::ItemRanges,
    name::ObjectName,
    names,
    run::{CallbackRecord, StepPhase, StepStatus},
    text::visible,
};
use signoff_engine::{
    advance::{MAX_BEGUN, advance},
    callback_body,
    callback_token::{CallbackKeys, CallbackMinter, record_key},
    effect::{Call as WantedCall, Effect, HttpBody, HttpTarget, Request},
    facts::{ApprovalFact, ConnectionFact, EffectOutcome, Facts, ReleaseFacts, RunFacts},
    judge::{ActsAs, DecisionFact, Proof, judge},
    object::{Closing, ObjectFact, ObjectKey, OwnedObject},
    plan::Plan,
};

/// Most decisions of the engine for one run: a flow that needs more does not end.
const MAX_TURNS: usize = 50_000;
/// Most of them that leave something to the next one, which loops without a pause do.
const MAX_BUSY_TURNS: usize = 100;
const NAMESPACE: &str = "default";
const RUN: &str = "run";

/// What happened.
#[derive(Debug)]
pub struct Record {
    /// The run's state at the end.
    pub status: RunStatus,
    /// What the run was given.
    pub inputs: Value,
    /// Who asked for it.
    pub requested_by: String,
    /// Calls that were sent, in order.
    pub calls: Vec<Call>,
    /// Questions that were asked, in order.
    pub questions: Vec<Question>,
    /// How many iterations began, by the name of the step. The run's status keeps only the newest ones.
    pub passes: BTreeMap<String, usize>,
    /// The iterations that the scenario asks for by number, as they were last seen.
    pub asked_for: BTreeMap<(String, i64), StepStatus>,
    /// When the run was created.
    pub began: Timestamp,
    /// When nothing more happened.
    pub ended: Timestamp,
    /// What happened, line by line, with the time.
    pub story: Vec<(Timestamp, String)>,
    /// What was not as the scenario's events and stubs want it.
    pub problems: Vec<String>,
}

/// A call that was sent.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Name of the step.
    pub step: String,
    /// Which iteration of the step.
    pub pass: i64,
    /// Which item, of a step with `forEach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<i64>,
    /// Which attempt.
    pub attempt: i64,
    /// What was sent.
    pub request: Value,
}

/// A question that was asked.
#[derive(Debug)]
pub struct Question {
    /// Its name.
    pub name: String,
    /// What was asked.
    pub spec: ApprovalSpec,
    /// How it stands.
    pub status: ApprovalStatus,
    asked_at: Timestamp,
    decisions: Vec<DecisionFact>,
}

/// Performs a scenario.
///
/// # Errors
/// Why the run cannot start: a flow that is not there or cannot run, or inputs that do not fit.
pub fn simulate(scenario: &Scenario, objects: &Objects) -> Result<Record, Vec<String>> {
    let flow = &scenario.spec.flow;
    let definition = objects
        .flows
        .get(flow)
        .ok_or_else(|| vec![format!("spec.flow: there is no flow {flow} in the files")])?;
    let plan = Plan::compile(definition).map_err(|problems| {
        let told = problems
            .into_iter()
            .map(|problem| format!("flow {flow}: spec.{}: {}", problem.field, problem.message));
        told.collect::<Vec<_>>()
    })?;
    let unknown = unknown_steps(scenario, definition);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let release = release(scenario, definition)?;
    let started = start(scenario, definition, &plan, &release).map_err(|message| vec![message])?;
    let mut world = World::new(scenario, objects, definition, &plan, release, started)?;
    world.play();
    Ok(world.record())
}

/// Where a scenario names a step that the flow does not have.
fn unknown_steps(scenario: &Scenario, definition: &Definition) -> Vec<String> {
    let finally = definition.finally.iter().flatten();
    let known: Vec<&str> = definition
        .steps
        .iter()
        .chain(finally)
        .map(|step| step.name.as_str())
        .collect();
    let spec = &scenario.spec;
    let stubs = spec.stubs.iter().map(|stub| stub.step.as_str());
    let events = spec.events.iter().filter_map(|event| event.step.as_deref());
    let steps = spec.expect.steps.iter().map(|expected| expected.step.as_str());
    let calls = spec.expect.calls.iter().map(|expected| expected.step.as_str());
    let approvals = spec
        .expect
        .approvals
        .iter()
        .map(|expected| expected.step.as_str());
    let lists: [(&str, Vec<&str>); 5] = [
        ("stubs", stubs.collect()),
        ("events", events.collect()),
        ("expect.steps", steps.collect()),
        ("expect.calls", calls.collect()),
        ("expect.approvals", approvals.collect()),
    ];
    let mut found = Vec::new();
    for (list, names) in lists {
        for name in names.into_iter().filter(|name| !known.contains(name)) {
            let meant = did_you_mean(name, known.iter().copied());
            found.push(format!(
                "spec.{list}: there is no step {name} in flow {}{meant}",
                spec.flow
            ));
        }
    }
    found
}

struct World<'a> {
    scenario: &'a Scenario,
    definition: &'a Definition,
    plan: &'a Plan,
    state: RunStatus,
    facts: Facts,
    now: Timestamp,
    /// Events that are still to come, the next one last.
    coming: Vec<(Timestamp, &'a Event)>,
    calls: Vec<Call>,
    questions: Vec<Question>,
    passes: BTreeMap<String, usize>,
    asked_for: BTreeMap<(String, i64), StepStatus>,
    story: Vec<(Timestamp, String)>,
    problems: Vec<String>,
    /// Stubs that were of use.
    used: Used,
    /// Whether the operator was killed since the last decision.
    restarted: bool,
}

impl<'a> World<'a> {
    fn new(
        scenario: &'a Scenario,
        objects: &Objects,
        definition: &'a Definition,
        plan: &'a Plan,
        release: ReleaseFacts,
        start: Start,
    ) -> Result<Self, Vec<String>> {
        let spec = &scenario.spec;
        let keys = CallbackKeys::new("test", [("test".to_owned(), vec![0; 32])].into())
            .map_err(|error| vec![error.to_string()])?;
        let mut connections = BTreeMap::new();
        for name in plan.bound_connections() {
            connections.insert(name.to_owned(), connection(objects, name)?);
        }
        let facts = Facts {
            run: RunFacts {
                namespace: NAMESPACE.to_owned(),
                name: RUN.to_owned(),
                uid: RUN.to_owned(),
                generation: Some(1),
                requested_by: Some(start.requested_by),
                trigger: start.trigger,
                inputs: start.inputs,
                cancel: false,
                terminate: false,
                stopped_by: None,
                stop_message: None,
                suspend: false,
            },
            release,
            objects: BTreeMap::new(),
            refused: BTreeMap::new(),
            unopened: BTreeMap::new(),
            outcomes: vec![],
            in_flight: BTreeSet::new(),
            connections,
            callbacks: CallbackMinter {
                base_url: "https://signoff.example".to_owned(),
                keys,
            },
        };
        let mut coming: Vec<_> = spec
            .events
            .iter()
            .map(|event| (time(&event.at, spec.now), event))
            .collect();
        coming.reverse();
        coming.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Ok(Self {
            scenario,
            definition,
            plan,
            state: RunStatus::default(),
            facts,
            now: spec.now,
            coming,
            calls: vec![],
            questions: vec![],
            passes: BTreeMap::new(),
            asked_for: BTreeMap::new(),
            story: vec![],
            problems: vec![],
            used: Used::default(),
            restarted: false,
        })
    }

    fn play(&mut self) {
        let (mut turns, mut busy) = (0, 0);
        loop {
            turns += 1;
            if turns > MAX_TURNS {
                self.problems
                    .push(format!("the run did not end in {MAX_TURNS} turns"));
                break;
            }
            if busy > MAX_BUSY_TURNS {
                let begun = MAX_BUSY_TURNS * MAX_BEGUN;
                self.problems.push(format!(
                    "the loops of the run were not over after {begun} steps without a pause: give them `every`, or a lower `max`"
                ));
                break;
            }
            let next = advance(self.plan, &self.state, &self.facts, self.now);
            busy += usize::from(next.wake_at.is_some_and(|at| at <= self.now));
            let changed = next.state != self.state;
            self.tell_steps(&next.state);
            self.state = next.state;
            self.facts.outcomes.clear();
            for effect in next.effects {
                self.perform(effect);
            }
            if self.state.phase.is_finished() {
                self.say(&format!("the run ends: {}", self.state.phase));
                break;
            }
            if std::mem::take(&mut self.restarted) || changed || !self.facts.outcomes.is_empty() {
                continue;
            }
            if !self.go_on_until(next.wake_at) {
                break;
            }
        }
        if !self.state.phase.is_finished() && self.story.len() >= MAX_TURNS {
            self.problems
                .push(format!("the run did not end in {MAX_TURNS} turns"));
        }
        let unused = self.used.misses(&self.scenario.spec.stubs);
        self.problems.extend(unused);
        for (at, event) in std::mem::take(&mut self.coming).into_iter().rev() {
            let what = event.step.as_deref().unwrap_or("the run");
            self.problems.push(format!(
                "the event for {what} at {at} came too late: the run had ended"
            ));
        }
    }

    /// Moves the clock to what comes next, and lets it happen. False if nothing will.
    fn go_on_until(&mut self, wake_at: Option<Timestamp>) -> bool {
        let deadlines = self
            .questions
            .iter()
            .filter(|question| question.status.phase == ApprovalPhase::Pending)
            .filter_map(|question| question.spec.expires_at.as_ref().map(|at| at.0));
        let event = self.coming.last().map(|(at, _)| *at);
        let Some(next) = deadlines.chain(wake_at).chain(event).min() else {
            return false;
        };
        self.now = self.now.max(next);
        // an answer in the last moment counts
        if event == Some(next)
            && let Some((_, event)) = self.coming.pop()
        {
            self.happen(event);
            return true;
        }
        for index in 0..self.questions.len() {
            self.judge(index);
        }
        true
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Call(call) => self.call(*call),
            Effect::Open(OwnedObject::Approval(open)) => {
                let key = ObjectKey::approval(&open.name);
                if self.facts.objects.contains_key(&key) {
                    return;
                }
                self.say(&format!("asks: {}", open.spec.title));
                let question = Question {
                    name: open.name,
                    spec: open.spec,
                    status: ApprovalStatus::default(),
                    asked_at: self.now,
                    decisions: vec![],
                };
                self.facts.objects.insert(key, fact(&question));
                self.questions.push(question);
            }
            Effect::Close(wanted) => {
                let question = self
                    .questions
                    .iter_mut()
                    .find(|question| question.name == wanted.key.name);
                if let Some(question) = question.filter(|question| !question.status.phase.is_closed()) {
                    question.status.phase = match wanted.closing {
                        Closing::Cancelled => ApprovalPhase::Cancelled,
                        Closing::Superseded => ApprovalPhase::Superseded,
                    };
                    let (key, fact) = (wanted.key, fact(question));
                    self.facts.objects.insert(key, fact);
                }
            }
            Effect::Abort(key) => {
                self.facts.in_flight.remove(&key);
            }
        }
    }

    fn tell_steps(&mut self, next: &RunStatus) {
        let steps = std::mem::take(&mut self.state.steps);
        let known = |of: &StepStatus| {
            steps.iter().find(|entry| {
                entry.name == of.name && entry.iteration == of.iteration && entry.item == of.item
            })
        };
        let mut lines = vec![];
        for entry in &next.steps {
            // each follows the one before it, also within one turn
            let passes = usize::try_from(entry.iteration).unwrap_or_default();
            let most = self.passes.entry(entry.name.clone()).or_default();
            *most = passes.max(*most);
            let is_asked_for =
                |expected: &ExpectStep| expected.step == entry.name && expected.pass == Some(entry.iteration);
            if self.scenario.spec.expect.steps.iter().any(is_asked_for) {
                self.asked_for
                    .insert((entry.name.clone(), entry.iteration), entry.clone());
            }
            let before = known(entry);
            lines.extend(ended_items(before, entry));
            if before.map(|before| before.phase) == Some(entry.phase) {
                continue;
            }
            let pass = match entry.iteration {
                1 => String::new(),
                n => format!(" (pass {n})"),
            };
            let error = entry
                .error
                .as_ref()
                .map(|error| format!(": {}", error.message))
                .unwrap_or_default();
            let name = of_item(&entry.name, entry.item);
            match (entry.phase, entry.outcome) {
                (StepPhase::Retrying, _) => {
                    lines.push(format!("{name}{pass} failed and is tried again{error}"));
                }
                (_, Some(outcome)) => lines.push(format!("{name}{pass} {}{error}", word(outcome))),
                (StepPhase::Waiting, None) if entry.approval.is_none() && entry.items.is_none() => {
                    lines.push(format!("{name}{pass} waits"));
                }
                (_, None) => {}
            }
        }
        for line in lines {
            self.say(&line);
        }
    }

    fn say(&mut self, line: &str) {
        self.story.push((self.now, visible(line).into_owned()));
    }

    fn record(self) -> Record {
        Record {
            ended: self.state.finished_at.as_ref().map_or(self.now, |at| at.0),
            inputs: self.facts.run.inputs.to_value(),
            requested_by: self.facts.run.requested_by.unwrap_or_default(),
            began: self.scenario.spec.now,
            status: self.state,
            calls: self.calls,
            questions: self.questions,
            passes: self.passes,
            asked_for: self.asked_for,
            story: self.story,
            problems: self.problems,
        }
    }
}

/// A step, or one of its items.
fn of_item(step: &str, item: Option<i64>) -> String {
    item.map_or_else(|| step.to_owned(), |item| format!("{step}[{item}]"))
}

/// The items of a step that ended, a line for each outcome.
fn ended_items(before: Option<&StepStatus>, after: &StepStatus) -> Vec<String> {
    let Some(items) = &after.items else {
        return vec![];
    };
    let known = before.and_then(|before| before.items.as_ref());
    let lines = items.ended.iter().filter_map(|ended| {
        let mut new = ItemRanges::default();
        let is_new = |item: &i64| known.is_none_or(|known| known.outcome(*item).is_none());
        ended
            .items
            .iter()
            .filter(is_new)
            .for_each(|item| new.insert(item));
        (!new.is_empty()).then(|| format!("{}[{new}] {}", after.name, word(ended.outcome)))
    });
    lines.collect()
}

fn release(scenario: &Scenario, definition: &Definition) -> Result<ReleaseFacts, Vec<String>> {
    let flow = &scenario.spec.flow;
    let digest = canonical::digest(definition).map_err(|error| vec![error.to_string()])?;
    Ok(ReleaseFacts {
        name: names::release_name(flow, &digest),
        flow: flow.to_string(),
        digest,
        commit: None,
        author: None,
        repository: None,
    })
}

fn connection(objects: &Objects, name: &str) -> Result<ConnectionFact, Vec<String>> {
    let known = objects.connections.get(name);
    Ok(match known {
        Some(connection) => ConnectionFact {
            address: connection.spec.address().map(str::to_owned),
            digest: connection
                .spec
                .digest()
                .map_err(|error| vec![error.to_string()])?,
        },
        // the scenario is about the flow, so a Connection that is not in the files is there all the same
        None => ConnectionFact {
            address: None,
            digest: Digest::of(name.as_bytes()),
        },
    })
}

fn time(at: &At, began: Timestamp) -> Timestamp {
    match at {
        At::Time(time) => *time,
        At::After(span) => {
            let span = SignedDuration::try_from(span.duration()).unwrap_or(SignedDuration::MAX);
            began
                .checked_add(span)
                .map_or(bounds::LATEST_TIME, |at| at.min(bounds::LATEST_TIME))
        }
    }
}

fn fact(question: &Question) -> ObjectFact {
    ObjectFact::Approval(ApprovalFact {
        digest: question.spec.digest.clone(),
        status: question.status.clone(),
    })
}
