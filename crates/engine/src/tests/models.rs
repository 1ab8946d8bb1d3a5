//! `llm` steps: what is asked, what is made of the answer, and what it took.

use super::*;
use crate::chat::{Image, LlmAnswer, LlmRequest, LlmResponse, Message};
use signoff_api::{Resource, ResourceRef, run::Usage};

fn asking(more: Value) -> Value {
    let mut step = json!({ "name": "ask", "llm": { "connection": "model", "model": "m-1", "prompt": "Sum up ${inputs.text}" } });
    let Value::Object(more) = more else {
        panic!("fields")
    };
    for (field, value) in more {
        step["llm"][field] = value;
    }
    json!({ "steps": [step] })
}

fn begun(flow: Value, inputs: &Value) -> Scenario {
    let mut run = Scenario::of(flow, inputs);
    run.tick();
    run
}

fn usage(input: i64, output: i64, calls: i64) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        calls,
    }
}

fn said(text: &str) -> Response {
    Response::Llm(LlmResponse {
        usage: usage(10, 3, 1),
        answer: Ok(LlmAnswer {
            text: text.into(),
            ..LlmAnswer::default()
        }),
    })
}

fn failed(reason: StepReason, retryable: bool) -> EffectError {
    EffectError {
        reason,
        message: "no".into(),
        retryable,
        may_have_happened: false,
        retry_after: None,
        status: None,
    }
}

fn asked(run: &Scenario) -> &LlmRequest {
    match run.http().as_slice() {
        [call] => match &call.request {
            Request::Llm(request) => request,
            other => panic!("{other:?}"),
        },
        other => panic!("not one call: {other:?}"),
    }
}

#[test]
fn a_model_is_asked_what_the_step_says_and_its_text_is_the_output() {
    let flow = asking(
        json!({ "system": "Be brief, ${run.name}", "maxTokens": 50, "options": { "temperature": 0, "user": "${run.name}" },
        "messages": [{ "role": "user", "content": "${inputs.text}" }, { "role": "assistant", "content": "yes" }] }),
    );
    let mut run = begun(flow, &json!({ "text": "this" }));
    let call = run.http()[0].clone();
    assert!(!call.fenced && call.timeout.as_secs() == 300);
    let request = asked(&run);
    assert_eq!(request.system.as_deref(), Some("Be brief, r"));
    let user = |content: &str| Message::User {
        content: content.into(),
        images: vec![],
    };
    let yes = Message::Assistant {
        content: "yes".into(),
        calls: vec![],
    };
    assert_eq!(request.messages, [user("this"), yes, user("Sum up this")]);
    assert_eq!((request.max_tokens, request.model.as_str()), (50, "m-1"));
    assert_eq!(json!(request.options), json!({ "temperature": 0, "user": "r" }));
    run.outcome("ask", Ok(said("short")));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    let step = &run.state.steps[0];
    assert_eq!(step.output.as_ref().unwrap().0, json!("short"));
    assert_eq!(step.usage, Some(usage(10, 3, 1)));
    assert_eq!(run.state.usage, Some(usage(10, 3, 1)));
    assert_eq!(run.state.billable_steps, 1);
}

#[test]
fn a_value_that_fits_the_schema_is_the_output_and_its_type_is_known() {
    let mut flow = asking(
        json!({ "schema": { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } } }),
    );
    flow["output"] = json!({ "n": "${steps.ask.output.n + 1}", "calls": "${steps.ask.usage.calls}" });
    let definition: Definition = serde_json::from_value(flow.clone()).unwrap();
    flow["inputs"] =
        json!({ "type": "object", "properties": { "text": { "type": "string", "default": "" } } });
    Plan::compile(&serde_json::from_value(flow.clone()).unwrap()).unwrap();
    flow["output"] = json!({ "n": "${steps.ask.output.n + 'x'}" });
    let problems = Plan::compile(&serde_json::from_value(flow).unwrap()).unwrap_err();
    assert!(
        problems.iter().any(|problem| problem.field == "output.n"),
        "{problems:?}"
    );
    let mut run = begun(serde_json::to_value(definition).unwrap(), &json!({ "text": "" }));
    let answer = Ok(Response::Llm(LlmResponse {
        usage: usage(1, 1, 3),
        answer: Ok(LlmAnswer {
            text: "{\"n\":1}".into(),
            value: Some(json!({ "n": 1 })),
            calls: vec![],
        }),
    }));
    run.outcome("ask", answer);
    assert_eq!(
        run.state.output.as_ref().unwrap().0,
        json!({ "n": 2, "calls": 3 })
    );
}

#[test]
fn what_failed_attempts_took_is_counted_too() {
    let mut flow = asking(json!({}));
    flow["steps"][0]["retry"] = json!({ "attempts": 2 });
    let mut run = begun(flow, &json!({ "text": "" }));
    let overloaded = EffectError {
        retry_after: Some(std::time::Duration::from_secs(30)),
        ..failed(StepReason::UnexpectedStatus, true)
    };
    let response = LlmResponse {
        usage: usage(10, 0, 1),
        answer: Err(overloaded),
    };
    run.outcome("ask", Ok(Response::Llm(response)));
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    run.pass(29);
    assert!(run.effects.is_empty(), "the provider asked for 30 seconds");
    run.pass(1);
    let unusable = LlmResponse {
        usage: usage(20, 30, 3),
        answer: Err(failed(StepReason::InvalidAnswer, false)),
    };
    run.outcome("ask", Ok(Response::Llm(unusable)));
    assert_eq!(run.state.phase, RunPhase::Failed);
    assert_eq!(
        run.state.steps[0].error.as_ref().unwrap().reason,
        StepReason::InvalidAnswer
    );
    assert_eq!(run.state.usage, Some(usage(30, 30, 4)));
    assert_eq!(run.state.steps[0].usage, run.state.usage);
}

#[test]
fn a_crash_asks_again_under_the_same_key() {
    let mut run = begun(asking(json!({})), &json!({ "text": "" }));
    let first = run.http()[0].clone();
    run.restart();
    assert_eq!(*run.http()[0], first);
}

#[test]
fn all_items_together_are_counted_at_the_step() {
    let mut flow = asking(json!({ "prompt": "${item}" }));
    flow["steps"][0]["forEach"] = json!({ "items": ["a", "b"] });
    let mut run = begun(flow, &json!({}));
    run.outcome("ask[0]", Ok(said("A")));
    run.outcome("ask[1]", Ok(said("B")));
    assert_eq!(run.state.steps[0].output.as_ref().unwrap().0, json!(["A", "B"]));
    assert_eq!(run.state.steps[0].usage, Some(usage(20, 6, 2)));
    assert_eq!(run.state.usage, Some(usage(20, 6, 2)));
}

#[test]
fn images_are_https_addresses_or_resources_of_the_namespace_that_are_small_enough() {
    let image = |namespace: &str, size: i64| {
        json!(Resource {
            reference: ResourceRef::of_body(namespace, "r", 1, None, "get"),
            size,
            media_type: "image/png".into(),
            sha256: Digest::of(b"x"),
        })
    };
    let given = |images: Value| {
        begun(
            asking(json!({ "images": "${inputs.images}" })),
            &json!({ "text": "", "images": images }),
        )
    };
    let run = given(json!(["https://x/y.png", image("default", 5)]));
    let Message::User { images, .. } = &asked(&run).messages[0] else {
        panic!()
    };
    assert!(matches!(images.as_slice(), [Image::Url(_), Image::Resource(_)]));
    let many: Vec<Value> = (0..17).map(|i| json!(format!("https://x/{i}"))).collect();
    for (bad, reason) in [
        (json!(["http://x/y.png"]), StepReason::InvalidRequest),
        (json!(["data:image/png;base64,AA"]), StepReason::InvalidRequest),
        (json!([image("other", 5)]), StepReason::NotAResource),
        (json!([{ "a": 1 }]), StepReason::NotAResource),
        (
            json!([image("default", (8 << 20) + 1)]),
            StepReason::ResourceTooLarge,
        ),
        (json!(many), StepReason::InvalidRequest),
    ] {
        let run = given(bad.clone());
        assert_eq!(
            run.state.steps[0].error.as_ref().map(|error| error.reason),
            Some(reason),
            "{bad}"
        );
    }
}

#[test]
fn what_is_too_long_or_no_conversation_is_not_sent() {
    let long = "x".repeat(256 * 1024 + 1);
    for (more, inputs) in [
        (json!({}), json!({ "text": long })),
        (
            json!({ "messages": "${inputs.m}" }),
            json!({ "text": "", "m": [{ "role": "system", "content": "x" }] }),
        ),
        (
            json!({ "messages": "${inputs.m}" }),
            json!({ "text": "", "m": [{ "role": "user", "content": 1 }] }),
        ),
        (
            json!({ "messages": "${inputs.m}" }),
            json!({ "text": "", "m": "x" }),
        ),
        (
            json!({ "messages": "${inputs.m}" }),
            json!({ "text": "", "m": vec![json!({ "role": "user", "content": "" }); 201] }),
        ),
        (
            json!({ "options": { "x": "${inputs.o}" } }),
            json!({ "text": "", "o": "x".repeat(5000) }),
        ),
    ] {
        let run = begun(asking(more), &inputs);
        assert!(run.effects.is_empty());
        assert_eq!(
            run.state.steps[0].error.as_ref().unwrap().reason,
            StepReason::InvalidRequest
        );
    }
}

#[test]
fn a_flow_that_sets_what_is_ours_or_gives_a_token_away_is_refused() {
    let problems = |more: Value| {
        let mut flow = asking(more);
        flow["inputs"] =
            json!({ "type": "object", "properties": { "text": { "type": "string", "default": "" } } });
        let steps = flow["steps"].as_array_mut().unwrap();
        steps.push(json!({ "name": "w", "wait": { "callback": {} } }));
        let found = Plan::compile(&serde_json::from_value(flow).unwrap())
            .err()
            .unwrap_or_default();
        found.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    assert_eq!(problems(json!({})), [""; 0]);
    assert_eq!(
        problems(json!({ "options": { "model": "x" } })),
        ["steps[0].llm.options.model"]
    );
    assert_eq!(
        problems(json!({ "options": { "stream": true } })),
        ["steps[0].llm.options.stream"]
    );
    for field in [
        "models",
        "MODELS",
        "route",
        "provider",
        "plugins",
        "mcp_servers",
        "transforms",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "tools",
        "preset",
    ] {
        let refused = format!("steps[0].llm.options.{field}");
        assert_eq!(problems(json!({ "options": { field: 1 } })), [refused.as_str()]);
        // a release that was cut before
        let run = begun(asking(json!({ "options": { field: 1 } })), &json!({ "text": "" }));
        let failed = run.state.steps[0].error.as_ref().unwrap();
        assert!(
            failed.reason == StepReason::InvalidRequest && failed.message.contains(field),
            "{failed:?}"
        );
    }
    assert_eq!(
        problems(json!({ "options": { "temperature": 1, "max_tokens": null } })),
        [""; 0]
    );
    assert_eq!(
        problems(json!({ "options": { "a": [{ "x${inputs.text}": 1 }], "${inputs.text}": 1 } })),
        [
            "steps[0].llm.options.${inputs.text}",
            "steps[0].llm.options.a[0].x${inputs.text}"
        ]
    );
    assert_eq!(problems(json!({ "options": [] })), ["steps[0].llm.options"]);
    assert_eq!(
        problems(json!({ "prompt": "${callback('w').url}" })),
        ["steps[0].llm.prompt"]
    );
    assert_eq!(
        problems(json!({ "schema": { "type": "what" } })),
        ["steps[0].llm.schema"]
    );
}

#[test]
fn what_is_wrong_as_it_is_written_keeps_a_release_from_being_cut() {
    let problems = |more: Value| {
        let mut flow = asking(more);
        flow["inputs"] = json!({ "type": "object", "properties": {
            "text": { "type": "string", "default": "" }, "images": { "type": "array", "default": [] },
        } });
        let found = Plan::compile(&serde_json::from_value(flow).unwrap())
            .err()
            .unwrap_or_default();
        let found = found.into_iter().map(|problem| problem.field);
        found
            .map(|field| field.replace("steps[0].llm.", ""))
            .collect::<Vec<_>>()
    };
    for (more, field) in [
        (json!({ "messages": "hi" }), "messages"),
        (
            json!({ "messages": { "role": "user", "content": "x" } }),
            "messages",
        ),
        (json!({ "messages": ["hi"] }), "messages[0]"),
        (
            json!({ "messages": [{ "role": "system", "content": "${inputs.text}" }] }),
            "messages[0]",
        ),
        (json!({ "messages": [{ "content": "x" }] }), "messages[0]"),
        (
            json!({ "messages": [{ "role": "user", "content": 7 }] }),
            "messages[0]",
        ),
        (json!({ "messages": [{ "role": "user" }] }), "messages[0]"),
        (json!({ "images": ["http://example.com/a.png"] }), "images[0]"),
        (
            json!({ "images": ["http://example.com/${inputs.text}"] }),
            "images[0]",
        ),
        (json!({ "images": "http://example.com/a.png" }), "images"),
        (json!({ "images": [7] }), "images[0]"),
        (
            json!({ "images": vec!["https://example.com/a.png"; 17] }),
            "images",
        ),
        (json!({ "prompt": " " }), "prompt"),
        (json!({ "model": " " }), "model"),
    ] {
        let mut found = problems(more.clone());
        found.dedup();
        assert_eq!(found, [field], "{more}");
    }
    for more in [
        json!({ "messages": "${[{'role': 'user', 'content': 'x'}]}" }),
        json!({ "messages": [{ "role": "user", "content": "a ${inputs.text}" }] }),
        json!({ "images": "${inputs.images}" }),
        json!({ "images": ["https://example.com/${inputs.text}", "${inputs.text}/a.png"] }),
        json!({ "model": "${inputs.text}" }),
    ] {
        assert_eq!(problems(more.clone()), [""; 0], "{more}");
    }
}

#[test]
fn people_are_shown_the_whole_prompt_and_nothing_else_is_sent() {
    let flow = json!({ "steps": [
        { "name": "review", "approval": { "title": "Ask?", "show": [{ "name": "prompt", "step": "ask" }] } },
        { "name": "ask", "llm": { "connection": "model", "model": "m-1", "prompt": "Sum up ${inputs.text}" } },
    ] });
    let mut run = begun(flow, &json!({ "text": "this" }));
    let shown = run.opened()[0].spec.show.clone();
    let prompt = shown.iter().find(|item| item.name == "prompt").unwrap();
    assert!(
        prompt.inline.contains("Sum up this") && prompt.inline.contains("m-1"),
        "{}",
        prompt.inline
    );
    assert!(
        shown.iter().any(|item| item.name == "connections"),
        "where it goes is shown too"
    );
    run.decide("r-review", ApprovalPhase::Approved);
    assert_eq!(asked(&run).messages.len(), 1);
    assert!(asked(&run).bound.is_some());
}
