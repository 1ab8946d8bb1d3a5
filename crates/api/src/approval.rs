//! Approval: a question put to people, bound to what they are shown.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, Json, Verdict,
    json::JsonObject,
    name::{LABEL, SUBDOMAIN},
    schema::TIMESTAMP,
    step::{Approvers, Escalation},
};

/// A question put to people: what it is about, what they are shown, who may decide and until when. Answer it by creating a Decision.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Approval",
    plural = "approvals",
    shortname = "appr",
    category = "signoff",
    namespaced,
    status = "ApprovalStatus",
    derive = "PartialEq",
    doc = "A question put to people. Answer it by creating a Decision, or with `signoff approve`.",
    selectable = ".status.phase",
    validation = Rule::new("self.spec == oldSelf.spec").message("an approval's question never changes"),
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.subject.run"),
    printcolumn(name = "Step", type_ = "string", json_path = ".spec.subject.step"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Needs", type_ = "string", json_path = ".status.needs"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.title", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalSpec {
    /// What the question is about.
    pub subject: ApprovalSubject,
    /// Why it is asked.
    pub purpose: ApprovalPurpose,
    /// Digest of everything the decision is bound to: release, step, iteration and every shown item. A Decision repeats it.
    pub digest: Digest,
    /// Who asked for what is to be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub requested_by: Option<String>,
    /// Who wrote the release, as its source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub author: Option<String>,
    /// Users who are proven to have written the release: whoever changed the flow, or whose key signed its commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 256)))]
    pub written_by: Vec<String>,
    /// The question.
    #[schemars(length(min = 1, max = 2048))]
    pub title: String,
    /// What the deciders are shown: the items of the step, and the Connections that later steps use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 33))]
    pub show: Vec<ShownItem>,
    /// Flat JSON Schema of what a decider may fill in as `values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Json>,
    /// Who may decide, beside having the verb `approve`. Without it everybody who has the verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// How many people must approve, all of them with the same `values`.
    #[schemars(range(min = 1, max = 50))]
    pub quorum: i64,
    /// Whether the requester and those who wrote it may decide.
    pub self_approval: bool,
    /// The verdicts on offer.
    #[schemars(length(min = 1, max = 3))]
    pub verdicts: Vec<Verdict>,
    /// When the time to decide is over, by the API server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub expires_at: Option<Time>,
    /// Who may decide as well, after a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub escalate: Vec<Escalation>,
    /// Name of the Repository that the flow comes from, if it comes from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub repository: Option<String>,
    /// How the question is put on the forge of that Repository. Without it, as the Repository says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

/// How a question is put where the flow lies, beside the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AskVia {
    /// As a pull request: merging it approves, closing it rejects, a review that requests changes requests changes.
    PullRequest,
    /// As a branch with a file, where there is no forge to ask: who merges it with a signed commit, decides.
    Branch,
    /// Not at all.
    None,
}

/// What an approval is about: a step of a run, or a release.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.run) != has(self.release) && has(self.run) == has(self.step)")
        .message("a subject is either a run with a step, or a release")
)]
pub struct ApprovalSubject {
    /// Name of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub run: Option<String>,
    /// Name of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: Option<String>,
    /// Which time round, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub iteration: Option<i64>,
    /// Name of the release that is to become live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub release: Option<String>,
}

/// Why an approval is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalPurpose {
    /// A flow's approval step.
    Step,
    /// An effect that must not be repeated was begun and its outcome is unknown: did it happen?
    Outcome,
    /// A release is to become live.
    Promotion,
}

/// One thing shown to the deciders, whole.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownItem {
    /// Name, unique in the list.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Media type of the content.
    #[schemars(length(min = 1, max = 128))]
    pub media_type: String,
    /// The content: JSON pretty-printed, text as it is.
    #[schemars(length(max = 65536))]
    pub inline: String,
}

/// How a question stands.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// How it stands.
    #[serde(default)]
    pub phase: ApprovalPhase,
    /// What is still needed, such as `1 of finance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub needs: Option<String>,
    /// The decisions that count, one a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub counted: Vec<CountedDecision>,
    /// When it was decided, by the API server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub decided_at: Option<MicroTime>,
    /// Comment of the decision that decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub comment: Option<String>,
    /// What was filled in: by the decision that decided it, and until then by those who have approved so far. Only approvals with the same values
    /// count together; one with other values begins anew, so that nobody is taken to approve what somebody else made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<JsonObject>,
    /// Digest of `values` in canonical JSON, whose first ten digits the commit status `signoff/quorum` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_digest: Option<Digest>,
    /// How it came to its phase, as one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The pull request that puts the question on the forge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<ProposedPullRequest>,
    /// Decided: True once the question is closed, whatever the answer. Asked: False where it cannot be put on the forge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A pull request that puts a question.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposedPullRequest {
    /// Its number.
    pub number: i64,
    /// Its page.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Number of the first pull request that put this question, where it was put more than once. What was done on an earlier one was about another
    /// question of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<i64>,
}

/// How a question stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalPhase {
    /// People have not decided yet.
    #[default]
    Pending,
    /// People said yes.
    Approved,
    /// People said no.
    Rejected,
    /// People asked for changes.
    ChangesRequested,
    /// Nobody decided in time.
    Expired,
    /// What it was about was stopped.
    Cancelled,
    /// What it was about has changed.
    Superseded,
}

impl ApprovalPhase {
    /// The phases in which a question is closed.
    pub const CLOSED: [Self; 6] = [
        Self::Approved,
        Self::Rejected,
        Self::ChangesRequested,
        Self::Expired,
        Self::Cancelled,
        Self::Superseded,
    ];

    /// Whether the question is closed.
    pub fn is_closed(self) -> bool {
        self != Self::Pending
    }
}

impl std::fmt::Display for ApprovalPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}

/// One decision that counts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedDecision {
    /// Name of the Decision.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub decision: String,
    /// Who.
    #[schemars(length(max = 256))]
    pub by: String,
    /// What.
    pub verdict: Verdict,
    /// When the API server accepted it.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: MicroTime,
}
