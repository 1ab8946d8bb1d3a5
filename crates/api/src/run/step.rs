//! Observed state of the steps of a run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AgentStatus, Usage};
use crate::{
    Digest, Json, Resource, Verdict,
    items::ItemsStatus,
    json::JsonObject,
    name::{LABEL, SUBDOMAIN},
    reason::StepReason,
    schema::TIMESTAMP,
};

/// Observed state of one pass of a step.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
    /// Number of the pass, from 1.
    pub iteration: i64,
    /// Index of the item, from 0, if this entry is an item of a step with `forEach`. Items have an entry only while they
    /// are under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 499))]
    pub item: Option<i64>,
    /// True if a later pass repeats the step, or has repeated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<bool>,
    /// True if the outcome was taken over from the run that this run retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<bool>,
    /// State of the step. `Running`: an attempt has started, and its outcome is not known yet. `Retrying`: an attempt
    /// failed, and another one follows. `Waiting`: waits for people, a callback, a time or another run. `Succeeded`,
    /// `Failed`, `Skipped`, `Omitted` and `Cancelled`: ended.
    pub phase: StepPhase,
    /// Outcome of the step, which later steps read as `steps.<name>.outcome`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<StepOutcome>,
    /// Number of the current attempt, from 1. It is 0 before the first attempt, and for `set`, `wait`, `approval`, `task` and
    /// `flow`.
    #[serde(default)]
    pub attempt: i64,
    /// Time at which the step started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub started_at: Option<MicroTime>,
    /// Start of the newest attempt, for a step with `delivery: AtMostOnce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub attempted_at: Option<MicroTime>,
    /// Time at which the step ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub finished_at: Option<MicroTime>,
    /// Time at which the step goes on by itself: the next attempt, or the end of a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub wake_at: Option<MicroTime>,
    /// Time at which `respondWithin` is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub deadline: Option<MicroTime>,
    /// Time up to which reminders and escalations of the question are among `notifications` of the run, or were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub reminded_at: Option<MicroTime>,
    /// Hashes of the events that the step waits for, each of a trigger and a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 16)))]
    pub event_keys: Vec<String>,
    /// Name of the Approval that the step opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub approval: Option<String>,
    /// Name of the Run that the step started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub run: Option<String>,
    /// Name of the WorkItem that the step opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub task: Option<String>,
    /// Name of the Job that the newest attempt of the step created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub job: Option<String>,
    /// End of the log of the Job that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<JobLog>,
    /// User who did the task of the step, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub worker: Option<String>,
    /// Digest of what people were shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Connections that later steps use, as people were shown them. Later steps do not call any other address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub connections: Vec<BoundConnection>,
    /// Requests of later steps, as people were shown them. Later steps send nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub requests: Vec<ShownRequest>,
    /// What people decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<StepDecision>,
    /// Output of the step. With `forEach`, it lists the outputs of the items in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// What the step used of language models, failed attempts included. With `forEach`, all items together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How far an `agent` step is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<AgentStatus>>,
    /// Items of the step, if it has `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemsStatus>,
    /// Why the step, or its last attempt, failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// What the step waits for, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub waiting_on: Option<String>,
}

/// End of the log of a Job.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLog {
    /// The last part of it, if there is no object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub text: Option<String>,
    /// The last part of it, in the object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub missing: Option<String>,
}

/// A Connection at the time when people were asked.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoundConnection {
    /// Name of the Connection, or `repository/` and the name of a Repository.
    #[schemars(length(max = 264))]
    pub name: String,
    /// Address of the Connection. It is absent if the Connection did not exist or has no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub address: Option<String>,
    /// Digest of the spec of the Connection.
    pub digest: Digest,
}

/// A request of a later step, as people were shown it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownRequest {
    /// Name of the step that sends it.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: String,
    /// Digest of the request.
    pub digest: Digest,
}

/// State of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepPhase {
    /// An attempt has started. Its outcome is not known yet.
    Running,
    /// The last attempt failed. Another one follows.
    Retrying,
    /// The step waits for people, a callback, a time or another run.
    Waiting,
    /// The step ended well, or with an outcome with which the flow goes on.
    Succeeded,
    /// The step failed.
    Failed,
    /// Its `when` is false.
    Skipped,
    /// A step that it needs ended with another outcome than it asks for, or was omitted itself.
    Omitted,
    /// The run was stopped, or a later pass repeats the step.
    Cancelled,
}

impl StepPhase {
    /// Whether the step has ended in this pass.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Running | Self::Retrying | Self::Waiting)
    }
}

/// Outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepOutcome {
    /// The step succeeded.
    Succeeded,
    /// The step failed.
    Failed,
    /// The step was skipped.
    Skipped,
    /// `needs` asked for another outcome, or the run ended first.
    Omitted,
    /// People approved.
    Approved,
    /// People rejected.
    Rejected,
    /// People requested changes.
    ChangesRequested,
    /// Nobody responded in time.
    TimedOut,
    /// The callback arrived.
    Callback,
    /// The event arrived.
    Event,
    /// The wait is over.
    Elapsed,
    /// The step was stopped.
    Cancelled,
}

impl StepOutcome {
    /// All outcomes.
    pub const ALL: [Self; 12] = [
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Omitted,
        Self::Approved,
        Self::Rejected,
        Self::ChangesRequested,
        Self::TimedOut,
        Self::Callback,
        Self::Event,
        Self::Elapsed,
        Self::Cancelled,
    ];
}

impl std::fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}

/// Verdict on an approval step, and who decided.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepDecision {
    /// The verdict.
    pub verdict: Verdict,
    /// Users whose decisions count towards the verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 256)))]
    pub by: Vec<String>,
    /// Time of the final decision, by the clock of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: Option<MicroTime>,
    /// Comment of the final decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub comment: Option<String>,
    /// Values that the deciders filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<JsonObject>,
    /// The editable items as they were approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<JsonObject>,
}

/// Reason and message of a failure.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepError {
    /// Machine-readable reason.
    pub reason: StepReason,
    /// Explanation for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}
