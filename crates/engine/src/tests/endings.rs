//! A run ends when what was sent is settled, whatever it is that ends it.

use super::*;
use signoff_api::run::EndingOutcome;

fn pay_beside(other: &Value) -> Value {
    let pay = json!({ "name": "pay", "needs": [], "delivery": "AtMostOnce", "http": { "url": "http://shop/pay", "method": "POST" } });
    json!({ "inputs": { "type": "object" }, "steps": [pay, other] })
}

fn other(kind: &Value) -> Value {
    let mut step = json!({ "name": "other", "needs": [] });
    step.as_object_mut()
        .unwrap()
        .extend(kind.as_object().cloned().unwrap());
    step
}

fn step<'a>(run: &'a Scenario, name: &str) -> &'a signoff_api::run::StepStatus {
    run.state.steps.iter().rfind(|step| step.name == name).unwrap()
}

/// What ends a run, and how it does.
type Cause = (&'static str, Value, fn(&mut Scenario), RunPhase);

/// Everything that ends a run beside a payment that is under way.
fn causes() -> Vec<Cause> {
    let call = |extra: Value| {
        let mut step = json!({ "http": { "url": "http://shop/other" } });
        step.as_object_mut()
            .unwrap()
            .extend(extra.as_object().cloned().unwrap());
        step
    };
    vec![
        (
            "cancel",
            json!({ "wait": { "callback": {} } }),
            |run| {
                run.facts.run.cancel = true;
                run.tick();
            },
            RunPhase::Cancelled,
        ),
        (
            "a call that fails for good",
            call(json!({})),
            |run| {
                run.answer("other", 404, Value::Null);
            },
            RunPhase::Failed,
        ),
        (
            "retries that are exhausted",
            call(json!({ "retry": { "attempts": 1 } })),
            |run| {
                run.answer("other", 503, Value::Null);
            },
            RunPhase::Failed,
        ),
        (
            "an expression that fails",
            json!({ "wait": { "duration": "1m", "respondWithin": "1m" } }),
            |run| {
                run.pass(60);
            },
            RunPhase::Failed,
        ),
        (
            "a rejection",
            json!({ "approval": { "title": "?" } }),
            |run| {
                run.decide("r-other", ApprovalPhase::Rejected);
            },
            RunPhase::Rejected,
        ),
        (
            "nobody who answers",
            json!({ "approval": { "title": "?", "respondWithin": "1m" } }),
            |run| {
                run.decide("r-other", ApprovalPhase::Expired);
            },
            RunPhase::TimedOut,
        ),
    ]
}

fn begun(cause: &Cause) -> Scenario {
    let mut flow = pay_beside(&other(&cause.1));
    if cause.0 == "an expression that fails" {
        let broken = json!({ "name": "broken", "needs": ["other"], "set": { "x": "${1 / int(steps.other.outcome.size() - 7)}" } });
        flow["steps"].as_array_mut().unwrap().push(broken);
    }
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    run
}

fn is_ending(run: &Scenario, as_: RunPhase, cause: &str) {
    assert!(!run.state.phase.is_finished(), "{cause}: {:?}", run.state);
    assert_eq!(run.state.ending.as_ref().unwrap().outcome.phase(), as_, "{cause}");
    assert!(
        !run.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Abort(key) if key.step == "pay")),
        "{cause}"
    );
}

#[test]
fn whatever_ends_a_run_a_payment_under_way_keeps_its_outcome() {
    for cause in &causes() {
        let mut run = begun(cause);
        cause.2(&mut run);
        is_ending(&run, cause.3, cause.0);
        assert_eq!(run.state.phase, RunPhase::Running, "{}", cause.0);
        let waiting_on = format!(
            "the outcome of step pay, which was sent, before the run ends {}",
            cause.3
        );
        assert_eq!(run.state.waiting_on.as_deref(), Some(&*waiting_on), "{}", cause.0);
        run.answer("pay", 200, json!({ "id": 1 }));
        assert_eq!(
            (run.state.phase, &run.state.ending),
            (cause.3, &None),
            "{}",
            cause.0
        );
        assert_eq!(step(&run, "pay").phase, StepPhase::Succeeded, "{}", cause.0);
        assert_eq!(step(&run, "pay").output.as_ref().unwrap().0, json!({ "id": 1 }));
    }
}

#[test]
fn whatever_ends_a_run_people_are_asked_when_nobody_knows_whether_it_was_paid() {
    let gone_wrong: [fn(&mut Scenario); 3] = [
        |run| {
            run.restart();
        },
        |run| {
            run.answer("pay", 502, Value::Null);
        },
        |run| {
            let error = EffectError {
                reason: StepReason::AttemptTimedOut,
                message: "no answer within 30s".into(),
                retryable: true,
                may_have_happened: true,
                retry_after: None,
                status: None,
            };
            run.outcome("pay", Err(error));
        },
    ];
    let question = "r-pay-outcome";
    for cause in &causes() {
        for wrong in gone_wrong {
            for answer in ["happened", "did not", "cannot be told"] {
                let mut run = begun(cause);
                cause.2(&mut run);
                wrong(&mut run);
                is_ending(&run, cause.3, cause.0);
                let waiting_on = format!(
                    "somebody to say whether step pay happened, before the run ends {}",
                    cause.3
                );
                assert_eq!(run.state.waiting_on.as_deref(), Some(&*waiting_on));
                // nothing but the answer ends it, and not another reason either
                run.facts.run.cancel = true;
                run.pass(100_000).restart();
                is_ending(&run, cause.3, cause.0);
                let status = run.open(question);
                let values = json!({ "happened": answer == "happened" });
                status.values = Some(JsonObject(values.as_object().cloned().unwrap()));
                let phase = match answer {
                    "cannot be told" => ApprovalPhase::Rejected,
                    _ => ApprovalPhase::Approved,
                };
                run.decide(question, phase);
                assert_eq!(run.state.phase, cause.3, "{} {answer}", cause.0);
                assert!(run.http().is_empty(), "it is not done again");
                let pay = step(&run, "pay");
                let reason = pay.error.as_ref().map(|error| error.reason);
                let expected = match answer {
                    "happened" => (StepPhase::Succeeded, None),
                    "did not" => (StepPhase::Cancelled, Some(StepReason::Cancelled)),
                    _ => (StepPhase::Failed, Some(StepReason::OutcomeUnknown)),
                };
                assert_eq!((pay.phase, reason), expected, "{}", cause.0);
                // what the run ended for is not covered up by it
                let error = run.state.error.as_ref().unwrap();
                assert_ne!(error.reason, StepReason::OutcomeUnknown, "{}", cause.0);
            }
        }
    }
}

#[test]
fn an_outcome_that_is_heard_with_the_cancellation_is_kept() {
    let mut run = Scenario::of(
        pay_beside(&other(&call("x")["http"].clone().into_http())),
        &json!({}),
    );
    run.tick();
    run.facts.run.cancel = true;
    run.answer("pay", 200, json!(1));
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert_eq!(step(&run, "pay").phase, StepPhase::Succeeded);
    let other = step(&run, "other");
    assert_eq!(other.phase, StepPhase::Cancelled);
    let error = other.error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::OutcomeUnknown);
    assert!(error.message.contains("attempt 1 was under way"), "{error:?}");
}

trait IntoHttp {
    fn into_http(self) -> Value;
}

impl IntoHttp for Value {
    fn into_http(self) -> Value {
        json!({ "http": self })
    }
}

#[test]
fn what_was_not_sent_is_not_said_to_have_been() {
    let steps = json!([
        { "name": "a", "needs": [], "wait": { "duration": "1m" } },
        { "name": "b", "needs": [], "wait": { "callback": {}, "respondWithin": "1m" } },
        { "name": "pay", "needs": ["a"], "delivery": "AtMostOnce", "http": { "url": "http://x/" } },
    ]);
    let mut run = Scenario::of(json!({ "steps": steps }), &json!({}));
    run.tick().pass(60);
    // the wait of b ends the run in the turn in which a lets the payment begin
    assert_eq!(run.state.phase, RunPhase::TimedOut);
    assert!(run.http().is_empty());
    assert_eq!(run.state.billable_steps, 0);
    assert!(
        run.state
            .steps
            .iter()
            .all(|step| step.name != "pay" || step.attempt == 0)
    );
}

#[test]
fn a_call_that_waited_for_its_turn_and_was_not_made_is_cancelled() {
    let mut run = Scenario::of(
        pay_beside(&other(&json!({ "wait": { "callback": {} } }))),
        &json!({}),
    );
    run.tick();
    run.facts.run.cancel = true;
    run.tick();
    let error = EffectError {
        reason: StepReason::Cancelled,
        message: "it was not sent".into(),
        retryable: false,
        may_have_happened: false,
        retry_after: None,
        status: None,
    };
    run.outcome("pay", Err(error));
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    let pay = step(&run, "pay");
    assert_eq!(
        (pay.phase, pay.attempt, &pay.error),
        (StepPhase::Cancelled, 0, &None)
    );
    assert_eq!(run.state.billable_steps, 0);
}

#[test]
fn a_call_whose_write_was_lost_is_not_forgotten_by_the_end() {
    let mut run = Scenario::of(json!({ "steps": [call("a")] }), &json!({}));
    let unwritten = run.state.clone();
    run.tick();
    // the process performs the call, but the state that says so was refused
    run.state = unwritten;
    run.facts.run.cancel = true;
    run.tick();
    let a = step(&run, "a");
    assert_eq!((a.phase, a.attempt), (StepPhase::Cancelled, 1));
    assert!(a.error.as_ref().unwrap().message.contains("was under way"));
    assert!(matches!(&run.effects[..], [Effect::Abort(_)]));
    assert_eq!(run.state.billable_steps, 1);
}

#[test]
fn a_status_that_grows_too_large_keeps_what_came_of_a_payment_without_its_output() {
    let text = "x".repeat(60_000);
    let mut steps: Vec<Value> = (0..9)
        .map(|n| json!({ "name": format!("s{n}"), "needs": [], "http": { "url": "http://x/" } }))
        .collect();
    steps.push(
        json!({ "name": "pay", "needs": [], "delivery": "AtMostOnce", "http": { "url": "http://x/" } }),
    );
    let mut run = Scenario::of(json!({ "steps": steps }), &json!({}));
    run.tick();
    for n in 0..9 {
        run.answer(&format!("s{n}"), 200, json!(text));
        if run.state.ending.is_some() {
            break;
        }
    }
    is_ending(&run, RunPhase::Failed, "size");
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::StatusTooLarge
    );
    assert_eq!(run.state.ending.as_ref().unwrap().outcome, EndingOutcome::Failed);
    run.answer("pay", 200, json!(text));
    assert_eq!(run.state.phase, RunPhase::Failed);
    let pay = step(&run, "pay");
    assert_eq!((pay.phase, &pay.output), (StepPhase::Succeeded, &None));
    assert_eq!(pay.error.as_ref().unwrap().reason, StepReason::StatusTooLarge);
}

#[test]
fn an_attempt_that_people_allow_waits_while_the_run_is_suspended() {
    let mut run = Scenario::of(
        pay_beside(&other(&json!({ "wait": { "callback": {} } }))),
        &json!({}),
    );
    run.tick().restart();
    run.facts.run.suspend = true;
    let question = "r-pay-outcome";
    let status = run.open(question);
    let values = json!({ "happened": false });
    status.values = Some(JsonObject(values.as_object().cloned().unwrap()));
    run.decide(question, ApprovalPhase::Approved);
    assert!(run.http().is_empty());
    assert_eq!(
        (step(&run, "pay").phase, run.wake_at),
        (StepPhase::Retrying, None)
    );
    run.facts.run.suspend = false;
    run.tick();
    assert_eq!(run.http()[0].key.attempt, 2);
}
