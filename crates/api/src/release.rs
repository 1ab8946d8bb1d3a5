//! Release: the immutable snapshot of a flow that runs are pinned to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::{
    Digest, canonical,
    flow::Definition,
    name::{COMMIT, SUBDOMAIN},
    run::Channel,
};

/// Immutable snapshot of a flow, with its digest and its source.
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
    /// Definition of the flow when the release was cut.
    pub definition: Definition,
    /// Digest of the canonical JSON of the definition and, if there are any, of the dependencies.
    pub digest: Digest,
    /// Releases that the `flow` steps run, one for each flow, ordered by flow. They are chosen when the release is cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub dependencies: Vec<Dependency>,
    /// Where the content came from.
    pub source: ReleaseSource,
}

impl ReleaseSpec {
    /// The digest of what the release says.
    ///
    /// # Errors
    /// If the definition has no JSON form.
    pub fn content_digest(&self) -> Result<Digest, serde_json::Error> {
        content_digest(&self.definition, &self.dependencies)
    }
}

/// The digest of a release with this definition and these dependencies. Without dependencies, it is that of the
/// definition.
///
/// # Errors
/// If the definition has no JSON form.
pub fn content_digest(
    definition: &Definition,
    dependencies: &[Dependency],
) -> Result<Digest, serde_json::Error> {
    if dependencies.is_empty() {
        return canonical::digest(definition);
    }
    canonical::digest(&BTreeMap::from([
        ("definition", serde_json::to_value(definition)?),
        ("dependencies", serde_json::to_value(dependencies)?),
    ]))
}

/// A release of another flow that a release runs.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Name of the flow.
    #[schemars(length(min = 1, max = 52), regex(pattern = SUBDOMAIN))]
    pub flow: String,
    /// Name of the release.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub release: String,
    /// Digest of the release.
    pub digest: Digest,
}

/// A commit, or a flow that was applied directly.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSource {
    /// Name of the Repository, if the content came from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub repository: Option<String>,
    /// Git ref that was read.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub git_ref: Option<String>,
    /// Commit that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = COMMIT))]
    pub commit: Option<String>,
    /// Path of the file in that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
    /// Author of the commit, as the commit says. It is a claim, not a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub author: Option<String>,
    /// First line of the commit message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// Accepted signature on the commit or its tag, if the Repository has `verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// User who last changed the flow, if it did not come from git. The API server records it in the annotation
    /// `signoff.dev/changed-by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub changed_by: Option<String>,
    /// Field manager that last applied the flow, if it did not come from git. The caller chooses this name. It is not
    /// a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub applied_by: Option<String>,
    /// Generation of the flow, if it did not come from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

impl ReleaseSource {
    /// Who wrote it: as the commit says, or as the API server recorded of a flow that did not come from git.
    pub fn written_by(&self) -> Option<&String> {
        self.author.as_ref().or(self.changed_by.as_ref())
    }
}

/// An accepted signature.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Name of the key in `spec.verify.keys` of the Repository.
    #[schemars(length(min = 1, max = 63))]
    pub key: String,
    /// Fingerprint of the signing key: `SHA256:…` for an SSH key, hexadecimal digits for an OpenPGP key or subkey.
    #[schemars(length(min = 1, max = 128))]
    pub fingerprint: String,
    /// What was signed: the commit, or an annotated tag that points at it.
    pub object: SignedObject,
}

/// Git object that carries a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignedObject {
    /// The commit.
    Commit,
    /// An annotated tag that points at the commit.
    Tag,
}

/// Observed state of a Release.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// `Live` if the release is live, otherwise absent. `status.draft` of the Flow names the draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Conditions of type Ready and Stalled, if the release is or was live, or is not usable. Stalled is True if the
    /// digest is wrong: the release was forged or written by another program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}
