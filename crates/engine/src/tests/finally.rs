//! The steps of `finally` run in every case, once, in order, and know how the run will end.

use super::*;
use crate::effect::HttpBody;
use signoff_api::run::EndingOutcome;

/// A flow that calls, asks and pays, and says at its end how it ended.
fn flow() -> Value {
    json!({
        "steps": [
            { "name": "quote", "http": { "url": "http://x/quote" } },
            { "name": "ask", "approval": { "title": "?", "respondWithin": "1h" } },
            { "name": "pay", "delivery": "AtMostOnce", "http": { "url": "http://x/pay" } },
        ],
        "finally": [
            { "name": "tell", "http": { "url": "http://x/tell", "body": {
                "outcome": "${run.outcome}", "why": "${run.?error.message.orValue('')}",
                "step": "${run.?failedStep.orValue('')}", "paid": "${steps.pay.outcome}" } } },
            { "name": "clean", "http": { "url": "http://x/clean" } },
        ],
        "output": { "quote": "${steps.quote.output}" },
    })
}

fn told(run: &Scenario) -> Value {
    let calls = run.http();
    assert_eq!(calls.len(), 1, "{:?}", run.effects);
    match request(calls[0]).body.clone() {
        Some(HttpBody::Json(body)) => body,
        other => panic!("{other:?} is no JSON"),
    }
}

fn finish(run: &mut Scenario) {
    run.answer("tell", 200, Value::Null)
        .answer("clean", 200, Value::Null);
}

#[test]
fn after_a_success_the_output_is_there_and_nothing_failed() {
    let mut run = Scenario::of(flow(), &json!({}));
    run.tick().answer("quote", 200, json!(7));
    run.decide("r-ask", ApprovalPhase::Approved)
        .answer("pay", 200, Value::Null);
    let ending = run.state.ending.clone().unwrap();
    assert_eq!(ending.outcome, EndingOutcome::Succeeded);
    assert_eq!(
        told(&run),
        json!({ "outcome": "Succeeded", "why": "", "step": "", "paid": "Succeeded" })
    );
    assert!(run.http()[0].fenced, "how it ends is written down first");
    run.answer("tell", 200, Value::Null);
    assert!(!run.http()[0].fenced);
    run.answer("clean", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.output.as_ref().unwrap().0, json!({ "quote": 7 }));
    assert!(run.state.ending.is_none());
}

#[test]
fn after_a_failure_a_rejection_a_time_out_and_a_cancellation_it_is_known_what_ended_it() {
    type End = (
        &'static str,
        fn(&mut Scenario),
        RunPhase,
        &'static str,
        &'static str,
    );
    let ends: [End; 4] = [
        (
            "failure",
            |run| {
                run.answer("quote", 404, Value::Null);
            },
            RunPhase::Failed,
            "quote",
            "step quote: the response has status 404",
        ),
        (
            "rejection",
            |run| {
                run.answer("quote", 200, Value::Null)
                    .decide("r-ask", ApprovalPhase::Rejected);
            },
            RunPhase::Rejected,
            "ask",
            "step ask: rejected by ",
        ),
        (
            "time-out",
            |run| {
                run.answer("quote", 200, Value::Null)
                    .decide("r-ask", ApprovalPhase::Expired);
            },
            RunPhase::TimedOut,
            "ask",
            "step ask: nobody decided in time",
        ),
        (
            "cancellation",
            |run| {
                run.facts.run.cancel = true;
                run.tick();
            },
            RunPhase::Cancelled,
            "",
            "the run was cancelled",
        ),
    ];
    for (name, end, phase, step, why) in ends {
        let mut run = Scenario::of(flow(), &json!({}));
        run.tick();
        end(&mut run);
        assert!(!run.state.phase.is_finished(), "{name}");
        let call = run
            .http()
            .into_iter()
            .find(|call| call.key.step == "tell")
            .unwrap();
        let expected = json!({ "outcome": phase.to_string(), "why": why, "step": step, "paid": "Omitted" });
        assert_eq!(request(call).body, Some(HttpBody::Json(expected)), "{name}");
        finish(&mut run);
        assert_eq!(run.state.phase, phase, "{name}");
        assert!(run.state.output.is_none(), "{name}");
    }
}

#[test]
fn each_runs_whatever_came_of_those_before_and_a_failure_spoils_a_success_only() {
    let mut run = Scenario::of(flow(), &json!({}));
    run.tick().answer("quote", 200, json!(7));
    run.decide("r-ask", ApprovalPhase::Approved)
        .answer("pay", 200, Value::Null);
    run.answer("tell", 404, Value::Null)
        .answer("clean", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Failed);
    let error = run.state.error.clone().unwrap();
    assert_eq!(error.reason, StepReason::FinallyFailed);
    assert_eq!(error.message, "step tell: the response has status 404");
    assert!(run.state.output.is_none());

    let mut run = Scenario::of(flow(), &json!({}));
    run.tick().answer("quote", 404, Value::Null);
    run.answer("tell", 404, Value::Null)
        .answer("clean", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::UnexpectedStatus
    );

    let mut tolerant = flow();
    tolerant["finally"][0]["onFailure"] = json!({ "outcome": "Continue" });
    let mut run = Scenario::of(tolerant, &json!({}));
    run.tick().answer("quote", 200, json!(7));
    run.decide("r-ask", ApprovalPhase::Approved)
        .answer("pay", 200, Value::Null);
    run.answer("tell", 404, Value::Null)
        .answer("clean", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn a_cancellation_does_not_stop_it_and_a_termination_does() {
    let begin = || {
        let mut run = Scenario::of(flow(), &json!({}));
        run.tick().answer("quote", 404, Value::Null);
        run
    };
    let mut run = begin();
    run.facts.run.cancel = true;
    run.tick();
    assert!(run.facts.in_flight.iter().any(|key| key.step == "tell"));
    finish(&mut run);
    assert_eq!(run.state.phase, RunPhase::Failed);

    let mut run = begin();
    run.facts.run.terminate = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Failed, "it had failed before");
    assert!(
        run.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Abort(key) if key.step == "tell"))
    );

    let mut run = Scenario::of(flow(), &json!({}));
    run.tick();
    run.facts.run.terminate = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert_eq!(
        run.state.error.as_ref().unwrap().message,
        "the run was terminated"
    );
    assert!(run.state.steps.iter().all(|step| step.name == "quote"));
}

#[test]
fn a_success_that_is_terminated_before_its_end_is_none() {
    let mut run = Scenario::of(flow(), &json!({}));
    run.tick().answer("quote", 200, json!(7));
    run.decide("r-ask", ApprovalPhase::Approved)
        .answer("pay", 200, Value::Null);
    run.facts.run.terminate = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert!(run.state.output.is_none());
}

#[test]
fn a_payment_that_was_sent_is_settled_before_it_begins_and_before_a_termination_is_over() {
    for terminate in [false, true] {
        let mut run = Scenario::of(flow(), &json!({}));
        run.tick().answer("quote", 200, Value::Null);
        run.decide("r-ask", ApprovalPhase::Approved);
        run.facts.run.cancel = true;
        run.facts.run.terminate = terminate;
        run.tick();
        assert!(run.effects.is_empty(), "{:?}", run.effects);
        assert!(!run.state.phase.is_finished());
        run.answer("pay", 200, Value::Null);
        if !terminate {
            assert_eq!(told(&run)["paid"], "Succeeded");
            finish(&mut run);
        }
        assert_eq!(run.state.phase, RunPhase::Cancelled);
        assert_eq!(run.steps()[2].2, StepPhase::Succeeded);
    }
}

#[test]
fn it_does_not_run_if_no_step_began() {
    let mut run = Scenario::of(flow(), &json!({}));
    run.facts.run.cancel = true;
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Cancelled);
    assert!(run.state.steps.is_empty() && run.effects.is_empty());
}

#[test]
fn a_payment_at_the_end_of_which_nobody_knows_whether_it_happened_is_asked_about_and_done_again() {
    let flow = json!({
        "steps": [{ "name": "a", "set": {} }],
        "finally": [{ "name": "refund", "delivery": "AtMostOnce", "http": { "url": "http://x/refund" } }],
    });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().restart();
    let question = run.opened()[0].spec.clone();
    assert!(
        question
            .show
            .iter()
            .any(|item| item.inline.contains("to have it done again")),
        "{question:?}"
    );
    run.open("r-refund-outcome").values = Some(JsonObject(
        json!({ "happened": false }).as_object().cloned().unwrap(),
    ));
    run.decide("r-refund-outcome", ApprovalPhase::Approved);
    assert_eq!(run.http()[0].key.attempt, 2);
    run.answer("refund", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn a_suspended_run_that_failed_ends_when_it_is_resumed() {
    let mut run = Scenario::of(flow(), &json!({}));
    run.tick();
    run.facts.run.suspend = true;
    run.answer("quote", 404, Value::Null);
    assert!(run.http().is_empty());
    let waits_for = "somebody to resume it: it is suspended, before the run ends Failed";
    assert_eq!(run.state.waiting_on.as_deref(), Some(waits_for));
    run.facts.run.suspend = false;
    run.tick();
    finish(&mut run);
    assert_eq!(run.state.phase, RunPhase::Failed);
}

#[test]
fn an_output_that_cannot_be_read_is_a_failure_that_it_knows_of() {
    let mut flow = flow();
    flow["output"] = json!({ "quote": "${steps.quote.output.amount}" });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().answer("quote", 200, json!({}));
    run.decide("r-ask", ApprovalPhase::Approved)
        .answer("pay", 200, Value::Null);
    assert_eq!(told(&run)["outcome"], "Failed");
    finish(&mut run);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::ExpressionFailed
    );
}

#[test]
fn it_waits_a_day_at_most() {
    let flow = |until: &str| {
        json!({
            "inputs": { "type": "object", "properties": { "until": { "type": "string" } } },
            "steps": [{ "name": "a", "set": {} }],
            "finally": [{ "name": "w", "wait": { "until": until } }, { "name": "b", "set": {} }],
        })
    };
    let mut run = Scenario::of(
        flow("${inputs.until}"),
        &json!({ "until": "2027-01-16T07:59:59Z" }),
    );
    run.tick();
    assert_eq!(run.wake_at, Some("2027-01-16T07:59:59Z".parse().unwrap()));
    let mut run = Scenario::of(
        flow("${inputs.until}"),
        &json!({ "until": "2027-01-16T08:00:01Z" }),
    );
    run.tick();
    assert_eq!(
        run.state.error.as_ref().unwrap().reason,
        StepReason::FinallyFailed
    );
    assert_eq!(run.steps()[2].2, StepPhase::Succeeded);
}
