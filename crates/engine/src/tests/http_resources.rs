//! Steps of kind http that keep and send resources.

use super::{
    http::{error, problems, scenario},
    *,
};
use crate::effect::HttpBody;

fn resource(namespace: &str, size: i64) -> Value {
    json!({
        "ref": format!("res://{namespace}/r/fetch/body"), "size": size, "mediaType": "application/pdf",
        "sha256": signoff_api::Digest::of(b"abc"),
    })
}

#[test]
fn a_step_asks_for_a_body_to_be_kept_and_sends_a_resource() {
    let save = json!({ "url": "http://x/", "save": true, "expect": { "status": [200, 206] } });
    let run = scenario(&save, &json!({}));
    let kept = request(run.http()[0]).save.clone().unwrap();
    assert!(kept.keeps(206) && !kept.keeps(201) && !kept.keeps(404));
    let from = json!({ "url": "http://x/", "from": "${inputs.a}" });
    let namespace = run.facts.run.namespace.clone();
    let value = resource(&namespace, 3);
    let run = scenario(&from, &json!({ "a": value }));
    let asked = request(run.http()[0]);
    assert_eq!(asked.method.to_string(), "POST");
    let Some(HttpBody::Resource(sent)) = &asked.body else {
        panic!("{asked:?}")
    };
    assert_eq!(json!(sent), value);
    assert!(asked.save.is_none());
}

#[test]
fn what_is_no_resource_of_the_namespace_is_not_sent() {
    let from = json!({ "url": "http://x/", "from": "${inputs.a}" });
    let namespace = scenario(&json!({ "url": "http://x/" }), &json!({}))
        .facts
        .run
        .namespace;
    let mut forged = resource(&namespace, 3);
    forged["ref"] = json!("res://x/../y/z");
    for (value, expected) in [
        (json!("text"), StepReason::NotAResource),
        (json!({ "ref": "res://a/b/c/d" }), StepReason::NotAResource),
        (forged, StepReason::NotAResource),
        (resource("elsewhere", 3), StepReason::NotAResource),
        (resource(&namespace, -1), StepReason::ResourceTooLarge),
        (resource(&namespace, (64 << 20) + 1), StepReason::ResourceTooLarge),
    ] {
        let run = scenario(&from, &json!({ "a": value }));
        assert!(run.http().is_empty(), "{value}");
        assert_eq!(error(&run).0, expected, "{value}");
    }
}

/// What is wrong with a step that uses the output of one with `save`.
fn problems_after_saving(set: &Value) -> Vec<String> {
    let flow = json!({ "steps": [
        { "name": "fetch", "http": { "url": "http://x/", "save": true } },
        { "name": "then", "http": { "url": "http://x/", "body": set } },
    ] });
    let definition: Definition = serde_json::from_value(flow).unwrap();
    let problems = Plan::compile(&definition).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn the_output_of_a_step_that_keeps_its_body_is_a_resource() {
    let output = "${steps.fetch.output";
    for field in ["", ".ref + 'x'", ".size + 1", ".mediaType", ".sha256"] {
        let told = problems_after_saving(&json!({ "x": format!("{output}{field}}}") }));
        assert!(told.is_empty(), "{field}: {told:?}");
    }
    for field in [".total", ".size + 'x'"] {
        let told = problems_after_saving(&json!({ "x": format!("{output}{field}}}") }));
        assert!(!told.is_empty(), "{field}");
    }
    for (http, expected) in [
        (
            json!({ "from": "${1 + 1}" }),
            "it is a resource, such as the output of a step with save, not int",
        ),
        (
            json!({ "from": "x${inputs.a}" }),
            "a resource is one ${…} expression",
        ),
        (
            json!({ "save": true, "schema": {} }),
            "with save, the body is a resource, which has no schema",
        ),
        (
            json!({ "from": "${inputs.a}", "text": "x" }),
            "a request has one of body, form, text and from",
        ),
    ] {
        let mut http = http;
        http["url"] = "http://x/".into();
        let told = problems(&http);
        assert!(
            told.iter().any(|told| told.contains(expected)),
            "{expected:?} not in {told:#?}"
        );
    }
}

#[test]
fn a_step_reads_the_text_of_a_resource_that_just_came() {
    let flow = json!({
        "steps": [
            { "name": "fetch", "http": { "url": "http://x/", "save": true } },
            { "name": "then", "set": { "x": "${read(steps.fetch.output) + '!'}" } },
        ],
        "output": { "x": "${steps.then.output.x}" },
    });
    let mut run = Scenario::of(flow, &json!({}));
    run.tick();
    let value = resource("default", 3);
    let response = crate::facts::HttpResponse {
        status: 200,
        headers: [].into(),
        body: value.clone(),
    };
    let outcome = crate::facts::EffectOutcome {
        key: run.http()[0].key.clone(),
        at: run.now,
        result: Ok(crate::facts::Response::Http(response)),
    };
    let known = (Some(&run.state), None);
    let wanted = crate::contents::wanted(&run.plan, known, &[outcome], &std::collections::BTreeMap::new());
    assert_eq!(json!(wanted), json!([value]));
    let content = (signoff_api::Digest::of(b"abc"), Ok("abc".to_owned()));
    run.facts.contents.extend([content]);
    let response = crate::facts::HttpResponse {
        status: 200,
        headers: [].into(),
        body: value,
    };
    run.outcome("fetch", Ok(crate::facts::Response::Http(response)));
    assert_eq!(run.state.output.clone().unwrap().0, json!({ "x": "abc!" }));
}
