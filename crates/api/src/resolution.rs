//! Resolutions: callbacks that were lost, answered by hand.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Digest, Json, schema::TIMESTAMP};

/// Callback that never came, answered by hand. The wait takes it like a callback, if it fits the schema and the condition
/// of the wait. A signature is not asked for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// Body of the callback.
    pub body: Json,
    /// Why the callback is answered by hand, for people.
    #[schemars(length(min = 1, max = 1024))]
    pub message: String,
    /// User who answers. From Kubernetes 1.36, the API server fills it in. Any other name is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub by: Option<String>,
}

/// What came of a resolution.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolutionStatus {
    /// User who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub by: Option<String>,
    /// Why the callback was answered by hand.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Time at which the run saw it.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub at: MicroTime,
    /// Digest of the resolution.
    pub digest: Digest,
    /// Why the wait did not take it. Another resolution may take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub refused: Option<String>,
}
