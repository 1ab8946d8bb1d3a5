//! The runs with a step that started a run.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Digest,
    name::{LABEL, SUBDOMAIN},
};

/// Step of another run that started this one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunParent {
    /// Uid of the run.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: String,
    /// Number of the pass of the step, from 1.
    #[schemars(range(min = 1))]
    pub iteration: i64,
    /// Index of the item, from 0, if the step has `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 499))]
    pub item: Option<i64>,
    /// Digest of the release that the parent's release pins. The run uses no other one.
    pub digest: Digest,
    /// True if the parent does not wait for this run and does not cancel it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<bool>,
    /// How many runs each started the next one by its end, until the first run of `chain`. At most 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub depth: Option<i64>,
    /// The run that has the step, the run that started that one, and so on.
    #[schemars(length(min = 1, max = 4))]
    pub chain: Vec<ParentRun>,
}

impl RunParent {
    /// Name of the run that has the step.
    pub fn run(&self) -> Option<&str> {
        self.chain.first().map(|parent| parent.run.as_str())
    }

    /// Whether the parent waits for the run.
    pub fn is_waited_for(&self) -> bool {
        self.detached != Some(true)
    }
}

/// A run that started another one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRun {
    /// Name of the run.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub run: String,
    /// Name of its flow.
    #[schemars(length(min = 1, max = 52), regex(pattern = SUBDOMAIN))]
    pub flow: String,
    /// User who requested it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub requested_by: Option<String>,
    /// Author of its release, as recorded in the source of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub author: Option<String>,
}
