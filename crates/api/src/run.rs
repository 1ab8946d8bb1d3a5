//! Run: one execution of a flow, pinned to one release.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, Json, Verdict,
    json::JsonObject,
    name::{COMMIT, FlowName, LABEL, ReleaseName, SUBDOMAIN},
    reason::StepReason,
    schema::TIMESTAMP,
};

/// One execution of a flow. Its release is chosen once, when it starts; a promotion later does not touch it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Run",
    plural = "runs",
    category = "signoff",
    namespaced,
    status = "RunStatus",
    derive = "PartialEq",
    doc = "One execution of a flow, pinned to one release.",
    selectable = ".spec.flow",
    selectable = ".status.phase",
    validation = Rule::new("self.metadata.name.size() <= 63").message("a run's name may have at most 63 characters"),
    printcolumn(name = "Flow", type_ = "string", json_path = ".spec.flow"),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Waiting on", type_ = "string", json_path = ".status.waitingOn"),
    printcolumn(name = "Requested by", type_ = "string", json_path = ".spec.requestedBy", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.flow == oldSelf.flow").message("the flow of a run never changes"))]
#[x_kube(
    validation = Rule::new("has(self.channel) == has(oldSelf.channel) && (!has(self.channel) || self.channel == oldSelf.channel)")
        .message("the channel of a run never changes")
)]
#[x_kube(
    validation = Rule::new("has(self.release) == has(oldSelf.release) && (!has(self.release) || self.release == oldSelf.release)")
        .message("the release of a run never changes")
)]
#[x_kube(
    validation = Rule::new("has(self.inputs) == has(oldSelf.inputs) && (!has(self.inputs) || self.inputs == oldSelf.inputs)")
        .message("the inputs of a run never change")
)]
#[x_kube(
    validation = Rule::new(
        "has(self.requestedBy) == has(oldSelf.requestedBy) && (!has(self.requestedBy) || self.requestedBy == oldSelf.requestedBy)"
    )
    .message("who requested a run never changes")
)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)")
        .message("a cancellation cannot be taken back")
)]
#[x_kube(
    validation = Rule::new("!(has(self.channel) && has(self.release))").message("a run has either a channel or a release")
)]
pub struct RunSpec {
    /// Name of the flow, in the same namespace.
    pub flow: FlowName,
    /// Which release to take: the live one or the newest draft. Defaults to `live`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Name of the release to take, instead of a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseName>,
    /// Inputs, checked against the release's schema before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<JsonObject>,
    /// Who asked for the run. Filled in by the API server from the caller; nobody can set another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub requested_by: Option<String>,
    /// Stop the run. Cannot be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// Start no further step until this is false again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Which release to take: the live one or the newest draft. Defaults to `live`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Channel {
    /// The release that is live.
    #[default]
    Live,
    /// The release cut from the newest content.
    Draft,
}

/// How a run stands. All of it is written by the controllers but `callbacks`, which the gateway writes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Counts the controllers' writes; each write tests it, so that a stale writer is refused.
    #[serde(default)]
    pub revision: i64,
    /// How it stands as a whole.
    #[serde(default)]
    pub phase: RunPhase,
    /// The release it is pinned to; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<PinnedRelease>,
    /// The steps that have begun, in the order they began; a repeated step has an entry for each iteration.
    #[serde(default)]
    #[schemars(length(max = 2000))]
    pub steps: Vec<StepStatus>,
    /// Callbacks received, by `<step>.<iteration>`; written by the gateway.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 2000))]
    pub callbacks: BTreeMap<String, CallbackRecord>,
    /// What the run ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// How many billable steps were performed.
    #[serde(default)]
    pub billable_steps: i64,
    /// What the run waits for, as one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub waiting_on: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// What the run is about to end as. It is there while the outcome of something that was sent is still to be settled: no step begins any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<RunEnding>,
    /// When the first step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub started_at: Option<MicroTime>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub finished_at: Option<MicroTime>,
    /// Succeeded: True at a good end, False at another, Unknown before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How a run stands as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RunPhase {
    /// Not yet pinned to a release.
    #[default]
    Pending,
    /// Held back by the flow's concurrency limit.
    Queued,
    /// A step is being performed.
    Running,
    /// Nothing goes on until a person, a callback or a clock.
    Waiting,
    /// Ended well.
    Succeeded,
    /// A step failed.
    Failed,
    /// People said no.
    Rejected,
    /// Nobody responded in time.
    TimedOut,
    /// Stopped on request.
    Cancelled,
}

impl RunPhase {
    /// The phases in which a run has ended.
    pub const FINISHED: [Self; 5] = [
        Self::Succeeded,
        Self::Failed,
        Self::Rejected,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// Whether the run has ended.
    pub fn is_finished(self) -> bool {
        Self::FINISHED.contains(&self)
    }

    /// The field selector of runs that have not ended.
    pub fn unfinished() -> String {
        Self::FINISHED
            .map(|phase| format!("status.phase!={phase}"))
            .join(",")
    }
}

impl std::fmt::Display for RunPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}

/// What a run is about to end as.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEnding {
    /// The phase it will have.
    pub outcome: EndingOutcome,
    /// When this was known.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub since: MicroTime,
}

/// How a run ends when it does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndingOutcome {
    /// A step failed.
    Failed,
    /// People said no.
    Rejected,
    /// Nobody responded in time.
    TimedOut,
    /// Stopped on request.
    Cancelled,
}

impl EndingOutcome {
    /// The phase of a run that has ended so.
    pub fn phase(self) -> RunPhase {
        match self {
            Self::Failed => RunPhase::Failed,
            Self::Rejected => RunPhase::Rejected,
            Self::TimedOut => RunPhase::TimedOut,
            Self::Cancelled => RunPhase::Cancelled,
        }
    }
}

/// The release a run is pinned to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedRelease {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// The commit it was cut from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = COMMIT))]
    pub commit: Option<String>,
}

/// How one iteration of one step stands.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
    /// Which time round, from 1.
    pub iteration: i64,
    /// How it stands.
    pub phase: StepPhase,
    /// What it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<StepOutcome>,
    /// Which attempt, from 1; 0 before the first. Steps that are not attempted (`set`, `wait`, `approval`) stay at 0.
    #[serde(default)]
    pub attempt: i64,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub started_at: Option<MicroTime>,
    /// When its newest attempt was begun, of an effect that must not be repeated (`AtMostOnce`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub attempted_at: Option<MicroTime>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub finished_at: Option<MicroTime>,
    /// When it goes on by itself: the next attempt, or the end of a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub wake_at: Option<MicroTime>,
    /// When the time to respond is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub deadline: Option<MicroTime>,
    /// The approval it opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub approval: Option<String>,
    /// Digest of what the deciders were shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where later steps call, as the deciders were shown. They call nowhere else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub connections: Vec<BoundConnection>,
    /// What people decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<StepDecision>,
    /// What it produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Why it failed, or why its last attempt did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// What it waits for, as one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub waiting_on: Option<String>,
}

/// A Connection as it was when people were asked.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoundConnection {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its address; none if it was not there, or is not one to an HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub address: Option<String>,
    /// Digest of its spec.
    pub digest: Digest,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepPhase {
    /// An attempt was begun; its outcome is not known yet.
    Running,
    /// The last attempt failed; another follows.
    Retrying,
    /// It waits for a person, a callback or a clock.
    Waiting,
    /// It ended, well or with an outcome the flow goes on with.
    Succeeded,
    /// It ended badly.
    Failed,
    /// Its `when` was false, or a step it needs was skipped or did not end well.
    Skipped,
    /// The run was stopped, or the step is done again in a later iteration.
    Cancelled,
}

impl StepPhase {
    /// Whether the step has ended in this iteration.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Running | Self::Retrying | Self::Waiting)
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepOutcome {
    /// It did what it is for.
    Succeeded,
    /// It could not.
    Failed,
    /// It was not needed.
    Skipped,
    /// People said yes.
    Approved,
    /// People said no.
    Rejected,
    /// People asked for changes.
    ChangesRequested,
    /// Nobody responded in time.
    TimedOut,
    /// The callback came.
    Callback,
    /// The time waited for came.
    Elapsed,
    /// It was stopped.
    Cancelled,
}

/// What people decided about a step.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepDecision {
    /// What it came to.
    pub verdict: Verdict,
    /// The people whose decisions made it so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 256)))]
    pub by: Vec<String>,
    /// When the deciding one was accepted, by the API server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: Option<MicroTime>,
    /// The deciding one's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub comment: Option<String>,
    /// What the deciders filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<JsonObject>,
}

/// Why a step or a run failed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepError {
    /// Machine-readable reason.
    pub reason: StepReason,
    /// For people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A callback as it was received.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackRecord {
    /// When.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub received_at: MicroTime,
    /// Digest of the body's bytes.
    pub sha256: Digest,
    /// The body.
    pub body: Json,
}
