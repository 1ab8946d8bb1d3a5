//! `schedule`: start runs at the times of a cron expression.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::HumanDuration;

/// Starts a run at the times of a cron expression.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleTrigger {
    /// Minute, hour, day of the month, month and day of the week, such as `30 9 * * MON-FRI`, or `@hourly`, `@daily`,
    /// `@weekly`, `@monthly`, `@yearly`. `L` is the last day, `15W` the weekday nearest to the 15th, `FRI#2` the second
    /// Friday.
    #[schemars(length(min = 1, max = 128))]
    pub cron: String,
    /// Time zone of the times, such as `Europe/Berlin`. Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// Runs start up to this long after the time meant, always equally long for the same trigger. At most 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<HumanDuration>,
    /// Policy for times that pass while no operator is running. `RunOnce`, the default: one run starts for the
    /// last of them. `Skip`: none starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
}

/// Policy for times that pass while no operator is running. `RunOnce`, the default: one run starts for the last
/// of them. `Skip`: none starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Missed {
    /// None starts.
    Skip,
    /// One run starts for the last of them.
    #[default]
    RunOnce,
}
