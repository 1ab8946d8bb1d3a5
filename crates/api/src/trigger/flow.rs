//! `flow`: start a run when a run of another flow ends.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{name::FlowName, run::EndingOutcome};

/// Starts a run when a run of another flow ends.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowTrigger {
    /// Name of the other flow, in the same namespace. Its runs count whatever started them.
    pub name: FlowName,
    /// Phases in which the run may have ended. Defaults to `Succeeded` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5))]
    pub phases: Option<Vec<EndingOutcome>>,
}
