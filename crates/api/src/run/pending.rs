//! Messages that are still to be sent about a run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::StepOutcome;
use crate::{
    name::{LABEL, SUBDOMAIN},
    notification::NotificationEvent,
    schema::TIMESTAMP,
};

/// A message that is still to be sent about a run, as `notifications` of its flow say.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingNotification {
    /// Index in `notifications` of the release, from 0.
    #[schemars(range(min = 0, max = 15))]
    pub notification: i64,
    /// Event that the message is about.
    pub event: NotificationEvent,
    /// Time of the event.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: MicroTime,
    /// Name of the Approval that the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub approval: Option<String>,
    /// Name of the step that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: Option<String>,
    /// Outcome of a question that was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<StepOutcome>,
    /// Users who decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 256)))]
    pub by: Vec<String>,
}
