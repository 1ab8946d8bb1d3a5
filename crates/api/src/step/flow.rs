//! `flow`: a run of another flow.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, name::FlowName, run::StepOutcome};

/// Runs another flow of the namespace and waits for its end. The outcome of the step is the phase of that run, and its
/// output is the output of that run. The release that runs is pinned in the release of this flow.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.key) || has(self.detached) && self.detached")
        .message("only a detached run has a key")
)]
pub struct FlowStep {
    /// Name of the flow, in the same namespace. Flows call each other at most five deep, and never in a circle.
    pub name: FlowName,
    /// Inputs of the run. Strings may contain `${…}` expressions. They are checked against the inputs of the flow when
    /// the release is cut, as far as they are known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub inputs: Option<BTreeMap<String, Json>>,
    /// If true, the step starts the run and does not wait for its end. Its output is `{run}`, the name of the run.
    /// Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<bool>,
    /// Key of a detached run. Steps of this flow that start the same flow with the same key start one run together. It
    /// may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub key: Option<String>,
}

impl FlowStep {
    /// Whether the step goes on as soon as the run is there.
    pub fn is_detached(&self) -> bool {
        self.detached == Some(true)
    }
}

impl Kind for FlowStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "flow",
            attempts: false,
            retries: false,
            delivery: false,
            has_effect: true,
            is_billable: false,
        }
    }

    fn child(&self) -> Option<&FlowStep> {
        Some(self)
    }

    fn failures(&self) -> &'static [StepOutcome] {
        &[
            StepOutcome::Failed,
            StepOutcome::Rejected,
            StepOutcome::TimedOut,
            StepOutcome::Cancelled,
        ]
    }
}
