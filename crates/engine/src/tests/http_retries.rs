//! Which failures of an http step are tried again.

use super::{http::error, *};

/// A call that is tried again if the other side says that it is busy.
fn busy(delivery: &str, when: &str) -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "a": {} } },
        "steps": [{ "name": "s", "delivery": delivery, "retry": { "attempts": 3, "when": when },
            "http": { "url": "http://x/", "method": "POST", "expect": { "when": "${response.body.ready}" } } }],
    })
}

const BUSY: &str = "${error.?status.orValue(0) == 400 && error.message.contains('Throttling')}";

#[test]
fn a_failure_that_the_flow_names_is_retried_and_others_are_not() {
    let mut run = Scenario::of(busy("AtLeastOnce", BUSY), &json!({}));
    run.tick().answer("s", 400, json!({ "code": "Throttling" }));
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    run.pass(2).answer("s", 400, json!({ "code": "Invalid" }));
    assert_eq!(run.state.steps[0].phase, StepPhase::Failed);
    assert!(error(&run).1.contains("Invalid"), "{:?}", error(&run));

    let mut run = Scenario::of(busy("AtLeastOnce", BUSY), &json!({}));
    run.tick().answer("s", 400, json!("Throttling"));
    run.pass(2).answer("s", 400, json!("Throttling"));
    run.pass(4).answer("s", 400, json!("Throttling"));
    assert_eq!(
        run.state.steps[0].phase,
        StepPhase::Failed,
        "three attempts are all"
    );

    let not_ready = "${error.reason == 'UnexpectedResponse'}";
    let mut run = Scenario::of(busy("AtLeastOnce", not_ready), &json!({}));
    run.tick().answer("s", 200, json!({ "ready": false }));
    run.pass(2).answer("s", 200, json!({ "ready": true }));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}

#[test]
fn what_must_not_be_repeated_is_retried_only_after_a_refusal() {
    let always = "${true}";
    let mut run = Scenario::of(busy("AtMostOnce", always), &json!({}));
    run.tick().answer("s", 409, Value::Null);
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    run.pass(2).answer("s", 200, json!({ "ready": false }));
    assert_eq!(run.state.steps[0].phase, StepPhase::Failed, "it was done");
    let mut run = Scenario::of(busy("AtMostOnce", always), &json!({}));
    run.tick().answer("s", 500, Value::Null);
    assert_eq!(run.state.steps[0].phase, StepPhase::Waiting, "people are asked");
}

#[test]
fn a_condition_that_cannot_be_read_retries_nothing_and_says_so() {
    let mut run = Scenario::of(busy("AtLeastOnce", "${inputs.a > 1}"), &json!({ "a": "x" }));
    run.tick().answer("s", 404, json!("gone"));
    let (reason, message) = error(&run);
    assert_eq!(reason, StepReason::UnexpectedStatus);
    assert!(message.contains("gone; retry.when: "), "{message}");
}

#[test]
fn a_condition_of_retries_is_checked_as_others_are() {
    let problems = |when: &str, attempts: i64| {
        let mut flow = busy("AtLeastOnce", when);
        flow["steps"][0]["retry"]["attempts"] = attempts.into();
        let definition: Definition = serde_json::from_value(flow).unwrap();
        let problems = Plan::compile(&definition).err().unwrap_or_default();
        let problems = problems.iter();
        let told = problems.map(|problem| format!("{}: {}", problem.field, problem.message));
        told.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(problems(BUSY, 2), "");
    for (when, attempts, part) in [
        (
            BUSY,
            1,
            "steps[0].retry.when: with one attempt, nothing is retried",
        ),
        ("${error.code == 1}", 2, "steps[0].retry.when: "),
        ("${error.status == 400}", 2, "steps[0].retry.when: "),
        ("${error.reason}", 2, "a condition is true or false, not string"),
        ("error.status == 400", 2, "a condition is one ${…} expression"),
    ] {
        let told = problems(when, attempts);
        assert!(told.contains(part), "{when}: {told}");
    }
}
