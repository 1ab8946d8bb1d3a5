//! What a decision sees: the plan, the facts and the state as it is by now. Kinds of steps see it, and change nothing
//! of it.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    callback_token::{CallbackAddress, record_key},
    contents,
    effect::Request,
    expression::{CALLBACKS, CONTENTS, Scope},
    facts::Facts,
    heartbeat::later,
    kinds,
    object::{ObjectFact, ObjectKey},
    plan::{Plan, PlannedStep},
    requesters, trigger,
};
use signoff_api::{
    Digest, Json, RunStatus, canonical,
    items::{ItemErrors, ItemsStatus},
    names,
    reason::StepReason,
    run::{
        BoundConnection, CallbackRecord, EventRecord, StepDecision, StepError, StepOutcome, StepPhase,
        StepStatus,
    },
    step::ForEach,
};

/// A run in the middle of a decision.
#[derive(Clone, Copy)]
pub(crate) struct RunView<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) facts: &'a Facts,
    pub(crate) state: &'a RunStatus,
    pub(crate) now: Timestamp,
    pub(super) item_callbacks: &'a ItemCallbacks,
}

/// Addresses and tokens of the callbacks of items, by step and iteration: there may be many, so they are made once.
#[derive(Debug, Default)]
pub(crate) struct ItemCallbacks(RefCell<BTreeMap<(usize, i64), Value>>);

/// One iteration of a step in the middle of a decision.
#[derive(Clone, Copy)]
pub(crate) struct StepView<'a> {
    pub(crate) run: RunView<'a>,
    pub(crate) planned: &'a PlannedStep,
    pub(crate) status: &'a StepStatus,
    /// The value of the item, of one of a step with `forEach`.
    pub(crate) item: Option<&'a Value>,
    /// The call of a tool, of an agent that makes one.
    pub(crate) call: Option<&'a CallView>,
}

/// A call of a tool as its expressions see it.
#[derive(Clone, Debug)]
pub(crate) struct CallView {
    /// Its number.
    pub(crate) number: i64,
    /// How often people were asked about it.
    pub(crate) asked: i64,
    /// `args`
    pub(crate) args: Value,
    /// `tool`
    pub(crate) tool: Value,
    /// Connections as people were shown them.
    pub(crate) connections: Vec<BoundConnection>,
}

/// What is known of the object that a step owns.
pub(crate) enum Owned<'a> {
    /// It owns none.
    Nothing,
    /// It is not there yet.
    Absent,
    /// The API server refuses to create it.
    Refused(&'a str),
    /// It is there.
    There(&'a ObjectFact),
}

impl<'a> StepView<'a> {
    /// What expressions see now.
    pub(crate) fn scope(&self) -> Scope {
        let mut scope = self.run.scope_of(self.planned.is_finally);
        if let Some(index) = self.status.item {
            scope.set("index", json!(index));
        }
        if let Some(item) = self.item {
            scope.set("item", item.clone());
        }
        if let Some(call) = self.call {
            scope
                .set("args", call.args.clone())
                .set("tool", call.tool.clone());
        }
        scope
    }

    /// The same while an agent makes a call.
    pub(crate) fn calling<'b>(&self, call: &'b CallView) -> StepView<'b>
    where
        'a: 'b,
    {
        StepView {
            call: Some(call),
            ..*self
        }
    }

    /// This long after now, or the last time that the status takes.
    pub(crate) fn after(&self, span: Duration) -> Timestamp {
        self.run.after(span)
    }

    /// The callback that came for this iteration.
    pub(crate) fn callback(&self) -> Option<&'a CallbackRecord> {
        let key = record_key(&self.status.name, self.status.iteration, self.status.item);
        self.run.state.callbacks.get(&key)
    }

    /// The body of the callback as people sent it by hand, if the wait takes it.
    pub(crate) fn resolved(&self) -> Option<&'a Json> {
        let key = record_key(&self.status.name, self.status.iteration, self.status.item);
        let taken = self.run.state.resolutions.get(&key)?.refused.is_none();
        let resolution = self.run.facts.run.resolutions.get(&key).filter(|_| taken)?;
        Some(&resolution.body)
    }

    /// The event that this iteration took.
    pub(crate) fn event(&self) -> Option<&'a EventRecord> {
        let key = record_key(&self.status.name, self.status.iteration, self.status.item);
        self.run.state.events.get(&key)
    }

    /// The object that it owns. One that is about something else is not ours, whoever put it there.
    pub(crate) fn object(&self) -> Owned<'a> {
        let Some(key) = ObjectKey::of(self.status) else {
            return Owned::Nothing;
        };
        let facts = self.run.facts;
        let known = facts.objects.get(&key).filter(|fact| fact.is_of(self.status));
        match (known, facts.refused.get(&key)) {
            (Some(fact), _) => Owned::There(fact),
            (None, Some(why)) => Owned::Refused(why),
            (None, None) => Owned::Absent,
        }
    }

    /// The name of its question.
    pub(crate) fn approval_name(&self) -> String {
        let (run, status) = (&self.run.facts.run, self.status);
        let (step, iteration) = (&status.name, status.iteration);
        if let Some(CallView { number, asked, .. }) = self.call {
            let item = status.item;
            return names::tool_approval_name(&run.name, &run.uid, step, iteration, item, *number, *asked);
        }
        match status.item {
            None => names::approval_name(&run.name, &run.uid, step, iteration, None),
            Some(item) => {
                names::item_approval_name(&run.name, &run.uid, step, iteration, item, status.attempt)
            }
        }
    }

    /// Digest of its request, as people last approved it.
    pub(crate) fn shown_request(&self) -> Option<Digest> {
        let entries = self.run.state.steps.iter().rev();
        // a question that was superseded was put anew
        let decided = entries.filter(|entry| !matches!(entry.outcome, None | Some(StepOutcome::Cancelled)));
        let mut requests = decided.flat_map(|entry| entry.requests.iter().map(move |shown| (entry, shown)));
        let (entry, shown) = requests.find(|(_, shown)| shown.step == self.planned.name)?;
        (entry.outcome == Some(StepOutcome::Approved)).then(|| shown.digest.clone())
    }

    /// The name of the process that it starts. All attempts start the same one.
    pub(crate) fn process_name(&self) -> String {
        let (run, status) = (&self.run.facts.run, self.status);
        names::process_name(&run.name, &run.uid, &status.name, status.iteration, status.item)
    }

    /// The name of the run that it starts.
    pub(crate) fn child_name(&self) -> String {
        let (run, status) = (&self.run.facts.run, self.status);
        let (step, iteration) = (&status.name, status.iteration);
        match status.item {
            None => names::child_run_name(&run.name, &run.uid, step, iteration),
            Some(item) => names::item_child_run_name(&run.name, &run.uid, step, iteration, item),
        }
    }

    /// Digest of a Connection that it uses, as it was when people last decided on what comes after.
    pub(crate) fn bound(&self, connection: &str) -> Option<Digest> {
        let mut of_call = self.call.iter().flat_map(|call| &call.connections);
        if let Some(bound) = of_call.find(|bound| bound.name == connection) {
            return Some(bound.digest.clone());
        }
        let decided = self.run.state.steps.iter().rev().filter(|entry| {
            let is_decided = entry.phase == StepPhase::Succeeded
                && matches!(
                    entry.outcome,
                    Some(StepOutcome::Approved | StepOutcome::Rejected | StepOutcome::TimedOut)
                );
            // a question about one item may have failed, and the others were decided
            let failed = entry.items.is_some() && entry.phase == StepPhase::Failed;
            entry.item.is_none() && (is_decided || failed)
        });
        let binds = |name: &str| {
            let index = self.run.plan.index_of(name)?;
            self.run.plan.steps[index].binds.get(connection)
        };
        decided
            .filter(|entry| binds(&entry.name).is_some_and(|steps| steps.contains(&self.planned.name)))
            .find_map(|entry| entry.connections.iter().find(|bound| bound.name == connection))
            .map(|bound| bound.digest.clone())
    }
}

impl RunView<'_> {
    /// Users who requested the runs that led to this one.
    pub(crate) fn earlier_requesters(&self) -> Vec<String> {
        requesters::earlier(&self.facts.run, self.state)
    }

    /// A request for people, without the tokens of callbacks.
    pub(crate) fn described(&self, request: &Request) -> Value {
        kinds::described(request, &|text| self.without_tokens(text))
    }

    /// What tells a request from others.
    pub(crate) fn digest_of(&self, request: &Request) -> Digest {
        canonical::digest_of_value(&self.described(request))
    }

    /// Whoever has the token of a callback may answer it, so those who are asked do not see it. Nor do they see the rest of its
    /// address: the next leader may have another one for the gateway, and what it shows has to have the same digest.
    pub(super) fn without_tokens(&self, text: String) -> String {
        let callbacks = self.callbacks();
        let all = callbacks.as_object().into_iter().flatten();
        let each = all.flat_map(|(step, callback)| {
            let of_items = callback.as_array().into_iter().flatten();
            let one = callback.is_object().then_some(callback);
            of_items.chain(one).map(move |callback| (step, callback))
        });
        each.fold(text, |text, (step, callback)| {
            let field = |name: &str| callback[name].as_str().unwrap_or_default();
            let (token, url) = (field("token"), field("url"));
            if token.is_empty() || !text.contains(token) {
                return text;
            }
            let address = format!("(address of the callback of {step})");
            // as it stands in a query
            let encoded: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
            text.replace(url, &address)
                .replace(&encoded, &address)
                .replace(token, &format!("(token of the callback of {step})"))
        })
    }

    /// What expressions see now; callbacks are those of the iteration that is due.
    pub(crate) fn scope(&self) -> Scope {
        self.scope_of(false)
    }

    /// What expressions see now, in a step of `finally` or elsewhere.
    fn scope_of(&self, is_finally: bool) -> Scope {
        let ending = self.state.ending.as_ref().filter(|_| is_finally);
        let error = self.state.error.as_ref().filter(|_| is_finally);
        let (run, release) = (&self.facts.run, &self.facts.release);
        let mut of_run = run.as_variable(release);
        // what is read before the first step begins is read as it does
        let started_at = self.state.started_at.clone().unwrap_or(MicroTime(self.now));
        let failed_step = ending.and_then(|ending| ending.failed_step.as_ref());
        let more = fields([
            ("startedAt", Some(json!(started_at))),
            ("outcome", ending.map(|ending| json!(ending.outcome))),
            ("error", error.map(|error| json!(error))),
            ("failedStep", failed_step.map(|step| json!(step))),
        ]);
        for (name, value) in more {
            of_run[name] = value;
        }
        let mut scope = Scope::default();
        scope
            .set("inputs", self.plan.inputs_as_declared(&run.inputs))
            .set("steps", steps(self.plan, self.state, is_finally))
            .set("run", of_run)
            .set("release", release.as_variable())
            .set("trigger", trigger::as_variable(run.trigger.as_ref()))
            .set(CALLBACKS, self.callbacks());
        if self.plan.reads_contents {
            scope.set(CONTENTS, contents::as_variable(&self.facts.contents));
        }
        scope
    }

    /// Address and token of the callback of each step that waits for one.
    pub(super) fn callbacks(&self) -> Value {
        let mut all = Map::new();
        for (i, step) in self.plan.steps.iter().enumerate() {
            if !step.kind.takes_callback() {
                continue;
            }
            let iteration = self.iteration(i);
            let value = if step.for_each.is_none() {
                self.callback(&step.name, iteration, None)
            } else {
                let mut known = self.item_callbacks.0.borrow_mut();
                let made = known.entry((i, iteration));
                made.or_insert_with(|| self.callbacks_of_items(&step.name, iteration))
                    .clone()
            };
            all.insert(step.name.clone(), value);
        }
        Value::Object(all)
    }

    /// Those of all items that a step may have: how many it has is known only when it begins.
    fn callbacks_of_items(&self, step: &str, iteration: i64) -> Value {
        let most = i64::try_from(ForEach::MOST).unwrap_or(0);
        let items = (0..most).map(|item| self.callback(step, iteration, Some(item)));
        items.collect()
    }

    fn callback(&self, step: &str, iteration: i64, item: Option<i64>) -> Value {
        let run = &self.facts.run;
        let token = self.facts.callbacks.keys.token(&CallbackAddress {
            namespace: run.namespace.clone(),
            run: run.name.clone(),
            uid: run.uid.clone(),
            step: step.to_owned(),
            iteration,
            item,
        });
        json!({ "url": self.facts.callbacks.url(&token), "token": token })
    }

    /// This long after now, or the last time that the status takes.
    pub(super) fn after(&self, span: Duration) -> Timestamp {
        later(self.now, span)
    }

    /// Which iteration of a step is due: the newest one, unless it is to be done again.
    pub(super) fn iteration(&self, step: usize) -> i64 {
        let newest = self.newest(step).map(|entry| &self.state.steps[entry]);
        match newest {
            None => 1,
            Some(newest) if is_due_again(newest) => newest.iteration.saturating_add(1),
            Some(newest) => newest.iteration,
        }
    }

    fn newest(&self, step: usize) -> Option<usize> {
        let name = &self.plan.steps[step].name;
        self.state
            .steps
            .iter()
            .rposition(|entry| entry.name == *name && entry.item.is_none())
    }

    /// How often a question of this step was superseded in this pass.
    pub(crate) fn superseded(&self, step: &str) -> usize {
        let entries = self.state.steps.iter();
        entries
            .filter(|entry| entry.name == step && entry.item.is_none())
            .filter(|entry| is_superseded(entry) && entry.repeated.is_none())
            .count()
    }

    /// The number of the pass that a loop is in, by the step that ends it.
    pub(crate) fn pass_of(&self, last: &str) -> i64 {
        self.state.loops.get(last).map_or(1, |state| state.pass)
    }

    /// The entry of a step's iteration that is due, if it has begun.
    pub(super) fn current(&self, step: usize) -> Option<usize> {
        self.newest(step)
            .filter(|entry| !is_due_again(&self.state.steps[*entry]))
    }
}

/// Whether another iteration takes the place of this one.
pub(crate) fn is_due_again(entry: &StepStatus) -> bool {
    entry.repeated == Some(true) || is_superseded(entry)
}

/// Whether a question was superseded because a Connection changed below it.
pub(super) fn is_superseded(entry: &StepStatus) -> bool {
    entry.outcome == Some(StepOutcome::Cancelled)
        && entry
            .error
            .as_ref()
            .is_some_and(|error| error.reason == StepReason::ConnectionChanged)
}

/// The results of each step in this pass, and in the one before. What is not there is absent, never null. In `finally`, the
/// run has ended before every other step that did not begin.
fn steps(plan: &Plan, state: &RunStatus, is_finally: bool) -> Value {
    let entries = &state.steps;
    let results = plan.steps.iter().map(|step| {
        let of_step = |repeated: bool| {
            let newest = entries.iter().rev();
            newest.filter(move |entry| {
                entry.name == step.name && entry.item.is_none() && (entry.repeated == Some(true)) == repeated
            })
        };
        let newest = of_step(false).find(|entry| entry.phase.is_finished());
        let decision = of_step(false).find_map(|entry| entry.decision.as_ref());
        let omitted = (is_finally && !step.is_finally).then_some(StepOutcome::Omitted);
        let mut result = outcome(
            step,
            newest,
            decision,
            newest.map_or(omitted, |entry| entry.outcome),
        );
        let items = newest.and_then(|entry| Some((entry, entry.items.as_ref()?)));
        result.extend(items.map(|(entry, status)| ("items".to_owned(), items_of(step, entry, status))));
        if let Some(last) = step.loop_end {
            let pass = state
                .loops
                .get(&plan.steps[last].name)
                .map_or(1, |state| state.pass);
            result.insert("pass".to_owned(), json!(pass));
            let before = of_step(true).next();
            let previous =
                before.map(|entry| outcome(step, Some(entry), entry.decision.as_ref(), entry.outcome));
            result.extend(previous.map(|previous| ("previous".to_owned(), Value::Object(previous))));
        }
        (step.name.clone(), Value::Object(result))
    });
    Value::Object(results.collect())
}

fn outcome(
    step: &PlannedStep,
    entry: Option<&StepStatus>,
    decision: Option<&StepDecision>,
    outcome: Option<StepOutcome>,
) -> Map<String, Value> {
    // of items that did not all come to an end, the outputs are with the items
    let has_output = |entry: &&StepStatus| entry.items.is_none() || entry.phase == StepPhase::Succeeded;
    let output = entry.filter(has_output).and_then(|entry| entry.output.as_ref());
    let decision = decision.filter(|_| step.for_each.is_none());
    fields([
        (
            "output",
            output.map(|output| step.types.output_as_declared(output.0.clone())),
        ),
        ("outcome", outcome.map(|outcome| json!(outcome))),
        ("decision", decision.map(|decision| decided(step, decision))),
        (
            "usage",
            entry.and_then(|entry| entry.usage).map(|usage| json!(usage)),
        ),
        ("error", entry.and_then(failure).map(|error| json!(error))),
    ])
}

/// What came of each item. One that did not begin is omitted.
fn items_of(step: &PlannedStep, entry: &StepStatus, items: &ItemsStatus) -> Value {
    let outputs = entry.output.as_ref().and_then(|output| output.0.as_array());
    let decisions: BTreeMap<i64, &StepDecision> = items
        .decisions
        .iter()
        .map(|known| (known.item, &known.decision))
        .collect();
    let errors: BTreeMap<i64, &ItemErrors> = items
        .errors
        .iter()
        .flat_map(|error| error.items.iter().map(move |item| (item, error)))
        .collect();
    let of_item = |item: i64| {
        let index = usize::try_from(item).unwrap_or(usize::MAX);
        let output = outputs.and_then(|outputs| outputs.get(index));
        let output = output.filter(|output| !output.is_null());
        let decision = decisions.get(&item);
        let error = errors.get(&item);
        object([
            (
                "outcome",
                Some(json!(items.outcome(item).unwrap_or(StepOutcome::Omitted))),
            ),
            (
                "output",
                output.map(|output| step.types.item_output_as_declared(output.clone())),
            ),
            ("decision", decision.map(|decision| decided(step, decision))),
            (
                "error",
                error.map(|error| json!({ "reason": error.reason, "message": error.message })),
            ),
        ])
    };
    (0..items.count).map(of_item).collect()
}

/// Why a step failed.
fn failure(entry: &StepStatus) -> Option<&StepError> {
    entry.error.as_ref().filter(|_| entry.phase == StepPhase::Failed)
}

fn decided(step: &PlannedStep, decision: &StepDecision) -> Value {
    object([
        ("verdict", Some(json!(decision.verdict))),
        ("by", Some(json!(decision.by))),
        ("at", decision.at.as_ref().map(|at| json!(at))),
        (
            "comment",
            Some(json!(decision.comment.clone().unwrap_or_default())),
        ),
        (
            "values",
            Some(json!(
                step.types
                    .values_as_declared(decision.values.clone().unwrap_or_default().0)
            )),
        ),
        (
            "shown",
            Some(json!(
                step.types
                    .shown_as_declared(decision.shown.clone().unwrap_or_default().0)
            )),
        ),
    ])
}

/// An object of what is there.
fn object<const N: usize>(all: [(&str, Option<Value>); N]) -> Value {
    Value::Object(fields(all))
}

fn fields<const N: usize>(all: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let there = all
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    there.collect()
}
