//! The guard rule: which flows are refused, because a step would act whatever people answer.

use super::*;

/// The steps that the rule catches.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the callers read better with the value in place"
)]
fn not_guarded(steps: Value) -> Vec<String> {
    let definition: Definition = serde_json::from_value(json!({ "steps": steps })).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    let caught = problems.into_iter().map(|problem| {
        assert!(problem.message.starts_with("NotGuarded: "), "{problem:?}");
        let step: usize = problem.field["steps[".len()..problem.field.len() - 1]
            .parse()
            .unwrap();
        definition.steps[step].name.clone()
    });
    caught.collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the callers read better with the value in place"
)]
fn ask(extra: Value) -> Value {
    let mut step = json!({ "name": "ask", "approval": { "title": "?" } });
    step["approval"]
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().cloned().unwrap());
    step
}

fn rejected() -> Value {
    ask(json!({ "onReject": { "outcome": "Continue" } }))
}

fn with(mut step: Value, field: &str, value: Value) -> Value {
    step[field] = value;
    step
}

#[test]
fn an_approval_that_lets_the_run_go_on_is_answered_for() {
    let late = ask(json!({ "respondWithin": "1h", "onTimeout": { "outcome": "Continue" } }));
    for unsure in [rejected(), late] {
        assert_eq!(not_guarded(json!([unsure, call("pay")])), ["pay"]);
        let tell =
            json!({ "name": "tell", "notify": { "webhook": { "url": "http://x/", "message": "hi" } } });
        assert_eq!(not_guarded(json!([unsure, tell])), ["tell"]);
        let harmless =
            json!([unsure, { "name": "x", "set": {} }, { "name": "y", "wait": { "duration": "1s" } }]);
        assert_eq!(not_guarded(harmless), Vec::<String>::new());
    }
    assert_eq!(
        not_guarded(json!([ask(json!({})), call("pay")])),
        Vec::<String>::new()
    );
    assert_eq!(
        not_guarded(json!([call("pay"), rejected()])),
        Vec::<String>::new(),
        "it comes before"
    );
}

#[test]
fn a_condition_answers_if_it_reads_the_outcome() {
    for (when, answers) in [
        ("${steps.ask.outcome == 'Approved'}", true),
        ("${steps['ask'].outcome in ['Approved', 'Rejected']}", true),
        ("${steps.?ask.?outcome.orValue('') == 'Approved'}", true),
        ("${1 > 2 || steps.ask['outcome'] != 'Rejected'}", true),
        ("${[1].all(x, steps.ask.outcome == 'Approved')}", true),
        ("${steps.ask.decision.comment == 'ok'}", false),
        ("${has(steps.ask.outcome)}", false),
        ("${true}", false),
    ] {
        let steps = json!([rejected(), with(call("pay"), "when", json!(when))]);
        assert_eq!(not_guarded(steps).is_empty(), answers, "{when}");
    }
}

#[test]
fn a_condition_on_a_step_that_answers_does_too() {
    let chain = |when: &str| {
        json!([
            rejected(),
            with(call("pay"), "when", json!("${steps.ask.outcome == 'Approved'}")),
            with(call("thank"), "when", json!(when)),
        ])
    };
    assert_eq!(
        not_guarded(chain("${steps.pay.outcome == 'Succeeded'}")),
        Vec::<String>::new()
    );
    assert_eq!(
        not_guarded(chain("${true}")),
        ["thank"],
        "a step that is skipped stops nothing"
    );
}

#[test]
fn needs_with_outcomes_answer_and_so_does_what_is_omitted_with_them() {
    let ask = with(rejected(), "needs", json!([]));
    let then = |name: &str, needs: Value| with(call(name), "needs", needs);
    let plain = json!([ask, then("pay", json!(["ask"]))]);
    assert_eq!(not_guarded(plain), ["pay"]);
    let branch = json!([
        ask,
        then("pay", json!(["ask.Approved"])),
        then("thank", json!(["pay"])),
        then("sorry", json!(["ask.Rejected"])),
        then("both", json!(["thank", "sorry"])),
    ]);
    assert_eq!(not_guarded(branch), Vec::<String>::new());
    let in_every_case = json!([
        ask,
        then("log", json!(["ask.Approved|Rejected"])),
        then("more", json!(["log"])),
        then("most", json!(["log.Succeeded"])),
    ]);
    assert_eq!(
        not_guarded(in_every_case),
        ["more"],
        "it follows a step that acts in every case"
    );
}

#[test]
fn each_of_two_approvals_is_answered_for() {
    let other = with(rejected(), "name", json!("other"));
    let both = "${steps.ask.outcome == 'Approved' && steps.other.outcome == 'Approved'}";
    let steps = |when: &str| json!([rejected(), other, with(call("pay"), "when", json!(when))]);
    assert_eq!(not_guarded(steps(both)), Vec::<String>::new());
    assert_eq!(not_guarded(steps("${steps.ask.outcome == 'Approved'}")), ["pay"]);
}
