//! What an http step asks, and what it makes of the answer.

use super::*;
use crate::effect::{HttpBody, HttpTarget};

pub(super) fn flow(http: &Value) -> Value {
    json!({
        "inputs": { "type": "object", "properties": { "a": {}, "b": {} } },
        "steps": [{ "name": "s", "http": http }],
    })
}

pub(super) fn scenario(http: &Value, inputs: &Value) -> Scenario {
    let mut scenario = Scenario::of(flow(http), inputs);
    scenario.tick();
    scenario
}

pub(super) fn problems(http: &Value) -> Vec<String> {
    let definition: Definition = serde_json::from_value(flow(http)).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    let problems = problems.into_iter();
    problems
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

pub(super) fn error(scenario: &Scenario) -> (StepReason, String) {
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
            "steps[0].http: a request has one of body, form, text and from",
        ),
        (
            json!({ "body": {}, "text": "" }),
            "steps[0].http: a request has one of body, form, text and from",
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
fn an_answer_says_when_it_is_asked_again_within_an_hour() {
    let http = json!({ "url": "http://x/" });
    for (value, seconds) in [("120", 120), ("99999999999999", 3_600), ("1", 5)] {
        let mut flow = flow(&http);
        flow["steps"][0]["retry"] = json!({ "attempts": 2, "backoff": { "initial": "5s" } });
        let mut run = Scenario::of(flow, &json!({}));
        run.tick();
        let response = crate::facts::HttpResponse {
            status: 503,
            headers: [("retry-after".to_owned(), value.to_owned())].into(),
            body: Value::Null,
        };
        run.outcome("s", Ok(crate::facts::Response::Http(response)));
        let wake_at = run.state.steps[0].wake_at.clone().unwrap().0;
        assert_eq!(wake_at.duration_since(run.now).as_secs(), seconds, "{value}");
    }
}

#[test]
fn a_host_that_comes_from_data_is_told_from_one_that_the_author_wrote() {
    let public = |url: &str| HttpTarget::PublicUrl(url.to_owned());
    let literal = |url: &str| HttpTarget::Url(url.to_owned());
    for (url, value, expected) in [
        ("http://${inputs.a}/x", "h.example", public("http://h.example/x")),
        (
            "http://${inputs.a}/x",
            "127.0.0.1:80",
            public("http://127.0.0.1:80/x"),
        ),
        ("HTTPS:\\\\${inputs.a}/x", "h", public("HTTPS:\\\\h/x")),
        ("http:///${inputs.a}/x", "h", public("http:///h/x")),
        (
            "http://api${inputs.a}/x",
            ".example",
            public("http://api.example/x"),
        ),
        (
            "http://${inputs.a}.example:80/x",
            "h",
            public("http://h.example:80/x"),
        ),
        ("${inputs.a}", "https://h/x?a=1#b", public("https://h/x?a=1#b")),
        ("${inputs.a}/x", "https://h/v1", public("https://h/v1/x")),
        (
            "http${inputs.a}://127.0.0.1/x",
            "s",
            public("https://127.0.0.1/x"),
        ),
        ("http://h/${inputs.a}", "a?b#c", literal("http://h/a?b#c")),
        ("http://h?${inputs.a}", "a:b", literal("http://h?a:b")),
        ("http://h${inputs.a}", "/x?y", literal("http://h/x?y")),
        (
            "http://127.0.0.1:${inputs.a}/x",
            "8080",
            literal("http://127.0.0.1:8080/x"),
        ),
        (
            "http://127.0.0.1:8080${inputs.a}",
            "/x",
            literal("http://127.0.0.1:8080/x"),
        ),
        ("http://[::1]:${inputs.a}/x", "80", literal("http://[::1]:80/x")),
    ] {
        let run = scenario(&json!({ "url": url }), &json!({ "a": value }));
        assert_eq!(request(run.http()[0]).target, expected, "{url}");
    }
}

#[test]
fn a_value_in_the_host_does_not_end_it() {
    for (url, values) in [
        (
            "http://${inputs.a}/x",
            &[
                "",
                "h/y",
                "h?",
                "h#",
                "u@h",
                "h\\",
                "h:",
                "h:80/admin?a=1#",
                ":80",
                "h h",
                "h\t",
                "%31",
                "[::1]",
                "/y",
            ][..],
        ),
        ("http://h${inputs.a}/x", &["@evil", ":80/y", "?a", "\\y"]),
        ("http://h:${inputs.a}/x", &["", "80@evil", "x", "80?"]),
        ("${inputs.a}/x", &["https://h/admin?a=1#", "https://h/#"]),
    ] {
        for value in values {
            let run = scenario(&json!({ "url": url }), &json!({ "a": value }));
            assert_eq!(error(&run).0, StepReason::InvalidRequest, "{url} {value:?}");
        }
    }
}

#[test]
fn a_path_with_a_fragment_is_a_problem_of_the_definition() {
    let told = problems(&json!({ "connection": "shop", "path": "/a#b" }));
    assert!(told[0].starts_with("steps[0].http.path: a fragment"), "{told:#?}");
    assert_eq!(
        problems(&json!({ "connection": "shop", "path": "/a%23${inputs.?a.orValue('')}" })),
        Vec::<String>::new()
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

#[test]
fn what_an_expression_says_is_not_there_is_left_out() {
    let http = json!({
        "url": "http://x/", "method": "POST",
        "headers": { "X-A": "${inputs.?a}", "X-B": "${inputs.?b}" },
        "query": { "a": "${inputs.?a}", "b": ["${inputs.?b}", "x"], "none": "${inputs.?b}" },
        "body": { "a": "${inputs.?a}", "b": "${inputs.?b}", "list": ["${inputs.?b}", 1, { "c": "${optional.none()}" }],
            "null": "${null}" },
    });
    let run = scenario(&http, &json!({ "a": "x" }));
    let asked = request(run.http()[0]);
    assert_eq!(asked.headers.keys().collect::<Vec<_>>(), ["X-A"]);
    let names: Vec<(&str, usize)> = asked
        .query
        .iter()
        .map(|(name, values)| (&**name, values.len()))
        .collect();
    assert_eq!(names, [("a", 1), ("b", 1)]);
    let body = json!({ "a": "x", "list": [1, {}], "null": null });
    assert_eq!(asked.body, Some(HttpBody::Json(body)));

    for nothing in [
        json!({ "body": "${inputs.?b}" }),
        json!({ "text": "${inputs.?b}" }),
    ] {
        let mut http = nothing;
        http["url"] = "http://x/".into();
        assert_eq!(
            request(scenario(&http, &json!({})).http()[0]).body,
            None,
            "{http}"
        );
    }
    let form =
        json!({ "url": "http://x/", "form": { "a": "${inputs.?a}", "b": "x${inputs.?a.orValue('')}" } });
    let fields = [("b".to_owned(), "x".to_owned())];
    assert_eq!(
        request(scenario(&form, &json!({})).http()[0]).body,
        Some(HttpBody::Form(fields.into()))
    );
}

#[test]
fn a_field_that_may_be_left_out_must_be_guarded_by_those_that_read_it() {
    let problems = |read: &str| {
        let flow = json!({
            "inputs": { "type": "object", "properties": { "note": { "type": "string" } } },
            "steps": [
                { "name": "a", "set": { "note": "${inputs.?note}", "all": ["${inputs.?note}", "x"] } },
                { "name": "b", "set": { "read": read } },
            ],
        });
        let definition: Definition = serde_json::from_value(flow).unwrap();
        let problems = Plan::compile(&definition).err().unwrap_or_default();
        problems
            .into_iter()
            .map(|problem| problem.message)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        problems("${steps.a.output.?note.orValue('none')}"),
        Vec::<String>::new()
    );
    assert_eq!(
        problems("${steps.a.output.all[0].startsWith('x')}"),
        Vec::<String>::new()
    );
    assert_eq!(problems("${steps.a.output.note}").len(), 1);
}

#[test]
fn a_call_that_waits_for_a_turn_says_so_until_it_is_sent() {
    let mut run = Scenario::of(json!({ "steps": [call("a")] }), &json!({}));
    run.tick();
    assert_eq!(run.state.waiting_on, None);
    let key = run.http()[0].key.clone();
    run.facts.waiting_calls.insert(key, "shop".into());
    run.tick();
    let waits = "a turn to call through the Connection shop, which has limits (a)";
    assert_eq!(run.state.waiting_on.as_deref(), Some(waits));
    assert_eq!(run.state.phase, RunPhase::Running);
    run.facts.waiting_calls.clear();
    run.tick();
    assert_eq!((run.state.waiting_on.as_deref(), run.http().len()), (None, 0));
    run.answer("a", 200, json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
}
