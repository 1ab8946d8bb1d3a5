//! What expressions may refer to in each place of a flow, and the types of that. A release is cut only when every expression checks.

mod declared;
mod json;
mod resource;
mod schema;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;
use signoff_expression::{Declarations, Facts, Field, Implication, ObjectType, StaticType};

pub(crate) use self::{
    declared::{as_declared, fields_as_declared},
    json::{no_json, type_of_expression, type_of_template},
    resource::{may_be_resource, resource},
    schema::{Defaults, type_of},
    steps::{StepResult, StepTypes},
};
use super::Unread;
use crate::expression::{CALLBACKS, CONTENTS};
use signoff_api::{
    RunPhase, Step, Trigger,
    notification::NotificationEvent,
    run::{EndingOutcome, StepOutcome},
    step::EventWait,
    trigger::{TriggerSource, WebhookTrigger},
};

/// A variable that is known in one place only, such as `response`.
pub(crate) type Extra = (&'static str, StaticType);

/// The same with further variables.
pub(crate) fn with(declarations: &Declarations, extra: &[Extra]) -> Declarations {
    let mut declarations = declarations.clone();
    let extra = extra
        .iter()
        .map(|(name, type_)| ((*name).to_owned(), type_.clone()));
    declarations.variables.extend(extra);
    declarations
}

/// What is known of a flow before its steps are looked at.
#[derive(Debug)]
pub(super) struct Environment<'a> {
    pub(super) inputs: ObjectType,
    /// The same, to be shared.
    type_of_inputs: StaticType,
    /// Those of `steps`, then those of `finally`.
    steps: Vec<&'a Step>,
    callbacks: StaticType,
    /// The bodies of events, by the trigger that they come by.
    events: StaticType,
    /// What started a run.
    trigger: StaticType,
    /// The results of the steps that were compiled by now.
    pub(super) results: BTreeMap<usize, StepTypes>,
    /// What could not be read.
    unread: &'a Unread,
    /// What that says in each place after them.
    known: BTreeMap<usize, Arc<Known>>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(
        inputs: Option<&Value>,
        steps: Vec<&'a Step>,
        triggers: &[Trigger],
        unread: &'a Unread,
    ) -> Self {
        let inputs = match inputs {
            Some(inputs) => schema::object_of(inputs, Defaults::Applied),
            None => ObjectType::new(BTreeMap::new(), None),
        };
        let inputs = inputs.called("input");
        Self {
            type_of_inputs: known_if(!unread.inputs, || inputs.clone().into()),
            inputs,
            callbacks: known_if(unread.knows_all_steps(), || callbacks(&steps)),
            events: events(triggers),
            trigger: known_if(!unread.triggers, || trigger_of_run(triggers)),
            unread,
            steps,
            results: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// A step was compiled: this is known of it where it is over.
    pub(super) fn insert(&mut self, step: usize, types: StepTypes) {
        self.known
            .insert(step, Arc::new(Known::of(&self.steps[step].name, &types)));
        self.results.insert(step, types);
    }

    /// What can be referred to where the steps in `before` are over. Of those in `looped` the previous pass is known.
    pub(super) fn declarations(&self, before: &[usize], looped: &BTreeSet<usize>) -> Declarations {
        let known = before.iter().map(|step| (*step, self.known.get(step).cloned()));
        let mut explained = self.not_done();
        explained.retain(|name, _| {
            let is_looped = |step: &usize| self.steps[*step].name == *name;
            !looped.iter().any(is_looped)
        });
        let looped = looped.iter().map(|index| {
            let step = self.steps[*index];
            let type_ = known_if(self.unread.knows(*index), || steps::of_previous_pass(step));
            (step.name.clone(), Field::required(type_))
        });
        self.declared(known, looped.collect(), explained, run())
    }

    /// What can be referred to in the inputs of a trigger, beside what is known of its events.
    pub(super) fn declarations_of_trigger(trigger: &Trigger, events: &[Extra]) -> Declarations {
        let known = Declarations {
            variables: BTreeMap::from([
                (
                    "trigger".to_owned(),
                    trigger_type(std::slice::from_ref(trigger), Field::required),
                ),
                ("release".to_owned(), release()),
            ]),
            facts: Facts::default(),
            implications: Vec::new(),
        };
        with(&known, events)
    }

    /// What can be referred to in the concurrency key, before the first step.
    pub(super) fn declarations_of_key(&self) -> Declarations {
        Declarations {
            variables: BTreeMap::from([
                ("inputs".to_owned(), self.type_of_inputs.clone()),
                ("run".to_owned(), run()),
                ("release".to_owned(), release()),
                ("trigger".to_owned(), self.trigger.clone()),
            ]),
            facts: Facts::default(),
            implications: Vec::new(),
        }
    }

    /// What can be referred to in a notification about these events.
    pub(super) fn declarations_of_notification(&self, on: &[NotificationEvent]) -> Declarations {
        let mut fields = fields(
            &["name", "namespace", "uid", "flow"],
            &["requestedBy", "startedAt"],
        );
        let outcomes = RunPhase::FINISHED.map(|phase| phase.to_string());
        let is_end = |event: &NotificationEvent| *event == NotificationEvent::RunEnded;
        let outcome = present_if(
            !on.is_empty() && on.iter().all(is_end),
            StaticType::one_of(outcomes),
        );
        fields.insert("outcome".to_owned(), outcome);
        fields.insert("error".to_owned(), Field::optional(error()));
        let known = self.declarations_of_key();
        let run = ObjectType::new(fields, None).into();
        with(&known, &[("run", run), ("event", notified_event(on))])
    }

    /// What can be referred to where it is told whether a request starts a run.
    pub(super) fn declarations_of_request(request: &[Extra]) -> Declarations {
        let known = Declarations {
            variables: BTreeMap::from([("release".to_owned(), release())]),
            facts: Facts::default(),
            implications: Vec::new(),
        };
        with(&known, request)
    }

    /// What can be referred to where it is told whether a wait takes an event.
    pub(super) fn declarations_of_event(event: &[Extra]) -> Declarations {
        let known = Declarations {
            variables: BTreeMap::new(),
            facts: Facts::default(),
            implications: Vec::new(),
        };
        with(&known, event)
    }

    /// What can be referred to in `finally` where the steps before one of it are over.
    pub(super) fn declarations_of_finally(&self, step: usize) -> Declarations {
        let known = (0..step).map(|before| {
            let types = self.results.get(&before).map(StepTypes::at_the_end);
            let known = types.map(|types| Arc::new(Known::of(&self.steps[before].name, &types)));
            (before, known)
        });
        self.declared(known, BTreeMap::new(), self.not_done(), run_that_ends())
    }

    fn not_done(&self) -> BTreeMap<String, String> {
        let names = self.steps.iter().map(|step| &step.name);
        names
            .map(|name| (name.clone(), format!("step {name} is not done before this one")))
            .collect()
    }

    fn declared(
        &self,
        known: impl Iterator<Item = (usize, Option<Arc<Known>>)>,
        mut fields: BTreeMap<String, Field>,
        explained: BTreeMap<String, String>,
        run: StaticType,
    ) -> Declarations {
        let mut facts = Facts::default();
        let mut implications = Vec::new();
        for (step, known) in known {
            let type_ = match known {
                Some(known) => {
                    facts = facts.and(known.facts.clone());
                    implications.extend(known.implications.iter().cloned());
                    known.type_.clone()
                }
                // it could not be read, or the steps need each other in a circle
                None => StaticType::Dyn,
            };
            fields.insert(self.steps[step].name.clone(), Field::required(type_));
        }
        let steps = ObjectType::new(fields, None).called("step").explaining(explained);
        let steps = known_if(!self.unread.others, || steps.into());
        Declarations {
            variables: BTreeMap::from([
                ("inputs".to_owned(), self.type_of_inputs.clone()),
                ("steps".to_owned(), steps),
                ("run".to_owned(), run),
                ("release".to_owned(), release()),
                ("trigger".to_owned(), self.trigger.clone()),
                (CALLBACKS.to_owned(), self.callbacks.clone()),
                (EVENTS.to_owned(), self.events.clone()),
                (CONTENTS.to_owned(), resource::contents()),
            ]),
            facts,
            implications,
        }
    }
}

/// A type, if what it is of could be read.
fn known_if(is_read: bool, type_: impl FnOnce() -> StaticType) -> StaticType {
    if is_read { type_() } else { StaticType::Dyn }
}

/// What every step after one may rely on.
#[derive(Debug)]
struct Known {
    type_: StaticType,
    facts: Facts,
    implications: Vec<Arc<Implication>>,
}

impl Known {
    fn of(name: &str, types: &StepTypes) -> Self {
        Self {
            type_: types.as_object(name),
            facts: types.facts(name),
            implications: types.implications(name).into_iter().map(Arc::new).collect(),
        }
    }
}

/// Strings as fields: those that are always there, and those that may be absent.
fn fields(required: &[&str], optional: &[&str]) -> BTreeMap<String, Field> {
    let required = required
        .iter()
        .map(|name| (name, Field::required(StaticType::STRING)));
    let optional = optional
        .iter()
        .map(|name| (name, Field::optional(StaticType::STRING)));
    let fields = required.chain(optional);
    fields.map(|(name, field)| ((*name).to_owned(), field)).collect()
}

/// An object with these fields.
fn strings(required: &[&str], optional: &[&str]) -> StaticType {
    ObjectType::new(fields(required, optional), None).into()
}

const RUN: [&str; 5] = ["name", "namespace", "uid", "flow", "startedAt"];
const OF_RUN: [&str; 1] = ["requestedBy"];

fn run() -> StaticType {
    let ending = ["outcome", "error", "failedStep"];
    let explained = ending.map(|name| (name.to_owned(), format!("run.{name} is known only in finally")));
    ObjectType::new(fields(&RUN, &OF_RUN), None)
        .explaining(BTreeMap::from(explained))
        .into()
}

/// The run in `finally`, where it is known how it will end.
fn run_that_ends() -> StaticType {
    let mut fields = fields(&RUN, &OF_RUN);
    let outcomes = [
        EndingOutcome::Succeeded,
        EndingOutcome::Failed,
        EndingOutcome::Rejected,
        EndingOutcome::TimedOut,
        EndingOutcome::Cancelled,
    ];
    let outcomes = outcomes.map(|outcome| outcome.phase().to_string());
    fields.insert(
        "outcome".to_owned(),
        Field::required(StaticType::one_of(outcomes)),
    );
    fields.insert("error".to_owned(), Field::optional(error()));
    fields.insert("failedStep".to_owned(), Field::optional(StaticType::STRING));
    ObjectType::new(fields, None).into()
}

/// A field that is always there, or may be absent.
fn present_if(is_present: bool, type_: StaticType) -> Field {
    if is_present {
        Field::required(type_)
    } else {
        Field::optional(type_)
    }
}

/// What people are told of.
fn notified_event(on: &[NotificationEvent]) -> StaticType {
    let outcomes = [
        StepOutcome::Approved,
        StepOutcome::Rejected,
        StepOutcome::ChangesRequested,
        StepOutcome::TimedOut,
        StepOutcome::Cancelled,
    ];
    let outcomes = StaticType::one_of(outcomes.map(|outcome| outcome.to_string()));
    let is_closed = !on.is_empty() && on.iter().all(|event| *event == NotificationEvent::ApprovalClosed);
    let mut approval = fields(&["name", "step", "title"], &["url", "expiresAt"]);
    approval.insert("outcome".to_owned(), present_if(is_closed, outcomes));
    let by = present_if(is_closed, StaticType::list(StaticType::STRING));
    approval.insert("by".to_owned(), by);
    let approval = ObjectType::new(approval, None).called("field of event.approval");
    let types = NotificationEvent::ALL.map(|event| event.to_string());
    let mut fields = fields(&["at"], &[]);
    fields.insert("type".to_owned(), Field::required(StaticType::one_of(types)));
    let is_asked = !on.is_empty() && on.iter().all(|event| event.is_of_approval());
    fields.insert("approval".to_owned(), present_if(is_asked, approval.into()));
    ObjectType::new(fields, None).called("field of event").into()
}

/// A run of another flow that has ended.
pub(crate) fn run_that_ended() -> StaticType {
    let mut fields = fields(
        &["name", "namespace", "uid", "flow", "outcome"],
        &["requestedBy", "startedAt"],
    );
    fields.insert("error".to_owned(), Field::optional(error()));
    fields.insert("inputs".to_owned(), Field::required(StaticType::Dyn));
    fields.insert("output".to_owned(), Field::optional(StaticType::Dyn));
    ObjectType::new(fields, None).into()
}

/// Why an attempt failed.
pub(super) fn failed_attempt() -> StaticType {
    let mut fields = fields(&["reason", "message"], &[]);
    fields.insert("status".to_owned(), Field::optional(StaticType::INT));
    ObjectType::new(fields, None).called("field of error").into()
}

/// Why a step or a run failed.
fn error() -> StaticType {
    strings(&["reason", "message"], &[])
}

fn release() -> StaticType {
    strings(&["name", "digest", "flow"], &["commit"])
}

/// What started a run. It may have been a person.
fn trigger_of_run(triggers: &[Trigger]) -> StaticType {
    if triggers.is_empty() {
        let explained = TRIGGER.map(|name| {
            (
                name.to_owned(),
                format!("trigger.{name}: the flow has no triggers"),
            )
        });
        return ObjectType::new(BTreeMap::new(), None)
            .explaining(BTreeMap::from(explained))
            .into();
    }
    trigger_type(triggers, Field::optional)
}

const TRIGGER: [&str; 3] = ["name", "kind", "at"];

/// What is known of an event of one of these triggers.
fn trigger_type(triggers: &[Trigger], field: fn(StaticType) -> Field) -> StaticType {
    let names: BTreeSet<&str> = triggers.iter().map(|trigger| trigger.name.as_str()).collect();
    let kinds: BTreeSet<String> = triggers
        .iter()
        .map(|trigger| trigger.kind.kind().to_string())
        .collect();
    let [name, kind, at] = TRIGGER.map(str::to_owned);
    let fields = [
        (name, field(StaticType::one_of(names))),
        (kind, field(StaticType::one_of(kinds))),
        (at, field(StaticType::STRING)),
    ];
    ObjectType::new(BTreeMap::from(fields), None).into()
}

fn callbacks(steps: &[&Step]) -> StaticType {
    let waits = steps
        .iter()
        .filter(|step| step.kind.as_kind().callback().is_some());
    let fields = waits.map(|step| {
        let one = strings(&["url", "token"], &[]);
        let type_ = match step.for_each {
            Some(_) => StaticType::list(one),
            None => one,
        };
        (step.name.clone(), Field::required(type_))
    });
    let explained = steps.iter().map(|step| {
        let message = format!(
            "callback('{0}'): there is no wait step {0} with a callback",
            step.name
        );
        (step.name.clone(), message)
    });
    let explained = explained.collect();
    let object = ObjectType::new(fields.collect(), None);
    object
        .called("wait step with a callback named")
        .explaining(explained)
        .into()
}

/// Name under which the types of events lie among the variables.
const EVENTS: &str = "__events";

/// The bodies of the events of each webhook.
fn events(triggers: &[Trigger]) -> StaticType {
    let bodies = triggers.iter().filter_map(|trigger| match &trigger.kind {
        TriggerSource::Webhook(webhook) => {
            let type_ = Field::required(body_of_webhook(webhook));
            Some((trigger.name.to_string(), type_))
        }
        TriggerSource::Schedule(_) | TriggerSource::Flow(_) => None,
    });
    ObjectType::new(bodies.collect(), None).into()
}

/// The type of the body of an event. With `each`, that is an item, of which nothing is known.
pub(crate) fn body_of_webhook(webhook: &WebhookTrigger) -> StaticType {
    match &webhook.schema {
        Some(schema) if webhook.each.is_none() => type_of(schema.as_value(), Defaults::Ignored),
        Some(_) | None => StaticType::Dyn,
    }
}

/// The type of the body of an event that a step waits for. Of another flow's events nothing is known.
pub(crate) fn event_body(declarations: &Declarations, event: &EventWait) -> StaticType {
    let known = match declarations.variables.get(EVENTS) {
        Some(StaticType::Object(known)) if event.flow.is_none() => known.fields().get(event.trigger.as_str()),
        Some(_) | None => None,
    };
    known.map_or(StaticType::Dyn, |field| field.type_.clone())
}

/// Whether values of a type may be keys of events.
pub(crate) fn is_keys(type_: &StaticType) -> bool {
    let is_key = |type_: &StaticType| match type_ {
        StaticType::Dyn | StaticType::OneOf(_) => true,
        StaticType::Scalar(_) => no_json(type_).is_none(),
        StaticType::Optional(_)
        | StaticType::List(_)
        | StaticType::Map(_)
        | StaticType::TypeOf(_)
        | StaticType::Object(_)
        | StaticType::Unresolved(_) => false,
    };
    match type_ {
        StaticType::List(item) => is_key(item),
        StaticType::Optional(inner) => is_keys(inner),
        other => is_key(other),
    }
}

/// The headers of a request or a response: any may be absent.
pub(crate) fn headers() -> StaticType {
    ObjectType::new(BTreeMap::new(), Some(StaticType::STRING))
        .called("header")
        .into()
}

/// What a step gives that starts a run and goes on.
pub(crate) fn detached_run() -> StaticType {
    strings(&["run"], &[])
}

/// What a step gives that posts a message to Slack.
pub(crate) fn slack_message() -> StaticType {
    strings(&["channel", "ts"], &[])
}

/// What a step gives that sends a mail.
pub(crate) fn sent_mail() -> StaticType {
    strings(&["messageId"], &[])
}

/// What a step gives that starts a process and goes on.
pub(crate) fn started_process() -> StaticType {
    let mut fields = fields(&["host"], &[]);
    fields.insert("pid".to_owned(), Field::required(StaticType::INT));
    ObjectType::new(fields, None).into()
}

/// What a step used of language models.
fn usage() -> StaticType {
    let fields = ["inputTokens", "outputTokens", "calls"];
    let fields = fields.map(|name| (name.to_owned(), Field::required(StaticType::INT)));
    ObjectType::new(BTreeMap::from(fields), None).into()
}

/// What a step gives that waits for a command.
pub(crate) fn ended_process() -> StaticType {
    let mut fields = fields(&["stdout", "stderr"], &[]);
    fields.insert("exitCode".to_owned(), Field::required(StaticType::INT));
    ObjectType::new(fields, None).into()
}

/// What a step gives that commits.
pub(crate) fn committed() -> StaticType {
    let mut fields = fields(&["branch", "commit"], &["url"]);
    fields.insert("changed".to_owned(), Field::required(StaticType::BOOL));
    fields.insert("number".to_owned(), Field::optional(StaticType::INT));
    ObjectType::new(fields, None).into()
}

/// What a step gives that reads a value of this type, or that writes one.
pub(crate) fn stored(value: Option<StaticType>) -> StaticType {
    let known = ["version", "updatedAt"];
    let mut fields = match &value {
        // there may be no such value
        Some(_) => fields(&[], &known),
        None => fields(&known, &[]),
    };
    fields.insert("run".to_owned(), Field::optional(StaticType::STRING));
    fields.extend(value.map(|value| ("value".to_owned(), Field::optional(value))));
    ObjectType::new(fields, None).into()
}

/// What a call was answered with, with a body of this type.
pub(crate) fn response(body: StaticType) -> StaticType {
    let fields = [
        ("status", StaticType::INT),
        ("headers", headers()),
        ("body", body),
    ];
    let fields = fields.map(|(name, type_)| (name.to_owned(), Field::required(type_)));
    ObjectType::new(BTreeMap::from(fields), None).into()
}
