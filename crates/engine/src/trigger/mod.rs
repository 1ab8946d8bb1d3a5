//! Triggers: which run an event starts. The same event gives the same run, however often it is heard of.

pub mod flow;
pub mod schedule;
pub mod webhook;

use std::collections::BTreeMap;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use self::{
    flow::{FlowPlan, MAX_DEPTH},
    schedule::SchedulePlan,
    webhook::WebhookPlan,
};
use crate::{
    expression::{EvaluationError, JsonTemplate, Scope},
    facts::ReleaseFacts,
    inputs,
};
use signoff_api::{
    Definition, Digest, Run,
    json::JsonObject,
    name::{DnsLabel, NameError},
    names,
    run::RunSpec,
    text::visible,
    trigger::{EventStart, RunTrigger, TriggerKind, TriggerReason},
};

/// A trigger that can fire.
#[derive(Clone, Debug)]
pub struct TriggerPlan {
    /// Its name.
    pub name: DnsLabel,
    /// What starts a run.
    pub source: SourcePlan,
    /// Whether it starts nothing.
    pub is_suspended: bool,
    pub(crate) inputs: JsonTemplate,
}

/// What starts a run.
#[derive(Clone, Debug)]
pub enum SourcePlan {
    /// Times.
    Schedule(Box<SchedulePlan>),
    /// Ends of runs of another flow.
    Flow(FlowPlan),
    /// Requests to the gateway.
    Webhook(Box<WebhookPlan>),
}

impl SourcePlan {
    /// The kind of the trigger.
    pub fn kind(&self) -> TriggerKind {
        match self {
            Self::Schedule(_) => TriggerKind::Schedule,
            Self::Flow(_) => TriggerKind::Flow,
            Self::Webhook(_) => TriggerKind::Webhook,
        }
    }

    /// When an event starts a run, of a trigger for requests.
    pub fn event_start(&self) -> Option<EventStart> {
        match self {
            Self::Webhook(webhook) => Some(webhook.start),
            Self::Schedule(_) | Self::Flow(_) => None,
        }
    }

    /// Digest of what decides which events count: after a change of it, only later events do.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Schedule(schedule) => schedule.digest(),
            Self::Flow(flow) => flow.digest(),
            Self::Webhook(_) => WebhookPlan::digest(),
        }
    }
}

/// Something that happened, for which a trigger starts a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened, or was meant to.
    pub at: Timestamp,
    /// What tells it from every other event of the trigger.
    pub id: String,
    /// What waits name it by.
    pub key: Option<String>,
    /// What the expressions of `inputs` see of it.
    pub variables: Vec<(&'static str, Value)>,
    /// The run whose end it is.
    pub run: Option<String>,
    /// The users who requested that run and the runs that led to it.
    pub requesters: Vec<String>,
    /// How many runs each started the next one, until the one that it starts.
    pub depth: Option<i64>,
    /// Digest of what came.
    pub sha256: Option<Digest>,
}

impl Event {
    /// What a wait that takes it gives: the item, or the body.
    pub fn payload(&self) -> &Value {
        let variable = |name: &str| self.variables.iter().find(|(known, _)| *known == name);
        let found = variable("item").or_else(|| variable("body"));
        found.map_or(&Value::Null, |(_, value)| value)
    }
}

/// A run that is to start.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Its name, which is that of the event.
    pub name: String,
    /// What it says.
    pub spec: RunSpec,
}

/// Why an event starts no run.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// An expression of `inputs` has no value.
    #[error("the inputs could not be evaluated: {0}")]
    Expression(#[from] EvaluationError),
    /// The inputs do not fit the release.
    #[error("{0}")]
    Inputs(String),
    /// Runs that start one another do not go on for ever.
    #[error("{MAX_DEPTH} runs have each started the next one by its end, and no further one starts")]
    TooLong,
    /// The flow or the release has no proper name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl NotStarted {
    /// The reason in the status of the flow.
    pub fn reason(&self) -> TriggerReason {
        match self {
            Self::Expression(_) => TriggerReason::ExpressionFailed,
            Self::Inputs(_) => TriggerReason::InvalidInputs,
            Self::TooLong => TriggerReason::ChainTooLong,
            Self::Name(_) => TriggerReason::RunRefused,
        }
    }

    /// The same for people.
    pub fn message(&self) -> String {
        visible(&self.to_string()).chars().take(1_024).collect()
    }
}

impl TriggerPlan {
    /// The run that an event starts on a release.
    ///
    /// # Errors
    /// Why it starts none.
    pub fn start(
        &self,
        definition: &Definition,
        release: &ReleaseFacts,
        event: &Event,
    ) -> Result<NewRun, NotStarted> {
        let trigger = RunTrigger {
            name: self.name.clone(),
            kind: self.source.kind(),
            at: MicroTime(event.at),
            run: event.run.clone(),
            depth: event.depth,
            sha256: event.sha256.clone(),
        };
        if event.depth.is_some_and(|depth| depth > MAX_DEPTH) {
            return Err(NotStarted::TooLong);
        }
        let mut scope = Scope::default();
        scope
            .set("trigger", as_variable(Some(&trigger)))
            .set("release", release.as_variable());
        for (name, value) in &event.variables {
            scope.set(name, value.clone());
        }
        let given = match self.inputs.value(&scope)? {
            Value::Object(given) => JsonObject(given),
            _ => JsonObject::default(),
        };
        inputs::complete(definition, &given).map_err(NotStarted::Inputs)?;
        Ok(NewRun {
            name: names::triggered_run_name(&release.flow, &self.name, &event.id),
            spec: RunSpec {
                // the inputs were made for it
                release: Some(release.name.parse()?),
                inputs: (!given.0.is_empty()).then_some(given),
                requested_by: Some(names::trigger_user(&release.flow, &self.name)),
                earlier_requesters: event.requesters.clone(),
                trigger: Some(trigger),
                ..RunSpec::of(release.flow.parse()?)
            },
        })
    }
}

impl NewRun {
    /// The object.
    pub fn object(&self) -> Run {
        let labels = BTreeMap::from([
            (names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned()),
            (names::FLOW.to_owned(), self.spec.flow.to_string()),
        ]);
        Run {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: self.spec.clone(),
            status: None,
        }
    }

    /// Whether a run is the one that this event started. One of the same name may be another's: nobody else's is requested
    /// by a trigger, and the name is that of the event.
    pub fn is(&self, run: &Run) -> bool {
        run.spec.flow == self.spec.flow && run.spec.requested_by == self.spec.requested_by
    }

    /// Whether what came for a run is what came for this one.
    pub fn is_of_same_body(&self, run: &Run) -> bool {
        let sha256 = |spec: &RunSpec| spec.trigger.as_ref().and_then(|trigger| trigger.sha256.clone());
        sha256(&run.spec) == sha256(&self.spec)
    }
}

/// What expressions see of the trigger of a run.
pub(crate) fn as_variable(trigger: Option<&RunTrigger>) -> Value {
    trigger.map_or_else(
        || json!({}),
        |trigger| json!({ "name": trigger.name, "kind": trigger.kind, "at": trigger.at.0.to_string() }),
    )
}

#[cfg(test)]
mod tests;
