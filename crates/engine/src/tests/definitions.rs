//! What is wrong with a definition.

use super::*;

#[test]
fn every_problem_of_a_definition_is_reported_with_its_place() {
    let definition: Definition = serde_json::from_value(json!({
        "inputs": { "type": "object", "required": ["n"], "properties": { "n": { "type": "number" } } },
        "steps": [
            { "name": "a", "when": "${inputs.n + 1}", "http": { "url": "http://x/${inputs.m}" } },
            { "name": "a", "set": { "v": { "deep": "${steps.later.output}" } } },
            { "name": "later", "when": "${inputs.n == 'x'}", "set": { "v": "${1 +}" } },
            { "name": "ask", "approval": { "title": "${secrets.x} ${callback('a').url}", "changes": { "backTo": "gone" } } },
        ],
    }))
    .unwrap();
    let problems = Plan::compile(&definition).unwrap_err();
    let told: Vec<(&str, &str)> = problems
        .iter()
        .map(|problem| (problem.field.as_str(), problem.message.as_str()))
        .collect();
    for expected in [
        ("steps[1].name", "there is another step a"),
        (
            "steps[0].when",
            "+ does not take double and int; write a whole number with .0, such as 100.0, or convert with double(…)",
        ),
        ("steps[0].http.url", "there is no input m"),
        ("steps[1].set.v.deep", "step later is not done before this one"),
        ("steps[2].when", "double and string are never equal"),
        (
            "steps[3].approval.title",
            "callback('a'): there is no wait step a with a callback",
        ),
        ("steps[3].approval.changes.backTo", "there is no step gone"),
    ] {
        assert!(told.contains(&expected), "{expected:?} not in {told:#?}");
    }
    assert!(
        told.iter()
            .any(|(field, message)| *field == "steps[2].set.v" && message.starts_with("syntax error")),
        "{told:#?}"
    );
    assert!(
        told.iter()
            .any(|(_, message)| message.starts_with("there is no variable secrets")),
        "{told:#?}"
    );
}

#[test]
fn a_circle_of_needs_is_named() {
    let with = |name: &str, needs: &str| json!({ "name": name, "needs": [needs], "set": { "x": 1 } });
    let definition =
        serde_json::from_value(json!({ "steps": [with("a", "b"), with("b", "c"), with("c", "a")] })).unwrap();
    let problems = Plan::compile(&definition).unwrap_err();
    assert_eq!(
        problems[0].message,
        "the steps need each other in a circle: a needs b needs c needs a"
    );
}

/// What is wrong with steps, each with its place.
fn problems(steps: &Value) -> Vec<(String, String)> {
    let definition = serde_json::from_value(json!({ "steps": steps })).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    let problems = problems.into_iter();
    problems.map(|problem| (problem.field, problem.message)).collect()
}

#[test]
fn needs_name_steps_and_outcomes_with_which_the_run_goes_on() {
    let ask = |approval: Value| json!({ "name": "ask", "needs": [], "approval": approval });
    let after = |needs: &str| json!({ "name": "then", "needs": [needs], "set": {} });
    let plain = json!({ "title": "?" });
    let continues = json!({ "title": "?", "onReject": { "outcome": "Continue" } });
    for (steps, field, message) in [
        (
            json!([ask(plain.clone()), after("ask.Aproved")]),
            "steps[1].needs[0]",
            "\"Aproved\" is not an outcome of a step; step ask goes on with Approved",
        ),
        (
            json!([ask(plain.clone()), after("ask.Rejected")]),
            "steps[1].needs[0]",
            "the run never goes on after step ask is Rejected; it does with Approved",
        ),
        (
            json!([ask(plain), { "name": "then", "set": {} }]),
            "steps[1]",
            "this step has no `needs`, but another has: give every step `needs`; `needs: []` starts at once",
        ),
    ] {
        assert_eq!(problems(&steps), [(field.to_owned(), message.to_owned())]);
    }
    assert_eq!(problems(&json!([ask(continues), after("ask.Rejected")])), []);
}

#[test]
fn only_steps_that_can_fail_by_themselves_say_what_happens_then() {
    let steps = json!([
        { "name": "ask", "onFailure": { "outcome": "Continue" }, "approval": { "title": "?" } },
        { "name": "over", "onFailure": { "outcome": "Fail" }, "end": { "outcome": "Failed" } },
        { "name": "values", "onFailure": { "outcome": "Continue" }, "set": {} },
    ]);
    let message = |kind: &str| format!("{kind} steps have no onFailure");
    assert_eq!(
        problems(&steps),
        [
            ("steps[0].onFailure".to_owned(), message("approval")),
            ("steps[1].onFailure".to_owned(), message("end")),
        ]
    );
}

#[test]
fn nothing_in_finally_waits_for_people_or_without_end() {
    let told = |last: Value| {
        let definition = json!({ "steps": [{ "name": "a", "set": {} }], "finally": [last] });
        let problems = Plan::compile(&serde_json::from_value(definition).unwrap())
            .err()
            .unwrap_or_default();
        let problems = problems.into_iter();
        problems
            .map(|problem| (problem.field, problem.message))
            .collect::<Vec<_>>()
    };
    let is = |field: &str, message: &str| vec![(field.to_owned(), message.to_owned())];
    let long = "a wait of finally takes at most 24h";
    for (last, expected) in [
        (
            json!({ "name": "b", "approval": { "title": "?" } }),
            is(
                "finally[0].approval",
                "finally has no approval steps: it runs in every case",
            ),
        ),
        (
            json!({ "name": "b", "end": { "outcome": "Failed" } }),
            is(
                "finally[0].end",
                "finally has no end steps: it runs in every case",
            ),
        ),
        (
            json!({ "name": "b", "needs": [], "set": {} }),
            is(
                "finally[0].needs",
                "steps of finally run one after another and have no needs",
            ),
        ),
        (
            json!({ "name": "b", "wait": { "callback": {} } }),
            is("finally[0].wait.respondWithin", long),
        ),
        (
            json!({ "name": "b", "wait": { "duration": "25h" } }),
            is("finally[0].wait.duration", long),
        ),
        (
            json!({ "name": "b", "wait": { "callback": {}, "respondWithin": "1d" } }),
            vec![],
        ),
        (
            json!({ "name": "a", "set": {} }),
            is("finally[0].name", "there is another step a"),
        ),
        (
            json!({ "name": "b", "set": { "x": "${steps.a.outcome}${run.outcome}" } }),
            vec![],
        ),
        (
            json!({ "name": "b", "set": { "x": "${run.phase}" } }),
            is("finally[0].set.x", "there is no field phase"),
        ),
    ] {
        assert_eq!(told(last), expected);
    }
    let early = json!([{ "name": "a", "when": "${run.outcome == 'Failed'}", "set": {} }]);
    assert_eq!(
        problems(&early),
        is("steps[0].when", "run.outcome is known only in finally")
    );
}
