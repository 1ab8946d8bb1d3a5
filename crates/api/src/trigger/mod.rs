//! Triggers: what starts runs of a flow by itself. Each kind of trigger is a file.

mod flow;
mod schedule;
mod webhook;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    flow::FlowTrigger,
    schedule::{Missed, ScheduleTrigger},
    webhook::{EventStart, WebhookAuth, WebhookTrigger},
};
use super::{
    Digest,
    json::JsonObject,
    name::{DnsLabel, SUBDOMAIN},
    schema::TIMESTAMP,
};

/// Most triggers of a flow.
pub const MAX_TRIGGERS: usize = 20;

/// An event that starts a run of the flow. Triggers count while their release is live. Exactly one kind is set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Name of the trigger, unique in the flow.
    pub name: DnsLabel,
    /// Inputs of the run. Strings may contain `${…}` expressions over `trigger` and
    /// `release`, for a `flow` trigger over `run`, the run that ended, and for a `webhook` over `body`,
    /// `headers` and `item`. If they do not match the
    /// schema of the inputs, no run starts, and the status of the flow says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub inputs: Option<JsonObject>,
    /// While true, the trigger starts nothing. Events of that time are not made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Kind of the events that start the run. Exactly one is set.
    #[serde(flatten)]
    pub kind: TriggerSource,
}

/// Kind of the events that start the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TriggerSource {
    /// Starts a run at the times of a cron expression.
    Schedule(ScheduleTrigger),
    /// Starts a run when a run of another flow ends.
    Flow(FlowTrigger),
    /// Starts a run for each request to an address of the gateway.
    Webhook(Box<WebhookTrigger>),
}

impl TriggerSource {
    /// Its kind.
    pub fn kind(&self) -> TriggerKind {
        match self {
            Self::Schedule(_) => TriggerKind::Schedule,
            Self::Flow(_) => TriggerKind::Flow,
            Self::Webhook(_) => TriggerKind::Webhook,
        }
    }
}

/// Kind of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TriggerKind {
    /// Starts a run at the times of a cron expression.
    Schedule,
    /// Starts a run when a run of another flow ends.
    Flow,
    /// Starts a run for each request to an address of the gateway.
    Webhook,
}

impl std::fmt::Display for TriggerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}

/// The trigger that started a run, and its event.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTrigger {
    /// Name of the trigger.
    pub name: DnsLabel,
    /// Kind of the trigger.
    pub kind: TriggerKind,
    /// Time of the event: for a schedule, the time meant; for a flow, the end of its run; for a webhook, when the
    /// request came.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: MicroTime,
    /// Name of the run whose end started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub run: Option<String>,
    /// How many runs each started the next one by its end, until this one. At most 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub depth: Option<i64>,
    /// Digest of the body of the request, or of the item of it, that started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// Observed state of a trigger of the live release.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStatus {
    /// Name of the trigger.
    pub name: DnsLabel,
    /// Digest of what decides which events count. If it changes, only later events count.
    pub digest: Digest,
    /// Time from which events count: when the trigger became live, was changed, or was resumed.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub since: MicroTime,
    /// Time of the last event that was dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub last_at: Option<MicroTime>,
    /// Name of the last run that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub last_run: Option<String>,
    /// Time of the next event, if it is known. With `jitter`, the run starts a while later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub next_at: Option<MicroTime>,
    /// Why the trigger starts nothing now, or started nothing for the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<TriggerReason>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Why a trigger starts nothing now, or started nothing for the last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TriggerReason {
    /// The trigger or the flow is suspended.
    Suspended,
    /// Times passed while no operator was running.
    Missed,
    /// Too many runs would start one another.
    ChainTooLong,
    /// An expression could not be evaluated.
    ExpressionFailed,
    /// The inputs do not match the schema of the release.
    InvalidInputs,
    /// The API server refused the run.
    RunRefused,
    /// Another run has the name of the run.
    RunNameTaken,
}

impl std::fmt::Display for TriggerReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}
