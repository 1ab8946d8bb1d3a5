//! WorkItem: work that a worker outside takes on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HumanDuration, Json,
    name::{DnsLabel, LABEL, SUBDOMAIN},
    schema::TIMESTAMP,
};

/// Work that a worker takes from a queue. The worker writes its claim, its lease, its progress and its answer to the status.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "WorkItem",
    plural = "workitems",
    shortname = "work",
    category = "signoff",
    namespaced,
    status = "WorkItemStatus",
    derive = "PartialEq",
    doc = "A task in a queue. Workers with the verb `work` on the queue take it, for example with `signoff worker run`.",
    selectable = ".spec.queue",
    selectable = ".spec.run",
    selectable = ".status.phase",
    validation = Rule::new("self.spec == oldSelf.spec").message("a task never changes"),
    printcolumn(name = "Queue", type_ = "string", json_path = ".spec.queue"),
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.run"),
    printcolumn(name = "Step", type_ = "string", json_path = ".spec.step"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Worker", type_ = "string", json_path = ".status.worker"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Lease until", type_ = "string", json_path = ".status.leaseUntil", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkItemSpec {
    /// Name of the run.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub run: String,
    /// Name of the flow.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub flow: String,
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: String,
    /// Number of the pass of the step, from 1.
    #[schemars(range(min = 1))]
    pub iteration: i64,
    /// Index of the item, from 0, if the step has `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 499))]
    pub item: Option<i64>,
    /// Name of the queue.
    pub queue: DnsLabel,
    /// Data for the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// What the worker is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub instructions: Option<String>,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// How long a claim lasts without a sign of life.
    pub heartbeat: HumanDuration,
    /// How often the task may fail, or be lost by its worker, before the step fails.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: i64,
    /// Time at which it is too late for a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub expires_at: Option<MicroTime>,
}

/// Observed state of a WorkItem. A worker writes `phase`, `worker`, `claim`, `leaseUntil`, `progress` and `answer`, and only
/// while the task is in the queue or is its own.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkItemStatus {
    /// State of the task. `Queued`: any worker may take it. `Claimed`: a worker has it. `Succeeded`: it has a result.
    /// `Failed`: the last attempt failed, or its worker lost it. `Expired`: there was no result in time. `Cancelled`: the run
    /// does not need it any more.
    #[serde(default)]
    pub phase: WorkItemPhase,
    /// How often the task was claimed. Whoever claims it adds one. A worker's later writes test it, so that they fail once
    /// the claim is lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub claim: i64,
    /// User who has the task, or had it at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub worker: Option<String>,
    /// Time at which the claim is lost, unless the worker renews it: at most `heartbeat` from now, by the clock of the API
    /// server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub lease_until: Option<MicroTime>,
    /// What the worker said last, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub progress: Option<String>,
    /// What the worker answers. The operator then ends the task, puts it back in the queue, or gives the answer back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<WorkAnswer>,
    /// Why the last answer was given back to the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub problem: Option<String>,
    /// How many answers of this claim were given back.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub given_back: i64,
    /// How often the task failed, or its worker lost it.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub failures: i64,
    /// Why the last attempt failed, or how the task ended, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Conditions of type Complete. It is True once the task has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

// serde asks for a reference
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Answer of a worker: a result, or an error. Without both, the task succeeded and has no result.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkAnswer {
    /// The result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Why there is none. If a worker sets both, this counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WorkError>,
}

/// Why a worker could not do a task.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkError {
    /// The reason, for people.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Whether another attempt may help. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

/// State of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkItemPhase {
    /// In the queue.
    #[default]
    Queued,
    /// A worker has it.
    Claimed,
    /// It has a result.
    Succeeded,
    /// It failed, or was lost.
    Failed,
    /// There was no result in time.
    Expired,
    /// Nobody needs it any more.
    Cancelled,
}

impl WorkItemPhase {
    /// The phases in which a task is over.
    pub const CLOSED: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Expired, Self::Cancelled];

    /// Whether the task is over.
    pub fn is_closed(self) -> bool {
        Self::CLOSED.contains(&self)
    }
}

impl std::fmt::Display for WorkItemPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}
