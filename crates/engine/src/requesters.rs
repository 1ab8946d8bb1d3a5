//! The users who requested a run and the runs that led to it. They may not decide on its questions.

use std::collections::BTreeSet;

use signoff_api::{Run, RunStatus, names};

use crate::facts::RunFacts;

/// Most users that are kept, as the schemas say.
const MAX: usize = 20;

/// The users who requested a run and the runs that led to it: those that it retries, those with a step that started it,
/// and those whose end started it. The authors of the releases with a step that started it are named too. If there are many, these are the last ones.
pub fn of(run: &Run) -> Vec<String> {
    let spec = &run.spec;
    let retried = run.status.iter().flat_map(|status| &status.retry);
    let chain = spec.parent.iter().flat_map(|parent| parent.chain.iter().rev());
    last(
        spec.earlier_requesters
            .iter()
            .chain(retried.flat_map(|retry| &retry.requested_by))
            .chain(chain.flat_map(|parent| parent.author.iter().chain(&parent.requested_by)))
            .chain(&spec.requested_by),
    )
}

/// The users who requested the runs that led to a run, without those of `parents`.
pub(crate) fn earlier(facts: &RunFacts, state: &RunStatus) -> Vec<String> {
    let retried = state.retry.iter().flat_map(|retry| &retry.requested_by);
    last(facts.earlier_requesters.iter().chain(retried))
}

/// Each of them once, the last ones if there are too many. A trigger is nobody who could decide.
fn last<'a>(users: impl DoubleEndedIterator<Item = &'a String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<String> = users
        .rev()
        .filter(|user| !names::is_trigger_user(user) && seen.insert(*user))
        .take(MAX)
        .cloned()
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(spec: &serde_json::Value) -> Run {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
            "metadata": {"name": "r"}, "spec": spec}))
        .unwrap()
    }

    #[test]
    fn all_who_led_to_a_run_are_named_once_and_triggers_are_not() {
        let mut run = run(&json!({"flow": "f", "requestedBy": "dan",
            "earlierRequesters": ["ann", "system:signoff:trigger:f/nightly"],
            "parent": {"uid": "u", "step": "s", "iteration": 1, "digest": format!("sha256:{:064}", 0),
                "chain": [{"run": "p", "flow": "g", "requestedBy": "cleo", "author": "eve"},
                    {"run": "o", "flow": "h", "requestedBy": "ann"}]}}));
        assert_eq!(of(&run), ["ann", "eve", "cleo", "dan"]);
        run.status =
            serde_json::from_value(json!({"retry": {"run": "q", "uid": "v", "requestedBy": ["bob"]}}))
                .unwrap();
        assert_eq!(of(&run), ["bob", "ann", "eve", "cleo", "dan"]);
    }

    #[test]
    fn the_last_twenty_are_kept() {
        let many: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
        let run = run(&json!({"flow": "f", "requestedBy": "dan", "earlierRequesters": many}));
        let kept = of(&run);
        assert_eq!(
            (kept.len(), kept[0].as_str(), kept[19].as_str()),
            (20, "user-1", "dan")
        );
    }
}
