//! `limits`: how many calls go through a Connection.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Limits of the calls of steps through a Connection, over all runs. A call waits for its turn. Runs take turns, and the
/// `timeout` of a step counts from its turn.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.maxParallel) || has(self.perMinute)")
        .message("limits has maxParallel, perMinute or both")
)]
pub struct ConnectionLimits {
    /// Most calls at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_parallel: Option<i64>,
    /// Most calls that begin in any 60 seconds. They are counted anew when another operator process takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub per_minute: Option<i64>,
}
