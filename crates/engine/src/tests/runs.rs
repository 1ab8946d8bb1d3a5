//! What a run does: calls, questions, waits, values, and its end.

use super::*;
use crate::effect::HttpBody;

#[test]
fn expressions_see_which_run_they_are_in_and_since_when() {
    let names = ["name", "namespace", "uid", "flow", "requestedBy"];
    let mut told: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), format!("${{run.{name}}}").into()))
        .collect();
    told["requestedBy"] = "${run.?requestedBy.orValue('nobody')}".into();
    told.insert(
        "age".into(),
        "${int(duration(timestamp('2027-01-15T08:00:09Z') - timestamp(run.startedAt)).getSeconds())}".into(),
    );
    let definition = json!({ "steps": [
        { "name": "pause", "when": "${timestamp(run.startedAt) > timestamp('2027-01-15T07:59:59Z')}", "wait": { "duration": "9s" } },
        { "name": "tell", "set": told },
    ] });
    let checked: Definition = serde_json::from_value(definition.clone()).unwrap();
    assert_eq!(Plan::compile(&checked).err(), None);
    let mut run = Scenario::of(definition, &json!({}));
    run.tick().pass(9);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let expected = json!({
        "name": "r", "namespace": "default", "uid": "u", "flow": "f", "requestedBy": "dev", "age": 9,
    });
    assert_eq!(run.state.steps[1].output.as_ref().unwrap().0, expected);
}

#[test]
fn a_run_goes_from_call_to_question_to_call_to_callback_to_its_end() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick();
    assert_eq!(
        request(run.http()[0]).body,
        Some(HttpBody::Json(json!({ "amount": 250, "why": "" })))
    );
    run.answer("propose", 200, json!({ "fee": 2 }));
    assert_eq!(
        (run.state.phase, run.state.waiting_on.as_deref()),
        (RunPhase::Waiting, Some("finance to decide “Refund 250”"))
    );
    run.decide("r-review", ApprovalPhase::Approved);
    let pay = run.http()[0].clone();
    assert!(pay.fenced);
    run.answer("pay", 200, Value::Null);
    assert_eq!(run.state.waiting_on.as_deref(), Some("a callback (settled)"));
    let record = CallbackRecord {
        received_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(run.now),
        sha256: Digest::of(b"{}"),
        webhook_id: None,
        body: json!({ "receipt": "R1" }).into(),
    };
    run.state.callbacks.insert("settled.1".into(), record);
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.output.as_ref().unwrap().0, json!({ "receipt": "R1" }));
    assert_eq!(run.state.billable_steps, 2);
    let url = scenario::json(request(&pay))["callback"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = url.strip_prefix("http://gateway/v1/callbacks/").unwrap();
    assert_eq!(run.facts.callbacks.keys.verify(token).unwrap().step, "settled");
}

#[test]
fn a_condition_that_is_false_skips_the_step() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 50 }));
    run.tick().answer("propose", 200, Value::Null);
    assert_eq!(
        run.steps()[1],
        ("review", 1, StepPhase::Skipped, Some(StepOutcome::Skipped))
    );
    assert_eq!(
        run.http()[0].key,
        EffectKey {
            step: "pay".into(),
            iteration: 1,
            item: None,
            attempt: 1
        }
    );
}

#[test]
fn a_request_for_changes_goes_back_until_there_are_too_many() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick()
        .answer("propose", 200, json!(1))
        .decide("r-review", ApprovalPhase::ChangesRequested);
    assert_eq!(
        run.http()[0].key,
        EffectKey {
            step: "propose".into(),
            iteration: 2,
            item: None,
            attempt: 1
        }
    );
    run.answer("propose", 200, json!(2))
        .decide("r-review", ApprovalPhase::ChangesRequested);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::TooManyChanges
    );
}

#[test]
fn failures_are_retried_with_growing_pauses_and_then_end_the_run() {
    let mut step = call("a");
    step["retry"] = json!({ "attempts": 3, "backoff": { "initial": "1s", "factor": 3, "max": "2s" } });
    let mut run = Scenario::of(json!({ "steps": [step] }), &json!({}));
    run.tick().answer("a", 500, json!("oops"));
    assert_eq!(
        run.wake_at.unwrap().duration_since(run.now),
        SignedDuration::from_secs(1)
    );
    run.pass(1).answer("a", 503, Value::Null);
    assert_eq!(
        run.wake_at.unwrap().duration_since(run.now),
        SignedDuration::from_secs(2)
    );
    run.pass(2).answer("a", 500, json!("oops"));
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.error.as_ref().unwrap().message,
        "step a: the response has status 500: oops (attempt 3 of 3)"
    );
}

#[test]
fn branches_run_side_by_side_and_a_failure_stops_the_others() {
    let mut last = call("c");
    last["needs"] = json!(["a", "b"]);
    let first = |name| {
        let mut step = call(name);
        step["needs"] = json!([]);
        step
    };
    let mut run = Scenario::of(json!({ "steps": [first("a"), first("b"), last] }), &json!({}));
    run.tick();
    assert_eq!(run.http().len(), 2);
    run.answer("a", 404, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.effects,
        [Effect::Abort(EffectKey {
            step: "b".into(),
            iteration: 1,
            item: None,
            attempt: 1
        })]
    );
}

#[test]
fn waits_end_by_the_clock_or_time_out() {
    let flow = json!({ "steps": [
        { "name": "pause", "wait": { "duration": "1h" } },
        { "name": "answer", "wait": { "callback": {}, "respondWithin": "1m", "onTimeout": { "outcome": "Continue" } } },
        { "name": "last", "wait": { "callback": {}, "respondWithin": "1m" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().pass(3_600);
    assert_eq!(run.steps()[0].3, Some(StepOutcome::Elapsed));
    run.pass(60);
    assert_eq!(run.steps()[1].3, Some(StepOutcome::TimedOut));
    run.pass(60);
    assert_eq!(run.state.phase, RunPhase::TimedOut);
}

#[test]
fn cancelling_stops_what_is_under_way_and_closes_the_question() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick().answer("propose", 200, json!({ "fee": 2 }));
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert!(matches!(&run.effects[..], [Effect::Close(close)] if is_called(&close.key.name, "r-review")));
}

#[test]
fn a_question_that_cannot_be_put_is_told_and_one_that_is_refused_for_good_fails_its_step() {
    let mut run = Scenario::of(refund(), &json!({ "amount": 250 }));
    run.tick().answer("propose", 200, json!(1));
    let key = run.facts.objects.keys().next().unwrap().clone();
    let asked = |run: &Scenario| {
        let condition = signoff_api::condition::get(&run.state.conditions, "Asked")?;
        Some((condition.status.clone(), condition.message.clone()))
    };
    run.facts.objects.clear();
    run.facts.unopened.insert(key.clone(), "no right".into());
    run.tick();
    assert!(matches!(&run.effects[..], [Effect::Open(open)] if open.key() == key));
    assert_eq!(asked(&run), Some(("False".into(), "no right".into())));
    run.facts.unopened.clear();
    run.tick();
    assert_eq!(asked(&run), None);

    run.facts.objects.clear();
    run.facts.refused.insert(key, "spec.title: too long".into());
    run.tick();
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(
        (run.state.phase, error.reason),
        (RunPhase::Failed, StepReason::ApprovalRefused)
    );
    assert!(error.message.contains("spec.title: too long"), "{error:?}");
}

#[test]
fn an_output_that_is_nested_too_deeply_fails_its_step() {
    let mut run = Scenario::of(json!({ "steps": [call("a")] }), &json!({}));
    let deep: Value = serde_json::from_str(&format!("{}{}", "[".repeat(33), "]".repeat(33))).unwrap();
    run.tick().answer("a", 200, deep);
    let error = run.state.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::OutputTooLarge);
    assert!(error.message.contains("nested more than 32"), "{error:?}");
}

#[test]
fn nothing_new_begins_while_a_run_is_suspended() {
    let mut run = Scenario::of(json!({ "steps": [call("a"), call("b")] }), &json!({}));
    run.tick();
    run.facts.run.suspend = true;
    run.answer("a", 200, Value::Null);
    assert!(run.effects.is_empty());
    run.facts.run.suspend = false;
    run.tick();
    assert_eq!(run.http()[0].key.step, "b");
}

#[test]
fn values_are_set_without_any_effect_and_too_large_ones_fail() {
    let flow = json!({ "steps": [
        { "name": "sum", "set": { "total": "${inputs.a + 1}", "text": "a=${inputs.a}, $${kept}" } },
        { "name": "big", "set": { "text": "${inputs.big}" } },
    ], "inputs": { "type": "object" } });
    let mut run = Scenario::of(flow, &json!({ "a": 1, "big": "x".repeat(70_000) }));
    run.tick();
    assert_eq!(
        run.state.steps[0].output.as_ref().unwrap().0,
        json!({ "total": 2, "text": "a=1, ${kept}" })
    );
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::OutputTooLarge
    );
}
