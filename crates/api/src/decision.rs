//! Decision: one person's verdict on one approval.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Digest, json::JsonObject, name::ObjectName};

/// One person's verdict on one Approval. It is created once and never changes.
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
    /// Digest of what was shown, as in the Approval's `spec.digest`. A decision on something else does not count.
    pub digest: Digest,
    /// The verdict.
    pub verdict: Verdict,
    /// Why; for `RequestChanges`, what should change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub comment: Option<String>,
    /// What the approval's form asks for. Where several people must approve, only approvals with the same values count together: one with other
    /// values begins anew, and those before it count no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<JsonObject>,
    /// Who decides. Filled in by the API server from the caller; nobody can set another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub by: Option<String>,
    /// The decider's groups, all of them. Filled in by the API server from the caller; others cannot be claimed, and none can be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub groups: Option<Vec<String>>,
    /// How the decision came in, when the operator wrote it for somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Reject,
    /// Not like this: see the comment.
    RequestChanges,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the serialised form is the variant's name, which Debug prints
        std::fmt::Debug::fmt(self, f)
    }
}

/// How a decision came in, and what proves it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Via {
    /// Through what.
    pub channel: ViaChannel,
    /// What proves it, such as the commit or the session.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::texts::<16, 4096>")]
    pub evidence: BTreeMap<String, String>,
}

/// Through what a decision came in.
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

/// Whether a decision counts.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// Whether it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<bool>,
    /// Why it does not count, machine-readable; `Counted` when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<DecisionReason>,
    /// Why, for people; for the loser of a race, who decided and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Why a decision counts or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DecisionReason {
    /// It counts.
    Counted,
    /// A later decision by the same person stands in its place.
    Replaced,
    /// Somebody approved other values after it: approve those, or decide anew.
    Amended,
    /// There is no such approval.
    ApprovalNotFound,
    /// The digest is not that of what was shown.
    DigestMismatch,
    /// The decider asked for what is to be approved, or wrote it.
    SelfApproval,
    /// A service account asked for what is to be approved, or wrote it, and the decider may act as it.
    ActsAsRequester,
    /// The decider is not among the approvers.
    NotAnApprover,
    /// A service account that the approval does not name.
    ServiceAccount,
    /// The question was closed before: somebody else decided.
    AlreadyDecided,
    /// It is older than the question.
    TooEarly,
    /// The time to decide was over.
    Expired,
    /// What it was about was stopped.
    Cancelled,
    /// What it was about has changed.
    Superseded,
    /// The verdict is not on offer.
    VerdictNotOffered,
    /// The values do not match the form.
    InvalidValues,
    /// It is not proven who decided.
    IdentityUnverified,
}
