//! Run: one execution of a flow, pinned to one release.

mod agent;
mod parent;
mod pending;
mod process;
mod record;
mod record_ref;
mod step;
mod usage;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, Json,
    concurrency::ConcurrencyStatus,
    json::JsonObject,
    name::{COMMIT, FlowName, LABEL, ReleaseName, SUBDOMAIN},
    resolution::{Resolution, ResolutionStatus},
    retry::{RetryOf, RetryStatus},
    schema::TIMESTAMP,
    trigger::RunTrigger,
};

pub use self::{
    agent::{AgentCall, AgentCallPhase, AgentStatus},
    parent::{ParentRun, RunParent},
    pending::PendingNotification,
    process::{ProcessPhase, ProcessStatus},
    record::{CallbackRecord, EventRecord, HeartbeatRecord},
    record_ref::RecordRef,
    step::{
        BoundConnection, JobLog, ShownRequest, StepDecision, StepError, StepOutcome, StepPhase, StepStatus,
    },
    usage::Usage,
};

/// One execution of a flow. Its release is chosen once, when it starts. A later promotion does not change it.
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
    selectable = ".status.awaitsEvents",
    selectable = ".status.mayAwaitEvents",
    selectable = ".status.hasNotifications",
    validation = Rule::new("self.metadata.name.size() <= 63").message("a run's name may have at most 63 characters"),
    printcolumn(name = "Flow", type_ = "string", json_path = ".spec.flow"),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Requested by", type_ = "string", json_path = ".spec.requestedBy", priority = 1),
    printcolumn(name = "Error", type_ = "string", json_path = ".status.error.reason", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Succeeded")].message"#
    )
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
    validation = Rule::new(
        "has(self.earlierRequesters) == has(oldSelf.earlierRequesters) && (!has(self.earlierRequesters) || self.earlierRequesters == oldSelf.earlierRequesters)",
    )
    .message("who requested the runs that led to a run never changes")
)]
#[x_kube(
    validation = Rule::new("has(self.parent) == has(oldSelf.parent) && (!has(self.parent) || self.parent == oldSelf.parent)")
        .message("the parent of a run never changes")
)]
#[x_kube(
    validation = Rule::new("has(self.retryOf) == has(oldSelf.retryOf) && (!has(self.retryOf) || self.retryOf == oldSelf.retryOf)")
        .message("the run that is retried never changes")
)]
#[x_kube(
    validation = Rule::new("has(self.trigger) == has(oldSelf.trigger) && (!has(self.trigger) || self.trigger == oldSelf.trigger)")
        .message("what started a run never changes")
)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)")
        .message("a cancellation cannot be taken back")
)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.terminate) || !oldSelf.terminate || (has(self.terminate) && self.terminate)")
        .message("a termination cannot be taken back")
)]
#[x_kube(
    validation = Rule::new("!(has(self.channel) && has(self.release))").message("a run has either a channel or a release")
)]
pub struct RunSpec {
    /// Name of the flow, in the same namespace.
    pub flow: FlowName,
    /// Release to use: `Live` for the live release, `Draft` for the newest draft. Defaults to `Live`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Name of the release to use, instead of a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseName>,
    /// Inputs. They are checked against the schema of the release before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<JsonObject>,
    /// User who requested the run. From Kubernetes 1.36, the API server fills it in. Any other name is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub requested_by: Option<String>,
    /// Users who requested the runs that led to this one, and the authors of the flows whose steps started those, at most
    /// the last 20. They may not decide on its questions.
    /// Only the operator sets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 256)))]
    pub earlier_requesters: Vec<String>,
    /// Step that started the run. Only the operator sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunParent>,
    /// The trigger that started the run, and its event. Only the operator sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<RunTrigger>,
    /// Cancels the run. The steps of `finally` still run. A cancellation cannot be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// Stops the run without the steps of `finally`. The outcome of a call with `delivery: AtMostOnce` that was sent is
    /// still settled first. A termination cannot be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate: Option<bool>,
    /// User who cancelled or terminated the run. From Kubernetes 1.36, the API server fills it in. Any other name is
    /// refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub stopped_by: Option<String>,
    /// Why the run is cancelled or terminated, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub stop_message: Option<String>,
    /// While true, no further step starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Callbacks that never came, answered by hand, by the same keys as `callbacks` of the status: `<step>.<pass>`, or
    /// `<step>.<pass>.<item>`. Adding one requires the verb `resolve` on runs. It never changes, unless the wait
    /// refused it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub resolutions: BTreeMap<String, Resolution>,
    /// The ended run that this run goes on from. Release and inputs must be those of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RetryOf>,
}

impl RunSpec {
    /// How many runs each started the next one by its end, until this one or a run that led to it.
    pub fn depth(&self) -> Option<i64> {
        let of_trigger = self.trigger.as_ref().and_then(|trigger| trigger.depth);
        of_trigger.or_else(|| self.parent.as_ref()?.depth)
    }

    /// A run of a flow, with nothing else said.
    pub fn of(flow: FlowName) -> Self {
        Self {
            flow,
            channel: None,
            release: None,
            inputs: None,
            requested_by: None,
            earlier_requesters: vec![],
            parent: None,
            cancel: None,
            terminate: None,
            stopped_by: None,
            stop_message: None,
            suspend: None,
            resolutions: BTreeMap::new(),
            retry_of: None,
            trigger: None,
        }
    }
}

/// Release to use: `Live` for the live release, `Draft` for the newest draft. Defaults to `Live`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// The live release.
    #[default]
    Live,
    /// The release cut from the newest content.
    Draft,
}

impl Channel {
    /// Its name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "Live",
            Self::Draft => "Draft",
        }
    }
}

/// Observed state of a Run. The controllers write it, except `callbacks`, `heartbeats` and
/// `events`, which the gateway writes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of writes by the controllers. Each write tests it, so that a stale writer is refused.
    #[serde(default)]
    pub revision: i64,
    /// State of the run. `Pending`: has no release yet. `Queued`: held back by the concurrency limit of the flow.
    /// `Running`: a step is being performed. `Waiting`: waits for people, a callback, a time or another run.
    /// `Succeeded`, `Failed`, `Rejected`, `TimedOut` and `Cancelled`: ended.
    #[serde(default)]
    pub phase: RunPhase,
    /// Release that the run uses. It is set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<PinnedRelease>,
    /// Inputs of the run, with the defaults of the release. It is set once, if the defaults add anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<JsonObject>,
    /// Key of the run, and whether it holds a place, if the flow limits how many runs go on at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyStatus>,
    /// State that the run took over from the run that it retries. It is set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryStatus>,
    /// Name of the run that retries this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub retried_by: Option<String>,
    /// Uid of the run that retries this one. A later run of the same name is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub retried_by_uid: Option<String>,
    /// Steps that have started, in that order, and items that are under way. Of a step that is repeated, the newest two
    /// passes are kept.
    #[serde(default)]
    #[schemars(length(max = 2000))]
    pub steps: Vec<StepStatus>,
    /// Loops that are in their second pass or a later one, by the step that ends them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub loops: BTreeMap<String, LoopStatus>,
    /// Received callbacks, by `<step>.<pass>`, or `<step>.<pass>.<item>`. The gateway writes them.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 2000))]
    pub callbacks: BTreeMap<String, CallbackRecord>,
    /// Newest heartbeats of callbacks that the run waits for, by the same keys as `callbacks`. The gateway writes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 2000))]
    pub heartbeats: BTreeMap<String, HeartbeatRecord>,
    /// Events that waits of the run took, by the same keys as `callbacks`. The gateway writes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 2000))]
    pub events: BTreeMap<String, EventRecord>,
    /// What came of `resolutions` of the spec, by the same keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub resolutions: BTreeMap<String, ResolutionStatus>,
    /// True while a step waits for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits_events: Option<bool>,
    /// True while a step may still begin to wait for an event. Events that come before are kept for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_await_events: Option<bool>,
    /// True while `notifications` has entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_notifications: Option<bool>,
    /// Messages that are still to be sent, as `notifications` of the flow say. They are written together with what they
    /// are about, and removed when they were sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 1000))]
    pub notifications: BTreeMap<String, PendingNotification>,
    /// Processes that `ssh` steps started on other machines. Of those that are over, the newest are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub processes: Vec<ProcessStatus>,
    /// Output of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Number of billable steps performed. Each `http` and `llm` step counts once per pass and item, however many attempts it
    /// takes. An `agent` step counts each answer of the model and each call of a tool.
    #[serde(default)]
    pub billable_steps: i64,
    /// What all steps together used of language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What the run waits for, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub waiting_on: Option<String>,
    /// Why the run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// How the run will end. It is set while the outcome of a request that was sent is still open, while processes on
    /// other machines are being ended, and while the steps
    /// of `finally` run. No other step starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<RunEnding>,
    /// Time at which the first step started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub started_at: Option<MicroTime>,
    /// Time at which the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub finished_at: Option<MicroTime>,
    /// The record of the run. It is set after the run has ended, if there is an object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordRef>,
    /// Condition of type Succeeded: True if the run succeeded, False if it ended in another way, Unknown before its
    /// end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl Run {
    /// The inputs that expressions see: those of the spec, with the defaults of the release once the run has one.
    pub fn inputs(&self) -> Option<&JsonObject> {
        let completed = self.status.as_ref().and_then(|status| status.inputs.as_ref());
        completed.or(self.spec.inputs.as_ref())
    }
}

/// State of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RunPhase {
    /// The run has no release yet.
    #[default]
    Pending,
    /// The concurrency limit of the flow holds the run back.
    Queued,
    /// A step is being performed.
    Running,
    /// The run waits for people, a callback, a time or another run.
    Waiting,
    /// The run ended well.
    Succeeded,
    /// A step failed.
    Failed,
    /// People rejected.
    Rejected,
    /// Nobody responded in time.
    TimedOut,
    /// The run was cancelled.
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

/// Phase in which the run will end, and since when that is known.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEnding {
    /// Phase in which the run will end.
    pub outcome: EndingOutcome,
    /// Time from which the outcome was known.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub since: MicroTime,
    /// Message of the `end` step, if the run will succeed because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Name of the step that made the run end badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub failed_step: Option<String>,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndingOutcome {
    /// The last step is over, or an `end` step ended the run.
    Succeeded,
    /// A step failed.
    Failed,
    /// People rejected.
    Rejected,
    /// Nobody responded in time.
    TimedOut,
    /// The run was cancelled.
    Cancelled,
}

impl EndingOutcome {
    /// The phase of a run that has ended so.
    pub fn phase(self) -> RunPhase {
        match self {
            Self::Succeeded => RunPhase::Succeeded,
            Self::Failed => RunPhase::Failed,
            Self::Rejected => RunPhase::Rejected,
            Self::TimedOut => RunPhase::TimedOut,
            Self::Cancelled => RunPhase::Cancelled,
        }
    }
}

/// Name, digest and commit of a release.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedRelease {
    /// Name of the release.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// Digest of the release.
    pub digest: Digest,
    /// Commit that the release was cut from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = COMMIT))]
    pub commit: Option<String>,
}

/// How far a loop is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoopStatus {
    /// Number of the current pass since the loop was entered, from 1.
    pub pass: i64,
    /// Time at which the current pass begins, while the loop pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub resume_at: Option<MicroTime>,
}
