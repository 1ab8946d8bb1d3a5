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

/// A loop that asks after a step that acts.
fn asked_again(when: Option<&str>, repeat: Value) -> Value {
    let mut publish = with(call("publish"), "delivery", json!("AtMostOnce"));
    if let Some(when) = when {
        publish["when"] = json!(when);
    }
    let mut repeat = repeat;
    repeat["from"] = json!("draft");
    json!([{ "name": "draft", "set": {} }, publish, with(rejected(), "repeat", repeat)])
}

#[test]
fn a_step_before_an_approval_looks_at_what_was_said_in_the_pass_before() {
    let until = json!({ "until": "${steps.ask.outcome == 'Approved'}" });
    for (when, answers) in [
        (None, false),
        (Some("${steps.publish.pass > 1}"), false),
        (Some("${has(steps.ask.previous)}"), false),
        (
            Some("${steps.ask.?previous.?decision.?comment.orValue('') == 'ok'}"),
            false,
        ),
        (
            Some("${steps.ask.?previous.?outcome.orValue('Approved') == 'Approved'}"),
            true,
        ),
        (
            Some("${!has(steps.ask.previous) || steps.ask.previous.outcome == 'Approved'}"),
            true,
        ),
    ] {
        let caught = not_guarded(asked_again(when, until.clone()));
        assert_eq!(caught, if answers { vec![] } else { vec!["publish"] }, "{when:?}");
    }
}

#[test]
fn a_loop_that_is_over_after_a_no_has_no_next_pass() {
    for (repeat, is_over) in [
        (
            json!({ "until": "${steps.ask.outcome in ['Approved', 'Rejected']}" }),
            true,
        ),
        (
            json!({ "until": "${steps['ask']['outcome'] == 'Rejected' || steps.ask.pass > 3}" }),
            true,
        ),
        (json!({ "until": "${!(steps.ask.outcome != 'Rejected')}" }), true),
        (json!({ "while": "${steps.ask.outcome == 'Approved'}" }), true),
        (
            json!({ "while": "${steps.ask.outcome == 'Approved' && steps.ask.pass < 3}" }),
            true,
        ),
        (
            json!({ "until": "${steps.ask.outcome == 'Rejected' ? true : steps.ask.pass > 3}" }),
            true,
        ),
        (json!({ "while": "${steps.ask.outcome != 'Approved'}" }), false),
        (
            json!({ "until": "${steps.ask.outcome == 'Rejected' && steps.ask.pass > 3}" }),
            false,
        ),
        (json!({ "until": "${steps.ask.pass > 3}" }), false),
        (json!({ "until": "${steps.ask.outcome.startsWith('R')}" }), false),
    ] {
        let caught = not_guarded(asked_again(None, repeat.clone()));
        assert_eq!(caught.is_empty(), is_over, "{repeat}");
    }
    // where the last step does not begin, no pass follows
    let last = |when: &str| {
        let last = json!({ "name": "last", "set": {}, "when": when, "repeat": { "from": "publish", "until": "${steps.last.pass > 3}" } });
        json!([call("publish"), rejected(), last])
    };
    assert_eq!(
        not_guarded(last("${steps.ask.outcome == 'Approved'}")),
        Vec::<String>::new()
    );
    assert_eq!(not_guarded(last("${steps.ask.pass == 1}")), ["publish"]);
    let needed = |need: &str| {
        let last = json!({ "name": "last", "set": {}, "needs": [need],
            "repeat": { "from": "publish", "until": "${steps.last.pass > 3}" } });
        let publish = with(call("publish"), "needs", json!([]));
        json!([publish, with(rejected(), "needs", json!(["publish"])), last])
    };
    assert_eq!(not_guarded(needed("ask.Approved")), Vec::<String>::new());
    assert_eq!(not_guarded(needed("ask")), ["publish"]);
}

#[test]
fn to_go_back_for_changes_is_meant_but_not_after_a_no_to_another_question() {
    let changes = json!({ "changes": { "backTo": "publish" }, "onReject": { "outcome": "Continue" } });
    assert_eq!(
        not_guarded(json!([call("publish"), ask(changes)])),
        Vec::<String>::new()
    );
    let other = with(
        ask(json!({ "changes": { "backTo": "publish" } })),
        "name",
        json!("other"),
    );
    let steps = |when: &str| {
        json!([
            call("publish"),
            rejected(),
            with(other.clone(), "when", json!(when))
        ])
    };
    assert_eq!(not_guarded(steps("${1 < 2}")), ["publish"]);
    assert_eq!(
        not_guarded(steps("${steps.ask.outcome == 'Approved'}")),
        Vec::<String>::new()
    );
    // a step that looks stands for those that need it to have run
    let chain = |need: &str| {
        json!([
            { "name": "gate", "needs": [], "set": {},
                "when": "${steps.ask.?previous.?outcome.orValue('Approved') == 'Approved'}" },
            with(call("publish"), "needs", json!([need])),
            with(rejected(), "needs", json!(["publish"])),
            { "name": "last", "needs": ["ask"], "set": {}, "repeat": { "from": "gate", "until": "${steps.last.pass > 3}" } },
        ])
    };
    assert_eq!(not_guarded(chain("gate.Succeeded")), Vec::<String>::new());
    assert_eq!(not_guarded(chain("gate")), ["publish"]);
}

#[test]
fn the_message_says_what_to_write_and_a_release_that_was_cut_runs_on() {
    let steps = asked_again(None, json!({ "until": "${steps.ask.outcome == 'Approved'}" }));
    let definition: Definition = serde_json::from_value(json!({ "steps": steps })).unwrap();
    let problems = Plan::compile(&definition).unwrap_err();
    assert_eq!(problems[0].field, "steps[1]");
    assert_eq!(
        problems[0].message,
        "NotGuarded: when approval ask is Rejected, the loop of step ask may begin another pass, in which this step does not look at \
         that: write `when: ${steps.ask.?previous.?outcome.orValue('Approved') == 'Approved'}`, or end the loop, as with `until: \
         ${steps.ask.outcome in ['Approved', 'Rejected']}`; to act in every case, list all outcomes"
    );
    assert!(Plan::of_release(&definition).is_ok());
}
