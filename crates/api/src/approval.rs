//! Approval: a question put to people, bound to what they are shown.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, HumanDuration, Json, Verdict,
    json::JsonObject,
    name::{LABEL, SUBDOMAIN},
    run::ParentRun,
    schema::TIMESTAMP,
    step::{Approvers, Editable, Escalation},
};

/// A question to people: its subject, what they see, who may decide, and until when. To answer it, create a Decision.
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
    doc = "A question to people. Answer it by creating a Decision, or with `signoff approve`.",
    selectable = ".status.phase",
    validation = Rule::new("self.spec == oldSelf.spec").message("an approval's question never changes"),
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.subject.run"),
    printcolumn(name = "Step", type_ = "string", json_path = ".spec.subject.step"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Needs", type_ = "string", json_path = ".status.needs"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.title"),
    printcolumn(name = "Release", type_ = "string", json_path = ".spec.subject.release", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalSpec {
    /// What the question is about.
    pub subject: ApprovalSubject,
    /// Why the question is asked. `Step`: an approval step of a flow. `Outcome`: whether an effect with an unknown
    /// outcome happened. `Promotion`: whether a release may become live.
    pub purpose: ApprovalPurpose,
    /// Digest of everything that the decision is bound to: release, step, pass and every shown item. A Decision
    /// repeats it.
    pub digest: Digest,
    /// User who requested the run or the promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub requested_by: Option<String>,
    /// Users who requested runs that led to this one (runs that it retries, and runs whose end started it), and the authors
    /// of the flows whose steps started those. They may not decide, unless `selfApproval` is true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 256)))]
    pub earlier_requesters: Vec<String>,
    /// Runs that led to the run of this question: the run that started it, the run that started that one, and so on.
    /// Users who requested them, and authors of their releases, may not decide, unless `selfApproval` is true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub parents: Vec<ParentRun>,
    /// Author of the release, as recorded in its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub author: Option<String>,
    /// Users who provably wrote the release: those who changed the flow, or whose key signed its commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 256)))]
    pub written_by: Vec<String>,
    /// The question.
    #[schemars(length(min = 1, max = 2048))]
    pub title: String,
    /// Items that people see: those of the step, the Connections that later steps use, and who approved before in a run
    /// that is retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 34))]
    pub show: Vec<ShownItem>,
    /// Flat JSON Schema of the `values` that a decider may fill in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Json>,
    /// Limits who may decide. A decider also needs the verb `approve`. Without this field, everybody with the verb
    /// may decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// Number of people who must approve, all with the same `values`.
    #[schemars(range(min = 1, max = 50))]
    pub quorum: i64,
    /// Whether the requester and the authors may decide.
    pub self_approval: bool,
    /// Verdicts that people can choose from. `Withdraw` is always possible.
    #[schemars(length(min = 1, max = 4))]
    pub verdicts: Vec<Verdict>,
    /// Deadline for decisions, by the clock of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub expires_at: Option<Time>,
    /// How often an Event reminds people while the question is open, counted from the time of asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<HumanDuration>,
    /// Rules that let more people decide if the question stays open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub escalate: Vec<Escalation>,
    /// Name of the Repository that the flow comes from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub repository: Option<String>,
    /// How the question is also asked in that Repository. Defaults to `decisions.propose` of the Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_via: Option<AskVia>,
}

/// How the question is also asked in the git repository that the flow comes from. `PullRequest`: as a pull request.
/// Merging it approves, closing it rejects, and a review can request changes. `Branch`: as a branch with a file,
/// without a forge. People answer with a signed commit. `None`: not in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AskVia {
    /// As a pull request. Merging it approves, closing it rejects, and a review can request changes.
    PullRequest,
    /// As a branch with a file, without a forge. People answer with a signed commit.
    Branch,
    /// Not in the repository, only as an Approval object.
    None,
}

/// A step of a run, or a release.
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
    /// Number of the pass of the step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub iteration: Option<i64>,
    /// Index of the item, from 0, if the step has `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 499))]
    pub item: Option<i64>,
    /// Name of the release that would become live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub release: Option<String>,
}

/// Why a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalPurpose {
    /// An approval step of a flow.
    Step,
    /// Whether an effect with an unknown outcome happened.
    Outcome,
    /// Whether a release may become live.
    Promotion,
}

/// Name, media type and complete content of an item.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownItem {
    /// Name of the item, unique in the list.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Media type of the content.
    #[schemars(length(min = 1, max = 128))]
    pub media_type: String,
    /// The content. JSON is pretty-printed, text is unchanged, and a picture or a sound is in base64.
    #[schemars(length(max = 65536))]
    pub inline: String,
    /// Schema of the value that deciders may give the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub editable: Option<Editable>,
}

/// Observed state of an Approval.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// State of the question. `Pending`: not decided yet. `Approved`, `Rejected`, `ChangesRequested`: the decision.
    /// `Expired`: nobody decided in time. `Cancelled`: its subject was stopped. `Superseded`: its subject has
    /// changed.
    #[serde(default)]
    pub phase: ApprovalPhase,
    /// What is still needed, such as `1 of finance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub needs: Option<String>,
    /// Number of times to remind people that have come. For those that came while the operator did not run, there is
    /// one Event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub reminders: Option<i64>,
    /// Decisions that count, at most one for each person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub counted: Vec<CountedDecision>,
    /// Time of the decision, by the clock of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub decided_at: Option<MicroTime>,
    /// Comment of the final decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub comment: Option<String>,
    /// Values of the final decision. Before that, the values that people have approved so far. Only approvals with
    /// the same values count together. An approval with other values starts a new tally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<JsonObject>,
    /// Digest of `values` in canonical JSON. The commit status `signoff/quorum` shows its first ten digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_digest: Option<Digest>,
    /// Votes that were handed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub delegations: Vec<Delegation>,
    /// The editable items as they would be approved, or were: with the newest changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<JsonObject>,
    /// The newest change to what is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amendment: Option<Amendment>,
    /// How the question reached its phase, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Pull request that asks the question on the forge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<ProposedPullRequest>,
    /// Conditions of type Decided and Asked. Decided is True once the question is closed, whatever the answer. Asked
    /// is False if the question cannot be asked on the forge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A vote that was handed on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delegation {
    /// User who handed it on.
    #[schemars(length(max = 256))]
    pub from: String,
    /// User who decides instead.
    #[schemars(length(max = 256))]
    pub to: String,
    /// Name of the Decision.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub decision: String,
}

/// A change to what is shown.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amendment {
    /// Name of the Decision that made it.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub decision: String,
    /// User who made it. Unless `selfApproval` is true, somebody else must approve it.
    #[schemars(length(max = 256))]
    pub by: String,
    /// Digest of the question and of the changed items. The decisions that count are on it.
    pub digest: Digest,
}

/// Number and page of the pull request.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposedPullRequest {
    /// Number of the pull request.
    pub number: i64,
    /// Web page of the pull request.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Number of the first pull request for this question, if there was more than one. Actions on pull requests with
    /// lower numbers belong to another question of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<i64>,
}

/// State of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalPhase {
    /// Not decided yet.
    #[default]
    Pending,
    /// People approved.
    Approved,
    /// People rejected.
    Rejected,
    /// People requested changes.
    ChangesRequested,
    /// Nobody decided in time.
    Expired,
    /// The subject was stopped.
    Cancelled,
    /// The subject has changed.
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

/// A decision and its author.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountedDecision {
    /// Name of the Decision.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub decision: String,
    /// User who decided.
    #[schemars(length(max = 256))]
    pub by: String,
    /// Verdict of the decision.
    pub verdict: Verdict,
    /// Time at which the API server accepted the decision.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: MicroTime,
}
