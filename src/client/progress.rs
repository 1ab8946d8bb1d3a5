//! How far a run has come, and waiting for it.

use std::time::Duration;

use kube::{Api, runtime::wait::await_condition};

use signoff_api::{Run, RunPhase, run::StepPhase};

/// A run that was waited for.
#[derive(Debug)]
pub struct Waited {
    /// As it is now.
    pub run: Run,
    /// Whether the time passed before the run was settled.
    pub timed_out: bool,
    /// Why the run could not be watched, so that nothing was waited for.
    pub unwatched: Option<kube::runtime::wait::Error>,
}

/// Waits until a run is settled or deleted, at most so long.
///
/// # Errors
/// If the run is not there, or the API server does not answer.
pub async fn until_settled(runs: &Api<Run>, name: &str, longest: Duration) -> kube::Result<Waited> {
    let settled = await_condition(runs.clone(), name, |run: Option<&Run>| run.is_none_or(is_settled));
    let waited = tokio::time::timeout(longest, settled).await;
    Ok(Waited {
        run: runs.get(name).await?,
        timed_out: waited.is_err(),
        unwatched: waited.ok().and_then(Result::err),
    })
}

/// It has ended, or nothing but people or a callback lets it go on. A retry and a timer come by themselves.
pub fn is_settled(run: &Run) -> bool {
    let Some(status) = &run.status else {
        return false;
    };
    let needs_others = status
        .steps
        .iter()
        .any(|step| step.phase == StepPhase::Waiting && (step.approval.is_some() || step.wake_at.is_none()));
    status.phase.is_finished() || (status.phase == RunPhase::Waiting && needs_others)
}

/// The approvals that a run waits for.
pub fn open_approvals(run: &Run) -> Vec<String> {
    let steps = run.status.iter().flat_map(|status| &status.steps);
    steps
        .filter(|step| step.phase == StepPhase::Waiting)
        .filter_map(|step| step.approval.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(phase: &str, step: &Value) -> Run {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"},
            "spec": {"flow": "f"}, "status": {"phase": phase, "steps": [step]}
        }))
        .unwrap()
    }

    #[test]
    fn a_retry_and_a_timer_are_waited_through_and_people_and_callbacks_are_not() {
        let step = |phase: &str, more: Value| {
            let mut step = json!({"name": "s", "iteration": 1, "phase": phase});
            step.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            step
        };
        let at = "2026-11-29T12:00:00.000000Z";
        for (phase, step, settled) in [
            ("Waiting", step("Retrying", json!({"wakeAt": at})), false),
            ("Waiting", step("Waiting", json!({"wakeAt": at})), false),
            ("Waiting", step("Waiting", json!({"approval": "r-s"})), true),
            ("Waiting", step("Waiting", json!({"deadline": at})), true),
            ("Running", step("Running", json!({})), false),
            ("Failed", step("Failed", json!({})), true),
        ] {
            assert_eq!(is_settled(&run(phase, &step)), settled, "{phase} {step}");
        }
    }
}
