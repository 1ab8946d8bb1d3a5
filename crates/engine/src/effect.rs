//! What a decision asks of the world. Everything in an effect is rendered; an executor chooses nothing.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use signoff_api::{ApprovalPhase, ApprovalSpec, Digest, name::ObjectName, step::HttpMethod};

/// Names one attempt of one iteration of one step within a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectKey {
    /// Name of the step.
    pub step: String,
    /// Which time round, from 1.
    pub iteration: i64,
    /// Which attempt, from 1.
    pub attempt: i64,
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.step, self.iteration, self.attempt)
    }
}

/// One thing to do in the world.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Perform an HTTP request; its outcome comes back as a fact under the same key.
    Http(Box<HttpEffect>),
    /// Create an Approval; doing it again changes nothing.
    OpenApproval(Box<OpenApproval>),
    /// Close an Approval that is still pending; doing it again changes nothing.
    CloseApproval(CloseApproval),
    /// Stop an effect that is being performed; no outcome is expected any more.
    Abort(EffectKey),
}

/// An HTTP request of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpEffect {
    /// Where the outcome belongs.
    pub key: EffectKey,
    /// Sent as `Idempotency-Key`; the same for every attempt of an iteration.
    pub idempotency_key: String,
    /// Whether the intent must be written and acknowledged before the request starts (`AtMostOnce`).
    pub fenced: bool,
    /// Where to.
    pub target: HttpTarget,
    /// Request method.
    pub method: HttpMethod,
    /// Request headers.
    pub headers: BTreeMap<String, String>,
    /// Query parameters, not yet encoded.
    pub query: BTreeMap<String, String>,
    /// JSON body.
    pub body: Option<Value>,
    /// How long the attempt may take.
    #[serde(serialize_with = "as_millis")]
    pub timeout: Duration,
}

/// Where an HTTP request goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpTarget {
    /// A whole address.
    Url(String),
    /// A path below a Connection's base address.
    Connection {
        /// Name of the Connection.
        name: ObjectName,
        /// Appended to its base address; already percent-encoded.
        path: String,
        /// Digest of its spec as it was approved; the call is not made if it has another now.
        #[serde(skip_serializing_if = "Option::is_none")]
        bound: Option<Digest>,
    },
}

/// An Approval to be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenApproval {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: ApprovalSpec,
    /// Whether those decide who may promote, if the Repository that the release comes from has a gate: the spec names nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ask_owners: bool,
}

/// An Approval to be closed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseApproval {
    /// Its name.
    pub name: String,
    /// `Cancelled` or `Superseded`.
    pub phase: ApprovalPhase,
    /// Why, as one sentence.
    pub message: String,
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
