//! Runs of flows that limit how many of them go on at the same time.

use super::*;
use crate::concurrency::Holders;
use signoff_api::concurrency::{ConcurrencyScope, WhenFull};

fn limited(concurrency: &Value) -> Scenario {
    let definition = json!({
        "inputs": { "type": "object", "properties": { "order": {} } },
        "concurrency": concurrency,
        "steps": [call("pay")],
        "finally": [call("tell")],
    });
    Scenario::of(definition, &json!({ "order": "81" }))
}

/// A run that has its key, as the controller pins it.
fn pinned() -> Scenario {
    let mut run = limited(&json!({ "key": "${inputs.order}" }));
    run.state.concurrency = run.plan.concurrency_of(&run.facts).unwrap();
    run
}

fn holders() -> Holders {
    Holders {
        first: "other".to_owned(),
        others: 0,
    }
}

fn decide(run: &mut Scenario, place: Place) -> bool {
    run.facts.place = place;
    let before = run.state.clone();
    let Advance { state, effects, .. } = advance(&run.plan, &run.state, &run.facts, run.now);
    run.state = state;
    run.effects = effects;
    before != run.state
}

fn queued(run: &mut Scenario, position: usize) -> bool {
    let holders = holders();
    decide(run, Place::Queued { position, holders })
}

#[test]
fn a_run_without_a_place_begins_nothing_and_says_what_it_waits_for() {
    let mut run = pinned();
    assert!(queued(&mut run, 12));
    assert_eq!((run.state.phase, run.effects.len()), (RunPhase::Queued, 0));
    assert_eq!(
        run.state.waiting_on.as_deref(),
        Some(
            "a place for the key \"81\": position 12 in the queue at 2027-01-15T08:00:00Z; run other holds it"
        )
    );
    assert_eq!(run.state.conditions[0].reason, "Queued");
    assert!(run.state.steps.is_empty() && run.state.started_at.is_none());
}

#[test]
fn its_position_is_written_when_it_is_queued_and_when_it_is_the_next_one() {
    let mut run = pinned();
    queued(&mut run, 12);
    for position in (2..12).rev() {
        assert!(!queued(&mut run, position), "{position}");
    }
    assert!(queued(&mut run, 1));
    assert_eq!(
        run.state.waiting_on.as_deref(),
        Some("a place for the key \"81\": next in the queue; run other holds it")
    );
    assert!(!queued(&mut run, 1));
    // an older one that was suspended goes on
    assert!(queued(&mut run, 2));
    assert_eq!(run.state.concurrency.unwrap().position, Some(2));
}

#[test]
fn the_first_step_begins_only_when_the_state_says_that_the_run_holds_a_place() {
    let mut run = pinned();
    queued(&mut run, 1);
    assert!(decide(&mut run, Place::Held));
    let concurrency = run.state.concurrency.clone().unwrap();
    assert_eq!((run.effects.len(), concurrency.position), (0, None));
    assert!(concurrency.held_since.is_some());
    assert_eq!(
        (run.state.phase, &run.state.waiting_on),
        (RunPhase::Running, &None)
    );
    decide(&mut run, Place::Held);
    assert_eq!(run.effects.len(), 1);
    assert!(run.state.started_at.is_some());
    // from there on, its state alone says that it holds the place
    run.facts.place = Place::Unlimited;
    run.restart();
    assert_eq!(run.state.phase, RunPhase::Running);
}

#[test]
fn a_place_that_another_process_gave_away_too_is_given_back_before_anything_begins() {
    let mut run = pinned();
    decide(&mut run, Place::Held);
    queued(&mut run, 3);
    let concurrency = run.state.concurrency.clone().unwrap();
    assert_eq!(
        (run.state.phase, concurrency.held_since),
        (RunPhase::Queued, None)
    );
    assert_eq!(concurrency.position, Some(3));
}

#[test]
fn a_run_that_shares_a_place_says_whose() {
    let mut run = pinned();
    decide(&mut run, Place::Shared("parent".to_owned()));
    assert_eq!(
        run.state.concurrency.clone().unwrap().shares.as_deref(),
        Some("parent")
    );
    decide(&mut run, Place::Shared("parent".to_owned()));
    assert_eq!(run.effects.len(), 1);
}

#[test]
fn a_run_that_does_not_wait_fails_and_names_the_run_that_holds_the_place() {
    let mut run = pinned();
    decide(&mut run, Place::Full(holders()));
    let error = run.state.error.clone().unwrap();
    assert_eq!(
        (run.state.phase, error.reason),
        (RunPhase::Failed, StepReason::ConcurrencyRejected)
    );
    assert_eq!(
        error.message,
        "at most 1 at the same time for the key \"81\": run other holds it"
    );
    assert!(run.effects.is_empty(), "nothing began, so there is no finally");
}

#[test]
fn a_run_that_is_cancelled_while_it_is_queued_ends_at_once() {
    let mut run = pinned();
    queued(&mut run, 2);
    run.facts.run.cancel = true;
    queued(&mut run, 2);
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert!(run.state.steps.is_empty() && run.state.waiting_on.is_none());
}

#[test]
fn a_run_that_begins_and_ends_in_one_turn_does_its_last_steps() {
    let set = |name: &str| json!({ "name": name, "set": { "x": 1 } });
    let definition =
        json!({ "concurrency": { "key": "k" }, "steps": [set("first")], "finally": [set("last")] });
    let mut run = Scenario::of(definition, &json!({}));
    run.state.concurrency = run.plan.concurrency_of(&run.facts).unwrap();
    decide(&mut run, Place::Held);
    decide(&mut run, Place::Held);
    let steps: Vec<&str> = run.state.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        (run.state.phase, steps),
        (RunPhase::Succeeded, vec!["first", "last"])
    );
}

#[test]
fn a_suspended_run_wants_no_place_and_says_that_it_is_suspended() {
    let mut run = pinned();
    queued(&mut run, 2);
    run.facts.run.suspend = true;
    decide(&mut run, Place::Unlimited);
    assert_eq!(run.state.phase, RunPhase::Waiting);
    assert!(run.state.waiting_on.as_deref().unwrap().contains("suspended"));
    run.facts.run.suspend = false;
    assert!(queued(&mut run, 2));
    assert_eq!(run.state.phase, RunPhase::Queued);
}

#[test]
fn a_key_is_what_its_expressions_give_and_the_rest_has_defaults() {
    let keyed = |concurrency: Value| {
        let run = limited(&concurrency);
        run.plan.concurrency_of(&run.facts).unwrap().unwrap()
    };
    let status = keyed(json!({ "key": "${inputs.order}" }));
    assert_eq!((status.key.as_str(), status.max), ("81", 1));
    assert_eq!(
        (status.when_full, status.scope),
        (WhenFull::Queue, ConcurrencyScope::Flow)
    );
    let status = keyed(json!({
        "key": "${release.flow}/${run.requestedBy}", "max": 3, "whenFull": "Reject", "scope": "Namespace"
    }));
    assert_eq!((status.key.as_str(), status.max), ("f/dev", 3));
    let run = Scenario::of(json!({ "steps": [call("pay")] }), &json!({}));
    assert_eq!(run.plan.concurrency_of(&run.facts).unwrap(), None);
}

#[test]
fn a_key_that_is_empty_too_long_or_has_no_value_is_none() {
    for (order, reason, message) in [
        (
            json!(""),
            StepReason::InvalidKey,
            "concurrency.key: a key is not empty",
        ),
        (
            json!("x".repeat(257)),
            StepReason::InvalidKey,
            "concurrency.key: a key has at most 256 characters, not 257",
        ),
        (json!(null), StepReason::ExpressionFailed, "concurrency.key: "),
    ] {
        let mut run = limited(&json!({ "key": "${inputs.order}" }));
        if order.is_null() {
            run.facts.run.inputs = JsonObject::default();
        } else {
            run.facts.run.inputs = JsonObject(json!({ "order": order }).as_object().cloned().unwrap());
        }
        let (found, told) = run.plan.concurrency_of(&run.facts).unwrap_err();
        assert_eq!(found, reason, "{told}");
        assert!(told.starts_with(message), "{told}");
    }
}

#[test]
fn a_key_is_checked_before_a_release_is_cut() {
    let problems = |concurrency: Value| {
        let definition = json!({
            "inputs": { "type": "object", "properties": { "order": { "type": "string" } } },
            "concurrency": concurrency,
            "steps": [call("pay")],
        });
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let problems = Plan::compile(&definition).err().unwrap_or_default();
        problems
            .into_iter()
            .map(|problem| (problem.field, problem.message))
            .collect::<Vec<_>>()
    };
    assert_eq!(problems(json!({ "key": "${inputs.?order.orValue('none')}" })), []);
    for (concurrency, field, message) in [
        (json!({ "key": "${inputs.ordr}" }), "concurrency.key", "ordr"),
        (json!({ "key": "${inputs.order}" }), "concurrency.key", "absent"),
        (
            json!({ "key": "${callback('wait').url}" }),
            "concurrency.key",
            "callback() is not known here",
        ),
        (
            json!({ "key": "${steps.pay.output}" }),
            "concurrency.key",
            "steps",
        ),
        (
            json!({ "key": "${trigger.name}" }),
            "concurrency.key",
            "no triggers",
        ),
        (json!({ "key": "" }), "concurrency.key", "not empty"),
        (
            json!({ "key": "k", "max": 101 }),
            "concurrency.max",
            "between 1 and 100",
        ),
    ] {
        let found = problems(concurrency.clone());
        assert_eq!(found.len(), 1, "{concurrency}: {found:?}");
        assert_eq!(found[0].0, field);
        assert!(found[0].1.contains(message), "{}", found[0].1);
    }
}
