//! Decision: one person's verdict on one approval.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Digest, json::JsonObject, name::ObjectName};

/// Verdict of one person on one Approval. A Decision never changes after it is created.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Decision",
    plural = "decisions",
    shortname = "dec",
    category = "signoff",
    namespaced,
    status = "DecisionStatus",
    derive = "PartialEq",
    doc = "One person's verdict on one Approval. It is created once and never changes.",
    selectable = ".spec.approval",
    validation = Rule::new("self.spec == oldSelf.spec").message("a decision never changes; create another one"),
    validation = Rule::new("has(self.spec.to) == (self.spec.verdict == 'Delegate')")
        .message("the verdict Delegate, and no other, says to whom: spec.to"),
    printcolumn(name = "Approval", type_ = "string", json_path = ".spec.approval"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".spec.verdict"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by"),
    printcolumn(name = "Counted", type_ = "boolean", json_path = ".status.counted"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Comment", type_ = "string", json_path = ".spec.comment", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DecisionSpec {
    /// Name of the Approval, in the same namespace.
    pub approval: ObjectName,
    /// Digest of what was shown: `spec.digest` of the Approval. A decision with another digest does not count.
    pub digest: Digest,
    /// `Approve`, `Reject`, or `RequestChanges` with a comment that says what to change. `Delegate` hands your vote on to
    /// `to`. `Withdraw` takes back what you said before, while the question is open.
    pub verdict: Verdict,
    /// Reason for the verdict. For `RequestChanges`, what should change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub comment: Option<String>,
    /// Values for the form of the Approval. If several people must approve, only approvals with the same values count
    /// together. An approval with other values starts a new tally, and the earlier approvals no longer count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 256))]
    pub values: Option<JsonObject>,
    /// Editable items that the decider changes, by name. Only approvals with the same changes count together. To approve
    /// what somebody else has changed, repeat the changes. Unless the Approval allows self-approval, whoever makes a
    /// change first does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub shown: Option<JsonObject>,
    /// User who decides instead, with the verdict `Delegate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub to: Option<String>,
    /// User who decides. From Kubernetes 1.36, the API server fills it in. Any other name is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub by: Option<String>,
    /// All groups of the user who decides. From Kubernetes 1.36, the API server fills them in. Groups that the user
    /// does not have are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub groups: Option<Vec<String>>,
    /// How the decision was made, if the operator recorded it on behalf of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// Verdict of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Reject,
    /// Not like this. The comment says what to change.
    RequestChanges,
    /// Somebody else decides instead: `to`.
    Delegate,
    /// Takes back the earlier decisions of the decider.
    Withdraw,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}

/// Channel of the decision and its evidence.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Via {
    /// Channel through which the person decided.
    pub channel: ViaChannel,
    /// Evidence of the decision, such as the commit or the pull request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::texts::<16, 4096>")]
    pub evidence: BTreeMap<String, String>,
}

/// Channel through which a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ViaChannel {
    /// A pull request or a commit.
    Git,
    /// A web page.
    Web,
    /// Slack.
    Slack,
}

/// Whether the decision counts, and why.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// Whether the decision counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<bool>,
    /// `Counted`, or the machine-readable reason why the decision does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DecisionReason>,
    /// Explanation of the reason, for people. If somebody else decided first, it says who and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Why a decision counts or does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DecisionReason {
    /// The decision counts.
    Counted,
    /// A later decision by the same person replaces it.
    Replaced,
    /// Somebody approved other values, or changed what is shown, after it. Approve that, or decide again.
    Amended,
    /// The decider took it back, or handed their vote on, or the vote was taken back from them.
    Withdrawn,
    /// There is nothing to take back.
    NothingToWithdraw,
    /// The decider handed their vote on to somebody else.
    Delegated,
    /// The vote cannot be handed on to this user.
    InvalidDelegation,
    /// The decider changed what is shown, so somebody else must approve it.
    AmendmentProposed,
    /// The Approval does not exist.
    ApprovalNotFound,
    /// The digest is not that of what was shown.
    DigestMismatch,
    /// The decider requested the run or promotion, or wrote the release.
    SelfApproval,
    /// A service account requested or wrote it, and the decider may act as that account.
    ActsAsRequester,
    /// The decider is not among the approvers.
    NotAnApprover,
    /// The decider is a service account that the Approval does not name.
    ServiceAccount,
    /// The question was already closed.
    AlreadyDecided,
    /// The decision is older than the question.
    TooEarly,
    /// The deadline had passed.
    Expired,
    /// The subject of the question was stopped.
    Cancelled,
    /// The subject of the question has changed.
    Superseded,
    /// The question does not offer this verdict.
    VerdictNotOffered,
    /// The values do not match the form.
    InvalidValues,
    /// The identity of the decider is not proven.
    IdentityUnverified,
}
