//! What came from outside for the waits of a run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, Json, name::SUBDOMAIN, schema::TIMESTAMP};

/// A received heartbeat.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatRecord {
    /// Time at which the gateway received the heartbeat.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub received_at: MicroTime,
}

/// An event that a wait took.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// Time at which the gateway received the event.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub received_at: MicroTime,
    /// Name of the event, which is the same each time that its sender sends it.
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// Body of the event, until the wait is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
}

/// A received callback.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackRecord {
    /// Time at which the gateway received the callback.
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub received_at: MicroTime,
    /// Digest of the bytes of the body, uncompressed.
    pub sha256: Digest,
    /// Header `webhook-id` of the request, which is the same each time that the sender sends this callback.
    #[serde(default, rename = "webhookID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub webhook_id: Option<String>,
    /// Body of the callback.
    pub body: Json,
}
