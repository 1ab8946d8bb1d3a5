//! Retries: the run that a run goes on from, and what it took over.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    Json,
    items::{ItemRanges, ItemsStatus},
    name::{DnsLabel, DnsName, LABEL, SUBDOMAIN},
    names,
    schema::TIMESTAMP,
};

/// An ended run, and the step from which it is done again. The outcomes of the steps before are taken over. Approvals are
/// asked again. The calls have the idempotency keys of the ended run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryOf {
    /// Name of the run, in the same namespace. It must have ended badly. A run can be retried once.
    pub run: RunName,
    /// Name of the first step that is done again. The steps that come after it are done again too. Defaults to the first
    /// step that did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DnsLabel>,
}

/// Name of a Run.
pub type RunName = DnsName<63>;

/// State that a run took over from the run that it retries.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryStatus {
    /// Name of the run that is retried.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub run: String,
    /// Uid of the first run, if that was retried more than once. The idempotency keys of calls begin with it.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Users who requested the runs that are retried, at most the last 20. They may not decide on the questions of this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 256)))]
    pub requested_by: Vec<String>,
    /// Steps of which it is unknown whether the runs that are retried performed them. People say so before they are
    /// performed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(max = 63)))]
    pub unknown: Vec<String>,
    /// Approvals of the run that is retried. They are asked again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub approvals: Vec<EarlierApproval>,
    /// Runs that steps of the runs that are retried started, and on which the runs go on that the steps of this run start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2000))]
    pub children: Vec<EarlierChild>,
    /// Items that are not done again, of steps with `forEach` that are to begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub items: Vec<EarlierItems>,
}

/// Items of a step that were done in the run that is retried.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierItems {
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: String,
    /// Pass of the step, from 1.
    #[schemars(range(min = 1))]
    pub iteration: i64,
    /// The items. They are not done again if the step has the same items.
    pub items: ItemsStatus,
    /// Outputs of the items in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
}

/// Runs that a step of an earlier run started. Their names follow from the rest.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierChild {
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: String,
    /// Pass of the step, from 1.
    #[schemars(range(min = 1))]
    pub iteration: i64,
    /// Items of the step that started a run, such as `0-41,43`, if the step has `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemRanges>,
    /// Name of the run that has the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub run: String,
    /// Uid of that run.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

impl EarlierChild {
    /// Name of the run that the step started, or one of its items.
    pub fn name(&self, item: Option<i64>) -> String {
        match item {
            None => names::child_run_name(&self.run, &self.uid, &self.step, self.iteration),
            Some(item) => names::item_child_run_name(&self.run, &self.uid, &self.step, self.iteration, item),
        }
    }

    /// Whether one is of this item, or of the step if it has none.
    pub fn is_of(&self, item: Option<i64>) -> bool {
        match (&self.items, item) {
            (None, None) => true,
            (Some(items), Some(item)) => items.contains(item),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

/// Approval of a step in the run that is retried.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierApproval {
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: String,
    /// Users who approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 256)))]
    pub by: Vec<String>,
    /// Time of the approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: Option<MicroTime>,
}
