//! Concurrency: how many runs that have the same key go on at the same time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{name::SUBDOMAIN, schema::TIMESTAMP};

/// Most characters of a key, once it is evaluated.
pub const MAX_KEY: usize = 256;
/// Most runs with one key that may go on at the same time.
pub const MOST: i64 = 100;

/// Limit on the runs with the same key that go on at the same time. A run holds its place until it ends, also while it
/// waits for people, a callback or a time. A run that another run with the same key started and waits for shares the
/// place of that run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// Key. It may contain `${…}` expressions over `inputs`, `run`, `release` and `trigger`. It is evaluated once, when
    /// the run gets its release, and must give 1 to 256 characters.
    #[schemars(length(min = 1, max = 4096))]
    pub key: String,
    /// Number of runs with the same key that may go on at the same time. Defaults to 1. Each run obeys the number of its
    /// own release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max: Option<i64>,
    /// What happens to a run for which there is no place. Defaults to `Queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// Which runs share a key. Defaults to `Flow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ConcurrencyScope>,
}

impl Concurrency {
    /// How many runs may go on at the same time.
    pub fn max(&self) -> i64 {
        self.max.unwrap_or(1)
    }
}

/// What happens to a run for which there is no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenFull {
    /// The run waits in the queue. The run that was created first goes first.
    #[default]
    Queue,
    /// The run fails with the reason `ConcurrencyRejected`.
    Reject,
    /// The oldest runs that hold a place are cancelled, and older runs in the queue too. The run starts when a place is
    /// free.
    CancelRunning,
}

/// Which runs share a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyScope {
    /// Runs of the same flow.
    #[default]
    Flow,
    /// Runs of all flows of the namespace that have this scope.
    Namespace,
}

/// Key of a run, and whether the run holds a place.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyStatus {
    /// Key of the run. It is set once.
    #[schemars(length(min = 1, max = 256))]
    pub key: String,
    /// Which runs share the key.
    pub scope: ConcurrencyScope,
    /// Number of runs with the same key that may go on at the same time.
    #[schemars(range(min = 1, max = 100))]
    pub max: i64,
    /// What happens if there is no place for the run.
    pub when_full: WhenFull,
    /// Time from which the run holds a place. It keeps the place until it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub held_since: Option<MicroTime>,
    /// Run whose place this run shares. That run started it and waits for it, directly or through other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = SUBDOMAIN))]
    pub shares: Option<String>,
    /// Position in the queue, from 1, at `positionAt`. It is written when the run is queued, and again when the run is
    /// the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub position: Option<i64>,
    /// Time at which `position` was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35), regex(pattern = TIMESTAMP))]
    pub position_at: Option<MicroTime>,
}
