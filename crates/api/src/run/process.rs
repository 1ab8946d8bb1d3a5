//! Observed state of the processes that a run has started on other machines.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    name::{LABEL, ObjectName},
    schema::TIMESTAMP,
};

/// A process that an `ssh` step started on another machine.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// Name of its folder in `~/.signoff` on the host.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
    /// Name of the step.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub step: String,
    /// Number of the pass of the step, from 1.
    pub iteration: i64,
    /// Index of the item, from 0, if the step has `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 499))]
    pub item: Option<i64>,
    /// Name of the Connection.
    pub connection: ObjectName,
    /// Host that the step named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Process id, which is also that of its group and session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// Wait that the process is tied to: `<step>.<pass>`, or `<step>.<pass>.<item>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub callback: Option<String>,
    /// State of the process.
    pub phase: ProcessPhase,
    /// Time from which the process was to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub ending_since: Option<MicroTime>,
    /// Why the process is to end, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// State of a process on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProcessPhase {
    /// It is being started.
    Starting,
    /// It may have been started: the answer to the start was lost.
    Unknown,
    /// It was started.
    Running,
    /// It is being ended.
    Ending,
    /// Nothing of its group is left.
    Ended,
    /// It could not be ended in time. It may still be there.
    NotEnded,
}

impl ProcessPhase {
    /// Whether nothing more is done about it.
    pub fn is_over(self) -> bool {
        match self {
            Self::Starting | Self::Unknown | Self::Running | Self::Ending => false,
            Self::Ended | Self::NotEnded => true,
        }
    }
}
