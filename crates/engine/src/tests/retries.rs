//! Retries: what is taken over from a run that ended badly, and what is done again.

use super::*;
use signoff_api::approval::ApprovalPurpose;

use crate::retry::{ChildFacts, EarlierRun, RetryRefused, first_unfinished, take_over};

/// Four calls, with a question before the third.
fn order() -> Value {
    json!({ "steps": [
        call("quote"),
        { "name": "review", "approval": { "title": "Pay?" } },
        { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "method": "POST" } },
        call("ship"),
    ] })
}

fn approve(run: &mut Scenario, by: &str) {
    let counted = serde_json::from_value(
        json!([{ "decision": "d", "by": by, "verdict": "Approve", "at": "2027-01-15T08:00:00Z" }]),
    )
    .unwrap();
    run.open("r-review").counted = counted;
    run.decide("r-review", ApprovalPhase::Approved);
}

/// An order that failed at its last step.
fn failed() -> Scenario {
    let mut run = Scenario::of(order(), &json!({ "order": 81 }));
    run.tick().answer("quote", 200, json!({ "total": 5 }));
    approve(&mut run, "alice");
    run.answer("pay", 200, json!({ "receipt": 1 }));
    run.answer("ship", 400, json!({}));
    assert_eq!(run.state.phase, RunPhase::Failed);
    pinned(run)
}

pub(super) fn pinned(mut run: Scenario) -> Scenario {
    run.state.release = serde_json::from_value(json!({ "name": "f-1", "digest": Digest::of(b"1") })).unwrap();
    run
}

pub(super) fn earlier(run: &Scenario) -> EarlierRun {
    EarlierRun {
        name: "r".into(),
        uid: "u".into(),
        requesters: {
            let before = run.state.retry.iter().flat_map(|retry| &retry.requested_by);
            before.chain(&run.facts.run.requested_by).cloned().collect()
        },
        inputs: run.facts.run.inputs.clone(),
        status: run.state.clone(),
        is_child: false,
        children: ChildFacts::new(),
    }
}

/// The run that retries another, before its first decision.
pub(super) fn retry(run: &Scenario, definition: Value, from: &str) -> Result<Scenario, RetryRefused> {
    retry_of(&earlier(run), run, definition, Some(from))
}

/// The same, of a run of which more is known.
pub(super) fn retry_of(
    earlier: &EarlierRun,
    run: &Scenario,
    definition: Value,
    from: Option<&str>,
) -> Result<Scenario, RetryRefused> {
    let inputs = run.facts.run.inputs.to_value();
    let mut next = Scenario::of(definition, &inputs);
    next.facts.run.name = "r-retry-1".into();
    next.facts.run.uid = "u2".into();
    let same = (&next.facts.release.digest.clone(), &next.facts.run.inputs.clone());
    take_over(&next.plan, from, earlier, same, &mut next.state)?;
    Ok(pinned(next))
}

#[test]
fn what_was_paid_is_not_paid_again_and_the_question_is_put_anew_before_anything_goes_on() {
    let first = failed();
    assert_eq!(first_unfinished(&first.plan, &first.state), Some("ship"));
    let mut run = retry(&first, order(), "ship").unwrap();
    run.tick();
    assert!(run.http().is_empty(), "people decide first");
    let question = &run.opened()[0].spec;
    let before = question.show.iter().find(|item| item.name == "approved-before");
    let before: Value = serde_json::from_str(&before.unwrap().inline).unwrap();
    assert_eq!((&before["run"], &before["by"]), (&json!("r"), &json!(["alice"])));
    run.decide("r-retry-1-review", ApprovalPhase::Approved);
    assert_eq!(run.http().len(), 1);
    assert_eq!(run.http()[0].key.step, "ship");
    assert_eq!(
        run.http()[0].idempotency_key,
        "u/ship/1",
        "the key of the first run"
    );
    run.answer("ship", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.billable_steps, 1, "only what was done again");
}

#[test]
fn who_asked_for_the_first_run_does_not_approve_in_the_second() {
    let mut first = failed();
    first.facts.run.requested_by = Some("dev".into());
    let mut second = retry(&first, order(), "ship").unwrap();
    second.facts.run.requested_by = Some("carol".into());
    let spec = second.tick().opened()[0].spec.clone();
    assert_eq!(spec.requested_by.as_deref(), Some("carol"));
    assert_eq!(spec.earlier_requesters, ["dev"]);
    second.decide("r-retry-1-review", ApprovalPhase::Approved);
    second.answer("ship", 400, json!({}));
    let mut third = retry(&second, order(), "ship").unwrap();
    assert_eq!(third.tick().opened()[0].spec.earlier_requesters, ["dev", "carol"]);
}

#[test]
fn a_retry_that_people_reject_ends_rejected_without_another_call() {
    let mut run = retry(&failed(), order(), "ship").unwrap();
    run.tick().decide("r-retry-1-review", ApprovalPhase::Rejected);
    assert!(run.http().is_empty());
    assert_eq!(run.state.phase, RunPhase::Rejected);
}

#[test]
fn a_payment_that_was_made_is_never_made_again() {
    for from in ["quote", "review", "pay"] {
        let refused = retry(&failed(), order(), from).err();
        let expected = RetryRefused::Performed {
            run: "r".into(),
            step: "pay".into(),
        };
        assert_eq!(refused, Some(expected), "{from}");
    }
}

#[test]
fn a_payment_of_unknown_outcome_is_done_again_only_if_somebody_says_that_it_did_not_happen() {
    let mut first = failed();
    let pay = first
        .state
        .steps
        .iter_mut()
        .find(|step| step.name == "pay")
        .unwrap();
    pay.phase = StepPhase::Failed;
    pay.outcome = Some(StepOutcome::Failed);
    pay.error = serde_json::from_value(json!({ "reason": "OutcomeUnknown", "message": "?" })).unwrap();
    first.state.steps.retain(|step| step.name != "ship");
    for from in ["quote", "pay"] {
        let mut run = retry(&first, order(), from).unwrap();
        run.tick();
        if from == "quote" {
            run.answer("quote", 200, json!({ "total": 5 }));
        }
        run.decide("r-retry-1-review", ApprovalPhase::Approved);
        assert!(
            run.http().iter().all(|call| call.key.step != "pay"),
            "people say first whether it happened"
        );
        let question = run.opened().last().unwrap().spec.clone();
        assert_eq!(question.purpose, ApprovalPurpose::Outcome);
        assert_eq!(
            retry(&run, order(), "pay").err(),
            Some(RetryRefused::NotEnded("r".into()))
        );
        let name = run.opened().last().unwrap().name.clone();
        run.decide(&name, ApprovalPhase::Rejected);
        assert_eq!(run.state.phase, RunPhase::Failed);
        let next = retry(&run, order(), "pay").unwrap();
        let unknown = next.state.retry.unwrap().unknown;
        assert_eq!(unknown, ["pay"], "it is asked again in the next one");
    }
}

#[test]
fn the_retry_of_a_retry_keeps_the_keys_of_the_first_run_and_names_the_last_approval() {
    let mut second = retry(&failed(), order(), "ship").unwrap();
    second.tick();
    second.open("r-retry-1-review").counted = serde_json::from_value(
        json!([{ "decision": "d", "by": "bob", "verdict": "Approve", "at": "2027-01-15T08:00:00Z" }]),
    )
    .unwrap();
    second.decide("r-retry-1-review", ApprovalPhase::Approved);
    second.answer("ship", 400, json!({}));
    let mut third = retry(&second, order(), "ship").unwrap();
    let status = third.state.retry.clone().unwrap();
    assert_eq!((status.run.as_str(), status.uid.as_str()), ("r", "u"));
    assert_eq!(status.approvals[0].by, ["bob"]);
    third.tick().decide("r-retry-1-review", ApprovalPhase::Approved);
    assert_eq!(third.http()[0].idempotency_key, "u/ship/1");
}

/// A change of the run that is retried.
type Change = &'static dyn Fn(&mut Scenario);

#[test]
fn a_run_is_retried_only_after_it_ended_badly_with_the_same_release_and_inputs() {
    let first = failed();
    let refused = |change: &dyn Fn(&mut Scenario)| {
        let mut run = pinned(failed());
        change(&mut run);
        let digest = first.facts.release.digest.clone();
        let mut state = RunStatus::default();
        take_over(
            &first.plan,
            Some("ship"),
            &earlier(&run),
            (&digest, &first.facts.run.inputs),
            &mut state,
        )
        .err()
    };
    assert_eq!(refused(&|_| {}), None);
    let r = || "r".to_owned();
    let cases: [(Change, RetryRefused); 5] = [
        (
            &|run| run.state.phase = RunPhase::Waiting,
            RetryRefused::NotEnded(r()),
        ),
        (
            &|run| run.state.phase = RunPhase::Succeeded,
            RetryRefused::Succeeded(r()),
        ),
        (&|run| run.state.release = None, RetryRefused::OtherRelease(r())),
        (
            &|run| run.state.release.as_mut().unwrap().digest = Digest::of(b"2"),
            RetryRefused::OtherRelease(r()),
        ),
        (
            &|run| run.facts.run.inputs = JsonObject::default(),
            RetryRefused::OtherInputs(r()),
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(refused(change), Some(expected));
    }
    let nowhere = retry(&first, order(), "elsewhere").err();
    assert_eq!(nowhere, Some(RetryRefused::NoStep("elsewhere".into())));
}

#[test]
fn a_loop_goes_on_in_the_pass_that_failed_and_begins_anew_if_all_of_it_is_done_again() {
    let definition = json!({ "steps": [
        call("open"),
        { "name": "poll", "http": { "url": "http://x/job" } },
        { "name": "check", "http": { "url": "http://x/check" },
          "repeat": { "from": "poll", "until": "${steps.check.output.done}" } },
    ] });
    let mut run = Scenario::of(definition.clone(), &json!({}));
    run.tick().answer("open", 200, json!({}));
    run.answer("poll", 200, json!({}))
        .answer("check", 200, json!({ "done": false }));
    run.answer("poll", 200, json!({})).answer("check", 400, json!({}));
    let first = pinned(run);
    let mut inside = retry(&first, definition.clone(), "check").unwrap();
    inside.tick();
    assert_eq!(inside.http()[0].key.step, "check");
    assert_eq!(inside.http()[0].idempotency_key, "u/check/2");
    let mut whole = retry(&first, definition.clone(), "poll").unwrap();
    whole.tick();
    assert_eq!(whole.http()[0].idempotency_key, "u/poll/1");
    assert!(whole.state.loops.is_empty());
}

#[test]
fn a_wide_flow_of_steps_that_were_taken_over_is_looked_through_at_once() {
    let steps: Vec<Value> = (0..198)
        .map(|n: usize| {
            let needs: Vec<String> = (n.saturating_sub(2)..n)
                .map(|before| format!("s{before}"))
                .collect();
            json!({ "name": format!("s{n}"), "needs": needs, "set": {} })
        })
        .chain([json!({ "name": "last", "needs": ["s197"], "http": { "url": "http://x/" } })])
        .collect();
    let definition = json!({ "steps": steps });
    let mut first = Scenario::of(definition.clone(), &json!({}));
    first.tick().answer("last", 400, json!({}));
    let mut run = retry(&pinned(first), definition, "last").unwrap();
    run.tick();
    assert_eq!(run.http()[0].key.step, "last");
}

/// Pays once in each pass.
fn paying_in_a_loop() -> Value {
    json!({ "steps": [
        { "name": "check", "http": { "url": "http://shop/check" } },
        { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "method": "POST" },
            "repeat": { "from": "check", "until": "${steps.pay.pass >= 5}" } },
    ] })
}

/// The run after so many passes, in the next one of which the check fails.
fn failed_after(passes: usize, definition: &Value) -> Scenario {
    let mut run = pinned(Scenario::of(definition.clone(), &json!({})));
    run.tick();
    for _ in 0..passes {
        run.answer("check", 200, json!({}));
        run.answer("pay", 200, json!({}));
    }
    run.answer("check", 400, json!({}));
    assert_eq!(run.state.phase, RunPhase::Failed, "{:#?}", run.state);
    run
}

#[test]
fn a_loop_in_which_something_was_paid_does_not_begin_anew() {
    let definition = paying_in_a_loop();
    for passes in [1, 2, 3] {
        let run = failed_after(passes, &definition);
        let refused = retry(&run, definition.clone(), "check").err();
        let expected = RetryRefused::Performed {
            run: "r".into(),
            step: "pay".into(),
        };
        assert_eq!(refused, Some(expected), "{passes}");
    }
    // nothing was paid yet
    let run = failed_after(0, &definition);
    assert!(retry(&run, definition.clone(), "check").is_ok());
}
