//! `cloudEvent`: a `CloudEvent`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Json, name::ObjectName};

/// A `CloudEvent` 1.0 in JSON. Its `id` is made of the run, the step and the pass, so a repetition has the same.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyCloudEvent {
    /// Name of a `webhook` or `http` Connection in the run's namespace. A `webhook` Connection signs the event.
    pub connection: ObjectName,
    /// Path that is appended to the address of the Connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// Type of the event, such as `com.example.refund.paid`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^$\x00-\x1f\x7f]+$"))]
    pub type_: String,
    /// Source of the event, a URI reference. Defaults to one that names the namespace and the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub source: Option<String>,
    /// Subject of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub subject: Option<String>,
    /// Data of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}
