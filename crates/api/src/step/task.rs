//! `task`: work for a worker that asks for it.

use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules, WaitTimeout, WaitTimeoutOutcome};
use crate::{HumanDuration, Json, OrExpression, name::DnsLabel, run::StepOutcome};

/// Puts work in a queue, as a WorkItem, and waits for the result. A worker takes it from the queue, such as
/// `signoff worker run`. No two workers have the same task at the same time. The result becomes the output.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStep {
    /// Name of the queue. A worker needs the verb `work` on it.
    pub queue: DnsLabel,
    /// Data for the worker, at most 256 KiB. Strings may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// What the worker is to do, as text. It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub instructions: Option<String>,
    /// JSON Schema of the result. A result that does not match is given back to the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// How long a worker keeps the task without a sign of life, from 1m to 1h. Each report of the worker renews it. When it
    /// is over, another worker may take the task, as often as `retry` says. Defaults to 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HumanDuration>,
    /// Time limit from queueing to the result. It may be one `${…}` expression. Without it, the step waits without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond_within: Option<OrExpression<HumanDuration>>,
    /// What happens when `respondWithin` is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<WaitTimeout>,
}

impl TaskStep {
    /// Shortest `heartbeat`.
    pub const SHORTEST_HEARTBEAT: Duration = Duration::from_mins(1);
    /// Longest `heartbeat`.
    pub const LONGEST_HEARTBEAT: Duration = Duration::from_hours(1);

    /// Whether the run goes on when nobody did it in time.
    pub fn continues_after_timeout(&self) -> bool {
        match self.on_timeout.as_ref().map(|then| then.outcome) {
            Some(WaitTimeoutOutcome::Continue) => true,
            Some(WaitTimeoutOutcome::Fail) | None => false,
        }
    }
}

impl Kind for TaskStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "task",
            attempts: false,
            retries: true,
            delivery: false,
            has_effect: true,
            is_billable: true,
        }
    }

    fn outcomes(&self) -> Vec<StepOutcome> {
        let late = self.continues_after_timeout().then_some(StepOutcome::TimedOut);
        [StepOutcome::Succeeded].into_iter().chain(late).collect()
    }
}
