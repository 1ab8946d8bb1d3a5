//! Flow: the editable definition of a workflow.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, HumanDuration, Json, Step,
    approval::AskVia,
    name::SUBDOMAIN,
    names,
    step::{Approvers, Escalation},
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
    doc = "The editable definition of a workflow: its newest content is the draft, from which releases are cut.",
    validation = Rule::new("self.metadata.name.size() <= 52").message("a flow's name may have at most 52 characters"),
    printcolumn(name = "Draft", type_ = "string", json_path = ".status.draft.release"),
    printcolumn(name = "Live", type_ = "string", json_path = ".status.live"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct FlowSpec {
    #[serde(flatten)]
    #[allow(
        missing_docs,
        reason = "a doc here would become the description of the whole spec"
    )]
    pub definition: Definition,
    /// Name of the release that should be live. Setting it asks for promotion; a gate may hold it until people approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub live: Option<String>,
}

/// What a release fixes: a Flow's spec without `live`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// What the flow is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// JSON Schema of the inputs, checked before a run starts. Without it a run takes no inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Json>,
    /// The steps. They run in order unless one of them has `needs`; then they form a graph.
    #[schemars(length(min = 1, max = 200))]
    pub steps: Vec<Step>,
    /// Values the run ends with; strings may hold `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub output: Option<BTreeMap<String, Json>>,
    /// What a release must pass to become live. Judged by the gate of the release that is live at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
}

/// What a release must pass to become live.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// People who must approve it.
    pub approval: PromotionApproval,
}

/// The people who must approve a promotion, and how many of them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionApproval {
    /// Who may decide, beside having the verb `approve`. Without it everybody who has the verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// How many people must approve. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub quorum: Option<i64>,
    /// Whether who asked for the promotion, and who wrote the release, may approve it. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<bool>,
    /// How long people have; after that the promotion is not made. Defaults to 7d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<HumanDuration>,
    /// Who may decide as well, after a while without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub escalate: Option<Vec<Escalation>>,
    /// How the question is put on the forge of the Repository that the flow comes from. Defaults to the Repository's `decisions.propose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

/// What a Flow has come to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowStatus {
    /// Generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The release cut from the newest valid content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftStatus>,
    /// Name of the release that is live: runs without another wish are pinned to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub live: Option<String>,
    /// Whether another release becomes live only through a gate: that of the live release, or of the Repository. Who deletes the flow then, and the
    /// gate with it, takes the verb `delete` on releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<bool>,
    /// The promotion under way or last refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionStatus>,
    /// What is wrong with the definition, each with its place; the first 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub problems: Vec<DefinitionProblem>,
    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// The draft as a release.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftStatus {
    /// Name of the release.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub release: String,
    /// Its digest.
    pub digest: Digest,
}

/// A promotion that waits for people or was refused.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionStatus {
    /// The release that is to become live.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub release: String,
    /// The approval that gates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub approval: Option<String>,
    /// How it stands.
    pub phase: PromotionPhase,
    /// Counts the promotions asked of this release, from 1; part of the approval's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<i64>,
    /// The release that was live before, where it was cut later than this one: this promotion was a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub rolled_back_from: Option<String>,
}

/// How a promotion stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PromotionPhase {
    /// People have not decided yet.
    Waiting,
    /// The release is live.
    Promoted,
    /// People said no.
    Rejected,
    /// Nobody answered in time.
    TimedOut,
}

/// One thing that is wrong with a definition.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionProblem {
    /// Where, as a field path such as `spec.steps[2].http.body.order`.
    #[schemars(length(max = 1024))]
    pub field: String,
    /// What is wrong.
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
