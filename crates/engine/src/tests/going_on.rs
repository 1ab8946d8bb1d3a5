//! A run goes on after a "no" and after a failure, and branches that are not taken are omitted to their end.

use super::*;

fn outcome(run: &Scenario, name: &str) -> Option<StepOutcome> {
    let entry = run.state.steps.iter().rfind(|step| step.name == name);
    entry.and_then(|entry| entry.outcome)
}

fn output(run: &Scenario) -> &Value {
    &run.state.output.as_ref().unwrap().0
}

#[test]
fn a_no_takes_its_own_branch_and_the_other_one_is_omitted_to_its_end() {
    let flow = json!({
        "steps": [
            { "name": "ask", "needs": [], "approval": { "title": "?", "onReject": { "outcome": "Continue" } } },
            { "name": "pay", "needs": ["ask.Approved"], "http": { "url": "http://x/pay" } },
            { "name": "thank", "needs": ["pay"], "http": { "url": "http://x/thank" } },
            { "name": "sorry", "needs": ["ask.Rejected"], "set": { "why": "${steps.ask.decision.verdict}" } },
            { "name": "either", "needs": ["thank.Succeeded|Omitted", "sorry.Succeeded|Omitted"], "set": {} },
        ],
        "output": { "paid": "${steps.pay.outcome == 'Succeeded'}", "why": "${steps.sorry.?output.why.orValue('')}" },
    });
    let mut run = Scenario::of(flow.clone(), &json!({}));
    run.tick().decide("r-ask", ApprovalPhase::Rejected);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert!(run.http().is_empty());
    for (step, expected) in [
        ("ask", StepOutcome::Rejected),
        ("pay", StepOutcome::Omitted),
        ("thank", StepOutcome::Omitted),
        ("sorry", StepOutcome::Succeeded),
        ("either", StepOutcome::Succeeded),
    ] {
        assert_eq!(outcome(&run, step), Some(expected), "{step}");
    }
    assert_eq!(output(&run), &json!({ "paid": false, "why": "Reject" }));

    let mut run = Scenario::of(flow, &json!({}));
    run.tick().decide("r-ask", ApprovalPhase::Approved);
    run.answer("pay", 200, Value::Null)
        .answer("thank", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(outcome(&run, "sorry"), Some(StepOutcome::Omitted));
    assert_eq!(output(&run), &json!({ "paid": true, "why": "" }));
}

#[test]
fn after_a_failure_that_is_expected_the_run_goes_on_and_says_why() {
    let flow = json!({
        "steps": [
            { "name": "fast", "onFailure": { "outcome": "Continue" }, "retry": { "attempts": 2 }, "http": { "url": "http://x/fast" } },
            { "name": "slow", "when": "${steps.fast.outcome == 'Failed'}", "http": { "url": "http://x/slow" } },
        ],
        "output": { "why": "${steps.fast.error.reason}", "said": "${steps.fast.error.message}", "empty": "${has(steps.fast.output)}" },
    });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().answer("fast", 503, Value::Null);
    run.pass(1).answer("fast", 503, Value::Null);
    assert_eq!(run.steps()[0].2, StepPhase::Failed);
    assert!(run.state.error.is_none());
    run.answer("slow", 200, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let said = "the response has status 503 (attempt 2 of 2)";
    assert_eq!(
        output(&run),
        &json!({ "why": "UnexpectedStatus", "said": said, "empty": false })
    );
}

#[test]
fn a_condition_that_cannot_be_read_is_a_failure_like_any_other() {
    let broken =
        json!({ "name": "a", "onFailure": { "outcome": "Continue" }, "when": "${inputs.n > 1}", "set": {} });
    let inputs = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let mut run = Scenario::of(json!({ "inputs": inputs, "steps": [broken] }), &json!({}));
    run.tick();
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(outcome(&run, "a"), Some(StepOutcome::Failed));
}

#[test]
fn a_payment_of_which_nobody_knows_whether_it_happened_may_be_a_failure_with_which_the_run_goes_on() {
    let flow = json!({ "steps": [
        { "name": "pay", "delivery": "AtMostOnce", "onFailure": { "outcome": "Continue" }, "http": { "url": "http://x/pay" } },
        { "name": "after", "set": { "why": "${steps.pay.error.reason}" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick().restart();
    run.decide("r-pay-outcome", ApprovalPhase::Rejected);
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(
        run.state.steps[1].output.as_ref().unwrap().0,
        json!({ "why": "OutcomeUnknown" })
    );
}

#[test]
fn a_failure_beside_it_still_ends_the_run() {
    let flow = json!({ "steps": [
        { "name": "a", "needs": [], "onFailure": { "outcome": "Continue" }, "http": { "url": "http://x/a" } },
        { "name": "b", "needs": [], "http": { "url": "http://x/b" } },
    ] });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick()
        .answer("a", 404, Value::Null)
        .answer("b", 404, Value::Null);
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert!(run.state.error.as_ref().unwrap().message.starts_with("step b: "));
}
