//! Release: the immutable snapshot of a flow that runs are pinned to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest,
    flow::Definition,
    name::{COMMIT, SUBDOMAIN},
};

/// An immutable snapshot of a flow with its digest and where it came from.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signoff.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    shortname = "rel",
    category = "signoff",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "An immutable snapshot of a flow, with its digest and where it came from.",
    selectable = ".spec.flow",
    validation = Rule::new("self.spec == oldSelf.spec").message("a release never changes"),
    printcolumn(name = "Flow", type_ = "string", json_path = ".spec.flow"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".spec.source.commit"),
    printcolumn(name = "Channel", type_ = "string", json_path = ".status.channel"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.digest", priority = 1),
    printcolumn(name = "Author", type_ = "string", json_path = ".spec.source.author", priority = 1),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = ".spec.source.verified.key",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// Name of the flow.
    #[schemars(length(min = 1, max = 52), regex(pattern = SUBDOMAIN))]
    pub flow: String,
    /// The definition as it was when the release was cut.
    pub definition: Definition,
    /// Digest of the definition's canonical JSON.
    pub digest: Digest,
    /// Where the content came from.
    pub source: ReleaseSource,
}

/// Where a release's content came from: a commit, or a flow applied directly.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSource {
    /// Name of the Repository, when it came from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub repository: Option<String>,
    /// The ref it was read at.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub git_ref: Option<String>,
    /// The commit it was read at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = COMMIT))]
    pub commit: Option<String>,
    /// The file in that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
    /// Who wrote the commit, as the commit says; a claim, not a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub author: Option<String>,
    /// First line of the commit message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// Whose signature the commit or its tag carried, when the Repository has `verify`. Absent, nobody vouched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// User who last changed the flow, when it did not come from git, as the API server recorded it in the annotation `signoff.dev/changed-by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub changed_by: Option<String>,
    /// Field manager that last applied the flow, when it did not come from git; a name that the caller chooses, not a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub applied_by: Option<String>,
    /// Generation of the flow, when it did not come from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

impl ReleaseSource {
    /// Who wrote it: as the commit says, or as the API server recorded of a flow that did not come from git.
    pub fn written_by(&self) -> Option<&String> {
        self.author.as_ref().or(self.changed_by.as_ref())
    }
}

/// A good signature by a key that the Repository accepted at that time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Name of the key in the Repository's `spec.verify.keys`.
    #[schemars(length(min = 1, max = 63))]
    pub key: String,
    /// Fingerprint of the key that signed: `SHA256:…` of an SSH key, hexadecimal digits of an OpenPGP key or subkey.
    #[schemars(length(min = 1, max = 128))]
    pub fingerprint: String,
    /// What carried the signature.
    pub object: SignedObject,
}

/// What carries a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignedObject {
    /// The commit.
    Commit,
    /// An annotated tag that points at the commit.
    Tag,
}

/// How a release stands.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// `live`, `draft`, or empty when it is neither any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub channel: Option<String>,
    /// Ready (the digest is right), Stalled (it is not: the release is forged or was written by something else).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}
