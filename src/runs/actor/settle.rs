//! Which outcomes a state knows already.

use signoff_api::{RunStatus, run::StepPhase};
use signoff_engine::effect::EffectKey;

/// Whether a state is past an attempt, so that its outcome is of no more use. A state that has not begun the attempt yet is not: its
/// write was lost, and the outcome belongs to the one that will take its place.
pub(super) fn is_past(status: &RunStatus, key: &EffectKey) -> bool {
    status.phase.is_finished()
        || status.steps.iter().any(|step| {
            step.name == key.step
                && (step.iteration > key.iteration
                    || step.iteration == key.iteration
                        && (step.attempt > key.attempt
                            || step.attempt == key.attempt && step.phase != StepPhase::Running))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(phase: &str, attempt: i64) -> RunStatus {
        let step = json!({"name": "a", "iteration": 1, "phase": phase, "attempt": attempt});
        serde_json::from_value(json!({"phase": "Running", "steps": [step]})).unwrap()
    }

    #[test]
    fn an_outcome_is_kept_until_a_state_is_past_its_attempt() {
        let key = EffectKey {
            step: "a".into(),
            iteration: 1,
            attempt: 2,
        };
        assert!(!is_past(&RunStatus::default(), &key));
        assert!(!is_past(&status("Retrying", 1), &key));
        assert!(!is_past(&status("Running", 2), &key));
        assert!(is_past(&status("Retrying", 2), &key));
        assert!(is_past(&status("Succeeded", 2), &key));
        assert!(is_past(&status("Running", 3), &key));
    }
}
