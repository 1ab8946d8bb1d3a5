//! `end`: end the run here.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, run::StepOutcome};

/// Ends the run. Steps that are still running are stopped, and no further step starts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndStep {
    /// Outcome of the run.
    pub outcome: EndOutcome,
    /// Message that says why the run ends. It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
    /// Output of the run, in place of the flow's `output`. Strings may contain `${…}` expressions. Without it, the run
    /// has no output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
}

impl Kind for EndStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "end",
            attempts: false,
            retries: false,
            delivery: false,
            has_effect: false,
            is_billable: false,
        }
    }

    fn may_continue_after_failure(&self) -> bool {
        false
    }

    fn outcomes(&self) -> Vec<StepOutcome> {
        vec![]
    }
}

/// Outcome of a run that an `end` step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndOutcome {
    /// The run succeeds.
    Succeeded,
    /// The run fails.
    Failed,
}
