//! Which outcomes a state knows already.

use signoff_api::{
    RunStatus,
    run::{StepPhase, StepStatus},
};
use signoff_engine::effect::EffectKey;

/// Whether a state is past an attempt, so that its outcome is of no more use. A state that has not begun the attempt yet is not: its
/// write was lost, and the outcome belongs to the one that will take its place.
pub(super) fn is_past(status: &RunStatus, key: &EffectKey) -> bool {
    status.phase.is_finished()
        || status.steps.iter().any(|step| {
            step.name == key.step
                && (step.iteration > key.iteration
                    || step.iteration == key.iteration && is_past_attempt(step, key))
        })
}

fn is_past_attempt(step: &StepStatus, key: &EffectKey) -> bool {
    if step.item != key.item {
        // an item that ended has no entry of its own any more
        let is_of_step = |item| {
            let items = step.items.as_ref();
            items.is_some_and(|items| step.phase.is_finished() || items.outcome(item).is_some())
        };
        return key.item.is_some_and(is_of_step);
    }
    step.attempt > key.attempt || step.attempt == key.attempt && step.phase != StepPhase::Running
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
            item: None,
            attempt: 2,
        };
        assert!(!is_past(&RunStatus::default(), &key));
        assert!(!is_past(&status("Retrying", 1), &key));
        assert!(!is_past(&status("Running", 2), &key));
        assert!(is_past(&status("Retrying", 2), &key));
        assert!(is_past(&status("Succeeded", 2), &key));
        assert!(is_past(&status("Running", 3), &key));
    }

    #[test]
    fn an_outcome_of_an_item_is_kept_until_the_item_or_its_step_has_ended() {
        let key = EffectKey {
            step: "a".into(),
            iteration: 1,
            item: Some(3),
            attempt: 1,
        };
        let status = |ended: &str, phase: &str, item: Option<(i64, &str)>| -> RunStatus {
            let ended = json!([{"outcome": "Succeeded", "items": ended}]);
            let items = json!({"count": 9, "digest": format!("sha256:{}", "0".repeat(64)), "ended": ended});
            let mut steps = vec![json!({"name": "a", "iteration": 1, "phase": phase, "items": items})];
            steps.extend(item.map(|(item, phase)| {
                json!({"name": "a", "iteration": 1, "item": item, "phase": phase, "attempt": 1})
            }));
            serde_json::from_value(json!({"phase": "Running", "steps": steps})).unwrap()
        };
        assert!(!is_past(&status("0-2", "Running", None), &key));
        assert!(!is_past(&status("0-2", "Running", Some((3, "Running"))), &key));
        assert!(!is_past(&status("0-2", "Running", Some((4, "Retrying"))), &key));
        assert!(is_past(&status("0-2", "Running", Some((3, "Retrying"))), &key));
        assert!(is_past(&status("0-3", "Running", None), &key));
        assert!(is_past(&status("0-2", "Cancelled", None), &key));
    }
}
