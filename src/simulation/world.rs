//! The world of a run and of those that it starts: a clock that jumps, calls with the answers of stubs, questions with a judge.

mod calls;
mod events;
mod jobs;
mod notifications;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use serde::Serialize;
use serde_json::Value;

use self::events::KeptEvent;
pub use self::notifications::Notification;
use self::tasks::Task;
use super::{
    Objects,
    compare::word,
    flows,
    scenario::{At, Event, ExpectStep, Scenario},
    stubs::Used,
    trigger::{Start, start},
};
use signoff_api::{
    ApprovalPhase, ApprovalSpec, ApprovalStatus, Definition, Digest, RunStatus, bounds,
    concurrency::ConcurrencyStatus,
    items::ItemRanges,
    names,
    release::content_digest,
    run::{StepPhase, StepStatus},
    text::visible,
};
use signoff_engine::{
    advance::{MAX_BEGUN, advance},
    callback_token::{CallbackKeys, CallbackMinter},
    concurrency::Place,
    effect::Effect,
    facts::{ApprovalFact, ConnectionFact, Facts, ProcessFact, ReleaseFacts, RunFacts},
    judge::DecisionFact,
    object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind, OwnedObject, StartRun},
    plan::Plan,
};

/// The address of the gateway in callbacks.
const GATEWAY: &str = "https://signoff.example";
/// Most decisions of the engine for one run: a flow that needs more does not end.
const MAX_TURNS: usize = 50_000;
/// Most of them that leave something to the next one, which loops without a pause do.
const MAX_BUSY_TURNS: usize = 100;
/// How often people are reminded of questions that nobody answers.
const MOST_REMINDERS: usize = 3;
/// Namespace of the runs.
const NAMESPACE: &str = "default";
/// Name and uid of the run.
const RUN: &str = "run";

/// What happened.
#[derive(Debug)]
pub struct Record {
    /// The run's state at the end.
    pub status: RunStatus,
    /// The states of the runs that it started, each with what the names of its steps begin with, such as `apply/`.
    pub children: Vec<(String, RunStatus)>,
    /// What the run was given.
    pub inputs: Value,
    /// Who asked for it.
    pub requested_by: String,
    /// Calls that were sent, in order.
    pub calls: Vec<Call>,
    /// Questions that were asked, in order.
    pub questions: Vec<Question>,
    /// Messages that notifications asked for, in order.
    pub notifications: Vec<Notification>,
    /// How many passes began, by the name of the step. The run's status keeps only the newest ones.
    pub passes: BTreeMap<String, usize>,
    /// The passes that the scenario asks for by number, as they were last seen.
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
    /// Name of the step; of a child run, after that of the step that started it, such as `apply/plan`.
    pub step: String,
    /// Which pass of the step.
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
    /// Name of the step that asks, as that of a call.
    pub step: String,
    /// What was asked.
    pub spec: ApprovalSpec,
    /// How it stands.
    pub status: ApprovalStatus,
    pub(super) asked_at: Timestamp,
    pub(super) decisions: Vec<DecisionFact>,
    /// The run that asks.
    pub(super) run: usize,
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
    let plan = flows::compile(objects, flow, definition)?;
    let unknown = unknown_steps(scenario, objects, definition);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let release = release(scenario, objects, definition)?;
    let started = start(scenario, definition, &plan, &release).map_err(|message| vec![message])?;
    let mut world = World::new(scenario, objects, (definition, plan), release, started)?;
    world.play();
    Ok(world.record())
}

/// Where a scenario names a step that the flow, and those that it runs, do not have.
fn unknown_steps(scenario: &Scenario, objects: &Objects, definition: &Definition) -> Vec<String> {
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
        for name in names {
            let told = flows::unknown_step(objects, &spec.flow, definition, name);
            found.extend(told.map(|told| format!("spec.{list}: {told}")));
        }
    }
    found
}

/// One run.
pub(super) struct Execution<'a> {
    /// What the names of its steps begin with.
    pub(super) prefix: String,
    /// The run that has started it, and how.
    pub(super) parent: Option<(usize, StartRun)>,
    pub(super) key: ObjectKey,
    pub(super) definition: &'a Definition,
    pub(super) plan: Plan,
    pub(super) state: RunStatus,
    pub(super) facts: Facts,
    pub(super) wake_at: Option<Timestamp>,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) objects: &'a Objects,
    /// The run, and those that it started.
    pub(super) runs: Vec<Execution<'a>>,
    /// The one that is looked at.
    pub(super) at: usize,
    now: Timestamp,
    /// Events that are still to come, the next one last.
    coming: Vec<(Timestamp, &'a Event)>,
    /// Events that are kept for later waits, in the order in which they came.
    kept: Vec<KeptEvent>,
    calls: Vec<Call>,
    tasks: Vec<Task>,
    /// Jobs that are there, though their runs may not know it: the operator was killed.
    jobs: BTreeSet<String>,
    questions: Vec<Question>,
    notifications: Vec<Notification>,
    passes: BTreeMap<String, usize>,
    asked_for: BTreeMap<(String, i64), StepStatus>,
    story: Vec<(Timestamp, String)>,
    pub(super) problems: Vec<String>,
    /// Stubs that were of use.
    used: Used,
    /// Whether the operator was killed since the last decision.
    restarted: bool,
    /// How often nothing has happened but that people were reminded.
    reminders: usize,
}

impl<'a> World<'a> {
    fn new(
        scenario: &'a Scenario,
        objects: &'a Objects,
        (definition, plan): (&'a Definition, Plan),
        release: ReleaseFacts,
        start: Start,
    ) -> Result<Self, Vec<String>> {
        let spec = &scenario.spec;
        let callbacks = callbacks().map_err(|error| vec![error])?;
        let connections = connections(objects, &plan)?;
        let facts = Facts {
            run: RunFacts {
                namespace: NAMESPACE.to_owned(),
                name: RUN.to_owned(),
                uid: RUN.to_owned(),
                generation: Some(1),
                requested_by: Some(start.requested_by),
                earlier_requesters: vec![],
                parents: vec![],
                depth: None,
                trigger: start.trigger,
                inputs: start.inputs,
                cancel: false,
                terminate: false,
                stopped_by: None,
                stop_message: None,
                suspend: false,
                channel: signoff_api::run::Channel::Live,
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
            connections,
            callbacks,
            contents: BTreeMap::new(),
        };
        // a run that is alone always has a place
        let concurrency = plan.concurrency_of(&facts);
        let concurrency = concurrency.map_err(|(reason, message)| vec![format!("{reason}: {message}")])?;
        let held_since = Some(MicroTime(spec.now));
        let concurrency = concurrency.map(|key| ConcurrencyStatus { held_since, ..key });
        let mut coming: Vec<_> = spec
            .events
            .iter()
            .map(|event| (time(&event.at, spec.now), event))
            .collect();
        coming.reverse();
        coming.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Ok(Self {
            scenario,
            objects,
            runs: vec![Execution {
                prefix: String::new(),
                parent: None,
                key: ObjectKey::run(RUN),
                definition,
                plan,
                state: RunStatus {
                    concurrency,
                    ..RunStatus::default()
                },
                facts,
                wake_at: None,
            }],
            at: 0,
            now: spec.now,
            coming,
            kept: vec![],
            calls: vec![],
            questions: vec![],
            notifications: vec![],
            tasks: vec![],
            jobs: BTreeSet::new(),
            passes: BTreeMap::new(),
            asked_for: BTreeMap::new(),
            story: vec![],
            problems: vec![],
            used: Used::default(),
            restarted: false,
            reminders: 0,
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
            let mut changed = false;
            let mut next = 0;
            while next < self.runs.len() {
                self.at = next;
                next += 1;
                changed |= self.turn();
            }
            self.at = 0;
            changed |= self.give_kept();
            let is_busy = |run: &Execution<'_>| run.wake_at.is_some_and(|at| at <= self.now);
            busy += usize::from(self.runs.iter().any(is_busy));
            if self.run().state.phase.is_finished() {
                break;
            }
            if std::mem::take(&mut self.restarted) || changed {
                continue;
            }
            let wake_at = self.runs.iter().filter_map(|run| run.wake_at).min();
            if !self.go_on_until(wake_at) {
                break;
            }
        }
        if !self.run().state.phase.is_finished() && self.story.len() >= MAX_TURNS {
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

    pub(super) fn run(&self) -> &Execution<'a> {
        &self.runs[self.at]
    }

    pub(super) fn run_mut(&mut self) -> &mut Execution<'a> {
        &mut self.runs[self.at]
    }

    /// Decides once for the run that is looked at. Whether that has changed anything.
    fn turn(&mut self) -> bool {
        let run = self.run();
        if run.state.phase.is_finished() {
            return false;
        }
        let next = advance(&run.plan, &run.state, &run.facts, self.now);
        let mut changed = next.state != run.state;
        if changed {
            let only = is_only_reminder(&run.state, &next.state) && next.effects.is_empty();
            self.reminders = if only { self.reminders + 1 } else { 0 };
        }
        self.tell_steps(&next.state);
        let run = self.run_mut();
        run.state = next.state;
        run.wake_at = next.wake_at;
        run.facts.outcomes.clear();
        for effect in next.effects {
            changed |= self.perform(effect);
        }
        self.send_notifications();
        if self.run().state.phase.is_finished() {
            let line = format!("the run ends: {}", self.run().state.phase);
            self.say(&line);
        }
        changed |= self.tell_parent(self.at);
        changed || !self.run().facts.outcomes.is_empty()
    }

    /// Moves the clock to what comes next, and lets it happen. False if nothing will.
    fn go_on_until(&mut self, wake_at: Option<Timestamp>) -> bool {
        let deadlines = self
            .questions
            .iter()
            .filter(|question| question.status.phase == ApprovalPhase::Pending)
            .filter_map(|question| question.spec.expires_at.as_ref().map(|at| at.0));
        let late = self.tasks.iter().filter_map(Task::expires_at);
        let deadlines: Vec<Timestamp> = deadlines.chain(late).collect();
        let event = self.coming.last().map(|(at, _)| *at);
        if deadlines.is_empty() && event.is_none() && self.reminders >= MOST_REMINDERS {
            return false;
        }
        let deadlines = deadlines.into_iter();
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
        self.expire_tasks();
        true
    }

    /// Performs an effect. Whether there is something to decide because of it.
    fn perform(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Call(call) => {
                self.call(*call);
                false
            }
            Effect::Open(OwnedObject::Approval(open)) => {
                let key = ObjectKey::approval(&open.name);
                if self.run().facts.objects.contains_key(&key) {
                    return false;
                }
                self.say(&format!("asks: {}", open.spec.title));
                let step = open.spec.subject.step.as_deref().unwrap_or_default();
                let question = Question {
                    name: open.name,
                    step: format!("{}{step}", self.run().prefix),
                    spec: open.spec,
                    status: ApprovalStatus::default(),
                    asked_at: self.now,
                    decisions: vec![],
                    run: self.at,
                };
                self.run_mut().facts.objects.insert(key, fact(&question));
                self.questions.push(question);
                false
            }
            Effect::Open(OwnedObject::Run(start)) => self.start(&start),
            Effect::Open(OwnedObject::WorkItem(open)) => {
                self.queue(*open);
                false
            }
            Effect::Open(OwnedObject::Job(open)) => self.create(*open),
            Effect::Close(wanted) => self.close(wanted),
            Effect::Abort(key) => {
                self.run_mut().facts.in_flight.remove(&key);
                false
            }
        }
    }

    fn close(&mut self, wanted: CloseObject) -> bool {
        match wanted.key.kind {
            ObjectKind::Run => return self.stop(&wanted),
            ObjectKind::WorkItem => {
                self.withdraw(&wanted);
                return false;
            }
            // what a stub says of a Job comes at once
            ObjectKind::Job => return false,
            ObjectKind::Process => {
                self.say(&format!("ends a process: {}", wanted.message));
                let fact = ObjectFact::Process(ProcessFact {
                    is_ended: true,
                    message: "its process group was ended".to_owned(),
                });
                self.run_mut().facts.objects.insert(wanted.key, fact);
                return true;
            }
            ObjectKind::Approval => {}
        }
        let question = self
            .questions
            .iter_mut()
            .find(|question| question.name == wanted.key.name);
        if let Some(question) = question.filter(|question| !question.status.phase.is_closed()) {
            question.status.phase = match wanted.closing {
                Closing::Cancelled | Closing::Terminated => ApprovalPhase::Cancelled,
                Closing::Superseded => ApprovalPhase::Superseded,
            };
            let (run, fact) = (question.run, fact(question));
            self.runs[run].facts.objects.insert(wanted.key, fact);
        }
        false
    }

    fn tell_steps(&mut self, next: &RunStatus) {
        let prefix = self.run().prefix.clone();
        let steps = std::mem::take(&mut self.run_mut().state.steps);
        let known = |of: &StepStatus| {
            steps.iter().find(|entry| {
                entry.name == of.name && entry.iteration == of.iteration && entry.item == of.item
            })
        };
        let mut lines = vec![];
        for entry in &next.steps {
            let step = format!("{prefix}{}", entry.name);
            let is_asked_for =
                |expected: &ExpectStep| expected.step == step && expected.pass == Some(entry.iteration);
            if self.scenario.spec.expect.steps.iter().any(is_asked_for) {
                self.asked_for
                    .insert((step.clone(), entry.iteration), entry.clone());
            }
            // each follows the one before it, also within one turn
            let passes = usize::try_from(entry.iteration).unwrap_or_default();
            let most = self.passes.entry(step).or_default();
            *most = passes.max(*most);
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
                    lines.push(format!(
                        "{name}{pass}: an attempt failed, and another one follows{error}"
                    ));
                }
                (_, Some(outcome)) => lines.push(format!("{name}{pass} {}{error}", word(outcome))),
                (StepPhase::Waiting, None)
                    if entry.approval.is_none() && entry.run.is_none() && entry.items.is_none() =>
                {
                    lines.push(format!("{name}{pass} waits"));
                }
                (_, None) => {}
            }
        }
        for line in lines {
            self.say(&line);
        }
    }

    pub(super) fn say(&mut self, line: &str) {
        let line = format!("{}{line}", self.run().prefix);
        self.story.push((self.now, visible(&line).into_owned()));
    }

    fn record(mut self) -> Record {
        let run = self.runs.remove(0);
        let children = self.runs.into_iter().map(|run| (run.prefix, run.state));
        Record {
            children: children.collect(),
            ended: run.state.finished_at.as_ref().map_or(self.now, |at| at.0),
            inputs: run.facts.run.inputs.to_value(),
            requested_by: run.facts.run.requested_by.unwrap_or_default(),
            began: self.scenario.spec.now,
            status: run.state,
            calls: self.calls,
            questions: self.questions,
            notifications: self.notifications,
            passes: self.passes,
            asked_for: self.asked_for,
            story: self.story,
            problems: self.problems,
        }
    }
}

/// Makes addresses of callbacks that nobody can call.
pub(super) fn callbacks() -> Result<CallbackMinter, String> {
    let keys = CallbackKeys::new("test", [("test".to_owned(), vec![0; 32])].into());
    Ok(CallbackMinter {
        base_url: GATEWAY.to_owned(),
        keys: keys.map_err(|error| error.to_string())?,
    })
}

/// The Connections that a flow's questions bind.
pub(super) fn connections(
    objects: &Objects,
    plan: &Plan,
) -> Result<BTreeMap<String, ConnectionFact>, Vec<String>> {
    let bound = plan.bound_connections().into_iter();
    bound
        .map(|name| Ok((name.to_owned(), connection(objects, name)?)))
        .collect()
}

/// A step, or one of its items.
pub(super) fn of_item(step: &str, item: Option<i64>) -> String {
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

/// The release of the flow that a scenario runs.
pub(super) fn release(
    scenario: &Scenario,
    objects: &Objects,
    definition: &Definition,
) -> Result<ReleaseFacts, Vec<String>> {
    let flow = &scenario.spec.flow;
    let dependencies = flows::dependencies(objects, definition);
    let digest = content_digest(definition, &dependencies).map_err(|error| vec![error.to_string()])?;
    Ok(ReleaseFacts {
        name: names::release_name(flow, &digest),
        flow: flow.to_string(),
        digest,
        commit: None,
        author: None,
        repository: None,
        dependencies,
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

/// Whether nothing has changed but that people are reminded.
fn is_only_reminder(before: &RunStatus, after: &RunStatus) -> bool {
    let mut after = after.clone();
    after.notifications.clear();
    after.has_notifications = None;
    if after.steps.len() != before.steps.len() {
        return false;
    }
    for (step, known) in after.steps.iter_mut().zip(&before.steps) {
        step.reminded_at.clone_from(&known.reminded_at);
    }
    after == *before
}

/// What the run that asks is told of a question.
fn fact(question: &Question) -> ObjectFact {
    ObjectFact::Approval(Box::new(ApprovalFact {
        digest: question.spec.digest.clone(),
        status: question.status.clone(),
    }))
}
