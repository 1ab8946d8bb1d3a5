//! Retention: how long runs that ended stay.

use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::HumanDuration;

/// Number of runs that stay, if nothing is said.
const KEEP: usize = 100;
/// How long runs stay, if nothing is said: 720h.
const AFTER: Duration = Duration::from_secs(720 * 3600);

/// How long runs of the flow stay in the API server after they have ended. A run is deleted only after its record is in
/// the object store. Without an object store, no run is deleted. The release that is live counts, and the flow itself
/// while none is live.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Number of ended runs that stay. Older ones are deleted. Defaults to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub keep: Option<i64>,
    /// Time after its end at which a run is deleted. Defaults to 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<HumanDuration>,
}

impl Retention {
    /// How many ended runs stay.
    pub fn keep(&self) -> usize {
        self.keep
            .map_or(KEEP, |keep| usize::try_from(keep).unwrap_or_default())
    }

    /// How long after its end a run stays.
    pub fn after(&self) -> Duration {
        self.after.as_ref().map_or(AFTER, HumanDuration::duration)
    }
}
