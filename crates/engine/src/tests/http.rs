//! What an http step asks, and what it makes of the answer.

use super::*;
use crate::effect::{HttpBody, HttpTarget};

fn flow(http: &Value) -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "a": {}, "b": {} } },
        "steps": [{ "name": "s", "http": http }],
    })
}

fn scenario(http: &Value, inputs: &Value) -> Scenario {
    let mut scenario = Scenario::of(flow(http), inputs);
    scenario.tick();
    scenario
}

fn problems(http: &Value) -> Vec<String> {
    let definition: Definition = serde_json::from_value(flow(http)).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    let problems = problems.into_iter();
    problems
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

fn error(scenario: &Scenario) -> (StepReason, String) {
    let error = scenario.state.steps[0].error.clone().unwrap();
    (error.reason, error.message)
}

#[test]
fn a_form_a_text_and_a_query_come_from_expressions() {
    let form = json!({ "url": "http://x/", "form": { "user": "${inputs.a}", "n": "${inputs.b}" } });
    let run = scenario(&form, &json!({ "a": "x&y", "b": 2 }));
    let asked = request(run.http()[0]);
    let fields = [
        ("n".to_owned(), "2".to_owned()),
        ("user".to_owned(), "x&y".to_owned()),
    ];
    assert_eq!(asked.body, Some(HttpBody::Form(fields.into())));
    assert_eq!(asked.method.to_string(), "POST");

    let text = json!({ "url": "http://x/", "method": "PUT", "text": "a: ${inputs.a}\n" });
    let run = scenario(&text, &json!({ "a": [1] }));
    assert_eq!(
        request(run.http()[0]).body,
        Some(HttpBody::Text("a: [1]\n".to_owned()))
    );

    let query = json!({ "url": "http://x/", "query": { "tag": ["a", "${inputs.a}", 3], "all": "${inputs.b}", "on": true } });
    let run = scenario(&query, &json!({ "a": "x", "b": [1, "two"] }));
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let expected = [
        ("all".to_owned(), texts(&["1", "two"])),
        ("on".to_owned(), texts(&["true"])),
        ("tag".to_owned(), texts(&["a", "x", "3"])),
    ];
    assert_eq!(request(run.http()[0]).query, expected.into());
    let run = scenario(&query, &json!({ "a": "x", "b": { "c": 1 } }));
    assert_eq!(error(&run).0, StepReason::InvalidRequest);
}

#[test]
fn what_cannot_be_a_request_is_a_problem_of_the_definition() {
    for (http, expected) in [
        (
            json!({ "body": {}, "form": {} }),
            "steps[0].http: a request has one of body, form and text",
        ),
        (
            json!({ "body": {}, "text": "" }),
            "steps[0].http: a request has one of body, form and text",
        ),
        (
            json!({ "headers": { "authorization": "x" } }),
            "steps[0].http.headers.authorization: credentials are not in a flow",
        ),
        (
            json!({ "headers": { "Host": "x" } }),
            "steps[0].http.headers.Host: this header is set by Signoff",
        ),
        (
            json!({ "headers": { "X-A": "x\ny" } }),
            "steps[0].http.headers.X-A: a header has no line breaks",
        ),
        (
            json!({ "query": { "a": { "b": 1 } } }),
            "steps[0].http.query.a: a query parameter is a text",
        ),
        (
            json!({ "query": { "a": [null] } }),
            "steps[0].http.query.a: a query parameter is a text",
        ),
        (
            json!({ "text": "", "redirects": 1 }),
            "steps[0].http.redirects: only GET and HEAD follow redirects",
        ),
        (
            json!({ "expect": { "when": "${response.status}x" } }),
            "steps[0].http.expect.when: a condition is one ${…} expression",
        ),
        (
            json!({ "schema": { "type": 1 } }),
            "steps[0].http.schema: not a JSON Schema",
        ),
    ] {
        let mut http = http;
        http["url"] = "http://x/".into();
        let told = problems(&http);
        assert!(
            told.iter().any(|told| told.starts_with(expected)),
            "{expected:?} not in {told:#?}"
        );
    }
    assert_eq!(
        problems(&json!({ "url": "http://x/", "redirects": 5 })),
        Vec::<String>::new()
    );
}

#[test]
fn a_value_makes_neither_a_line_of_a_header_nor_a_dot_segment() {
    let header = json!({ "url": "http://x/", "headers": { "X-A": "${inputs.a}" } });
    let run = scenario(&header, &json!({ "a": "x\r\nX-B: y" }));
    assert_eq!(error(&run).0, StepReason::InvalidRequest);
    let url = json!({ "url": "http://x/users/${inputs.a}/orders" });
    for dots in ["..", "a/../..", ".", "%2e%2E", "..\\x"] {
        let run = scenario(&url, &json!({ "a": dots }));
        assert_eq!(error(&run).0, StepReason::InvalidRequest, "{dots}");
    }
    let run = scenario(&url, &json!({ "a": "..a" }));
    assert_eq!(
        request(run.http()[0]).target,
        HttpTarget::Url("http://x/users/..a/orders".to_owned())
    );
}

#[test]
fn a_path_below_a_connection_has_no_dot_segment_either() {
    let path = json!({ "connection": "shop", "path": "/users/${inputs.a}/orders" });
    let run = scenario(&path, &json!({ "a": ".." }));
    assert_eq!(error(&run).0, StepReason::InvalidRequest);
    let run = scenario(&path, &json!({ "a": "../x" }));
    assert_eq!(run.http().len(), 1, "a slash is encoded");
}

#[test]
fn a_number_of_the_body_is_what_the_schema_declares_it_as() {
    let http = json!({
        "url": "http://x/",
        "expect": { "when": "${response.body.n * 1.5 == 3.0}" },
        "schema": { "type": "object", "required": ["n"], "properties": { "n": { "type": "number" } } },
    });
    let mut run = scenario(&http, &json!({}));
    run.answer("s", 200, json!({ "n": 2 }));
    assert_eq!(run.state.phase, RunPhase::Succeeded, "{:?}", run.state.error);
}

#[test]
fn an_answer_is_what_the_step_expects_or_fails_it() {
    let http = json!({
        "url": "http://x/",
        "expect": { "status": [200, 404], "when": "${response.status == 404 || response.body.ok}" },
        "schema": { "type": "object", "required": ["ok"], "properties": { "ok": { "type": "boolean" } } },
    });
    let answered = |status: u16, body: Value| {
        let mut run = scenario(&http, &json!({}));
        run.answer("s", status, body);
        run
    };
    assert_eq!(
        answered(200, json!({ "ok": true })).state.phase,
        RunPhase::Succeeded
    );
    assert_eq!(
        answered(404, json!({ "ok": false })).state.phase,
        RunPhase::Succeeded
    );
    let (reason, message) = error(&answered(200, json!({ "ok": false })));
    assert_eq!(reason, StepReason::UnexpectedResponse);
    assert!(
        message.contains(r#"expect.when is false: {"ok":false}"#),
        "{message}"
    );
    let (reason, message) = error(&answered(200, json!({ "ok": "yes" })));
    assert_eq!(reason, StepReason::InvalidResponse);
    assert!(message.contains("\"/ok\""), "{message}");
    assert_eq!(
        error(&answered(201, json!({ "ok": true }))).0,
        StepReason::UnexpectedStatus
    );
}

#[test]
fn a_condition_that_cannot_be_evaluated_fails_the_step_and_says_what_was_answered() {
    let http = json!({ "url": "http://x/", "expect": { "when": "${response.body.ready}" } });
    let mut run = scenario(&http, &json!({}));
    run.answer("s", 200, json!({}));
    let (reason, message) = error(&run);
    assert_eq!(reason, StepReason::ExpressionFailed);
    assert!(
        message.starts_with("it was answered with status 200, but expect.when:"),
        "{message}"
    );
}

#[test]
fn an_answer_that_is_not_expected_needs_nobody_to_say_what_happened() {
    let http = json!({ "url": "http://x/", "method": "POST", "expect": { "when": "${response.body.ok}" } });
    let mut definition = flow(&http);
    definition["steps"][0]["delivery"] = "AtMostOnce".into();
    let mut run = Scenario::of(definition, &json!({}));
    run.tick().answer("s", 200, json!({ "ok": false }));
    assert_eq!((run.state.phase, run.opened().len()), (RunPhase::Failed, 0));
}
