//! How far an `agent` step is.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BoundConnection;
use crate::{Digest, Json, schema::TIMESTAMP};

/// How far an `agent` step is: what the model has said, and the calls of tools that are still to be made.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Number of answers of the model.
    #[serde(default)]
    pub turns: i64,
    /// Number of calls of tools that the model has asked for.
    #[serde(default)]
    pub calls: i64,
    /// Calls that were made, by tool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub made: BTreeMap<String, i64>,
    /// Calls of the newest answer that are not over, in order. The first one is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub open: Vec<AgentCall>,
    /// The conversation after the first prompt: answers of the model, and what came of its calls. Long results of old
    /// calls are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5000))]
    pub transcript: Vec<Json>,
    /// Number of the attempt with which what is under way began.
    #[serde(default)]
    pub first_attempt: i64,
    /// Milliseconds that the model and its tools have taken.
    #[serde(default)]
    pub active_millis: i64,
    /// Time at which what is under way began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub active_since: Option<MicroTime>,
}

/// A call of a tool that a model has asked for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCall {
    /// Number of the call, from 1.
    pub number: i64,
    /// What the model calls it.
    #[schemars(length(max = 256))]
    pub id: String,
    /// Name of the tool.
    #[schemars(length(max = 256))]
    pub tool: String,
    /// Arguments of the call. People may have changed them.
    pub arguments: Json,
    /// How far it is.
    pub phase: AgentCallPhase,
    /// How often people were asked.
    #[serde(default)]
    pub asked: i64,
    /// Digest of the effect that people were shown. Nothing else is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Digest>,
    /// Connections as people were shown them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub connections: Vec<BoundConnection>,
}

/// How far a call of a tool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AgentCallPhase {
    /// Nothing has been done about it.
    Open,
    /// People are asked.
    Asking,
    /// It is made.
    Calling,
}
