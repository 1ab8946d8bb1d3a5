//! Flow: the editable definition of a workflow.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, HumanDuration, Json, Step,
    approval::AskVia,
    concurrency::Concurrency,
    name::SUBDOMAIN,
    names,
    notification::Notification,
    retention::Retention,
    step::{Approvers, Escalation},
    trigger::{Trigger, TriggerStatus},
};

/// The editable definition of a workflow. Its newest content is the draft; `live` names the release that is wanted live.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Flow",
    plural = "flows",
    shortname = "fl",
    category = "signoff",
    namespaced,
    status = "FlowStatus",
    derive = "PartialEq",
    doc = "The editable definition of a workflow. Releases are cut from its newest content, the draft.",
    validation = Rule::new("self.metadata.name.size() <= 52").message("a flow's name may have at most 52 characters"),
    printcolumn(name = "Draft", type_ = "string", json_path = ".status.draft.release"),
    printcolumn(name = "Live", type_ = "string", json_path = ".status.live.release"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    )
)]
#[serde(rename_all = "camelCase")]
pub struct FlowSpec {
    #[serde(flatten)]
    #[allow(
        missing_docs,
        reason = "a doc here would become the description of the whole spec"
    )]
    pub definition: Definition,
    /// Name of the release that should be live. Setting it requests a promotion. If a gate applies, the release
    /// becomes live after people have approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub live: Option<String>,
    /// While true, no trigger of the flow starts a run. Events of that time are not made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Definition of a workflow: the spec of a Flow without `live` and `suspend`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// Purpose of the flow, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// JSON Schema of the inputs. Inputs are checked before a run starts. Without a schema, a run takes no inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Json>,
    /// Events that start runs. The triggers of the live release count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub triggers: Option<Vec<Trigger>>,
    /// How many runs with the same key go on at the same time. Without this field, there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Steps in the order in which they run. If any step has `needs`, the steps form a graph instead.
    #[schemars(length(min = 1, max = 200))]
    pub steps: Vec<Step>,
    /// Steps that run one after another before the run ends, in every case: after success, failure, rejection, time-out
    /// and cancellation. Each runs whatever came of those before. They read `run.outcome`, `run.error` and
    /// `run.failedStep`. If one fails, a run that would have succeeded fails (`FinallyFailed`). `approval`, `end` and
    /// `needs` are not allowed, and a `wait` takes at most 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub finally: Option<Vec<Step>>,
    /// Output of the run, read after the last of `steps` if the run succeeds. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub output: Option<BTreeMap<String, Json>>,
    /// Messages about the questions and the ends of runs. A message that cannot be sent never fails a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub notifications: Option<Vec<Notification>>,
    /// Gate that a release must pass to become live. The gate of the release that is live at that moment applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// How long runs of the flow stay after they have ended. Defaults to the newest 100 runs, for 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

impl Definition {
    /// All steps: those of `steps`, then those of `finally`.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(self.finally.iter().flatten())
    }

    /// Names of the flows that its steps run, each once.
    pub fn children(&self) -> BTreeSet<&str> {
        let children = self.all_steps().filter_map(|step| step.kind.as_kind().child());
        children.map(|child| child.name.as_str()).collect()
    }
}

/// Gate of a promotion.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// People must approve the promotion.
    pub approval: PromotionApproval,
}

/// Number of people who must approve, and who may approve.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionApproval {
    /// Limits who may decide. A decider also needs the verb `approve`. Without this field, everybody with the verb
    /// may decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// Number of people who must approve. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub quorum: Option<i64>,
    /// Whether the person who requested the promotion, and the author of the release, may approve it. Defaults to
    /// false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<bool>,
    /// Time limit for the answer. After it, the release does not become live. Defaults to 7d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<HumanDuration>,
    /// Rules that let more people decide if the question stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub escalate: Option<Vec<Escalation>>,
    /// How the question is also asked in the git repository that the flow comes from. Defaults to `decisions.propose`
    /// of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

/// Observed state of a Flow.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Release cut from the newest valid content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<NamedRelease>,
    /// The live release. New runs use it unless they name a release or the channel `Draft`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<NamedRelease>,
    /// Whether another release can become live only through a gate: that of the live release, or of the Repository.
    /// Deleting such a flow also requires the verb `delete` on releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<bool>,
    /// The most recent promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionStatus>,
    /// The triggers of the live release: what they started last, what comes next, and why they start nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub triggers: Vec<TriggerStatus>,
    /// Problems of the definition, each with its place. The first 50 are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub problems: Vec<DefinitionProblem>,
    /// Conditions of type Ready, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl FlowStatus {
    /// Name of the live release.
    pub fn live_release(&self) -> Option<&str> {
        self.live.as_ref().map(|live| live.release.as_str())
    }
}

/// Name and digest of a release.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedRelease {
    /// Name of the release.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub release: String,
    /// Digest of the release.
    pub digest: Digest,
}

/// A promotion and its state.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionStatus {
    /// Release that was requested to become live.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub release: String,
    /// Name of the Approval that gates the promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub approval: Option<String>,
    /// State of the promotion. `Waiting`: people have not decided yet. `Promoted`: the release is live. `Rejected`:
    /// people rejected it. `TimedOut`: nobody answered in time.
    pub phase: PromotionPhase,
    /// How often a promotion of this release was requested, from 1. It is part of the name of the Approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<i64>,
    /// Release that was live before, if it was cut later than this one. The promotion is then a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub rolled_back_from: Option<String>,
}

/// State of a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PromotionPhase {
    /// People have not decided yet.
    Waiting,
    /// The release is live.
    Promoted,
    /// People rejected the promotion.
    Rejected,
    /// Nobody answered in time.
    TimedOut,
}

/// A field and what is wrong with it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionProblem {
    /// Path of the field, such as `spec.steps[2].http.body.order`.
    #[schemars(length(max = 1024))]
    pub field: String,
    /// Description of the problem.
    #[schemars(length(max = 1024))]
    pub message: String,
}
/// The uid of the Repository that a flow belongs to, if it came from git.
pub fn repository_uid(flow: &impl ResourceExt) -> Option<&str> {
    let noted = flow.annotations().get(names::REPOSITORY_UID);
    noted
        .or_else(|| repository_owners(flow).next())
        .map(String::as_str)
}

/// The uids of the Repositories that a flow is deleted with.
pub fn repository_owners(flow: &impl ResourceExt) -> impl Iterator<Item = &String> {
    let owners = flow.owner_references().iter();
    owners
        .filter(|owner| owner.kind == "Repository")
        .map(|owner| &owner.uid)
}
