//! `store` steps: what is read and written, and what is wrong with a definition.

use super::*;
use crate::{
    effect::{StorePut, StoreRequest},
    facts::StoreResponse,
};
use signoff_api::bounds::MAX_VALUE;

fn begun(store: &Value, inputs: &Value) -> Scenario {
    let step = json!({ "name": "memory", "retry": { "attempts": 2 }, "store": store });
    let mut run = Scenario::of(json!({ "steps": [step] }), inputs);
    run.tick();
    run
}

fn asked(run: &Scenario) -> &StoreRequest {
    match &run.http()[0].request {
        Request::Store(request) => request,
        other => panic!("{other:?}"),
    }
}

fn found(value: Option<Value>, version: u64) -> Response {
    Response::Store(StoreResponse::Found {
        value,
        version,
        updated_at: "2026-12-01T10:00:00Z".parse().unwrap(),
        run: Some("before".into()),
    })
}

fn output(run: &Scenario) -> &Value {
    &run.state.steps[0].output.as_ref().unwrap().0
}

#[test]
fn a_value_is_read_with_its_version_and_nothing_is_an_output_without_a_value() {
    let mut run = begun(&json!({ "get": "notes" }), &json!({}));
    assert_eq!((asked(&run).name.as_str(), &asked(&run).put), ("notes", &None));
    run.outcome("memory", Ok(found(Some(json!({ "tone": "kind" })), 7)));
    let wanted = json!({ "value": { "tone": "kind" }, "version": "7", "updatedAt": "2026-12-01T10:00:00Z", "run": "before" });
    assert_eq!(*output(&run), wanted);
    let mut run = begun(&json!({ "get": "notes" }), &json!({}));
    run.outcome("memory", Ok(Response::Store(StoreResponse::Nothing)));
    assert_eq!(*output(&run), json!({}));
    assert_eq!(run.state.phase, RunPhase::Succeeded);
    assert_eq!(run.state.billable_steps, 0);
}

#[test]
fn a_write_is_asked_for_again_after_a_crash_under_the_same_key_and_a_conflict_is_tried_again() {
    let put =
        json!({ "put": "notes", "value": { "said": "${inputs.word}" }, "ifVersion": "${inputs.version}" });
    let mut run = begun(&put, &json!({ "word": "hi", "version": "3" }));
    let wanted = StorePut {
        value: json!({ "said": "hi" }),
        if_version: Some(3),
    };
    assert_eq!(asked(&run).put.as_ref(), Some(&wanted));
    let key = run.http()[0].idempotency_key.clone();
    assert!(!run.http()[0].fenced);
    run.restart();
    assert_eq!(asked(&run).put.as_ref(), Some(&wanted));
    assert_eq!(run.http()[0].idempotency_key, key);
    let conflict = EffectError {
        reason: StepReason::VersionConflict,
        message: "it has version 4".into(),
        retryable: true,
        may_have_happened: false,
        retry_after: None,
        status: None,
    };
    run.outcome("memory", Err(conflict));
    assert_eq!(run.state.steps[0].phase, StepPhase::Retrying);
    run.pass(1);
    run.outcome("memory", Ok(found(None, 4)));
    let wanted = json!({ "version": "4", "updatedAt": "2026-12-01T10:00:00Z", "run": "before" });
    assert_eq!(*output(&run), wanted);
}

#[test]
fn what_comes_from_data_is_refused_before_anything_is_written() {
    let put = json!({ "put": "notes", "value": "${inputs.word}", "ifVersion": "${inputs.version}" });
    for (word, version, reason) in [
        ("hi", "-1", StepReason::InvalidRequest),
        ("hi", "v3", StepReason::InvalidRequest),
        ("hi", "", StepReason::InvalidRequest),
        (&"x".repeat(MAX_VALUE), "3", StepReason::StoreFull),
    ] {
        let run = begun(&put, &json!({ "word": word, "version": version }));
        assert!(run.http().is_empty(), "{version}");
        let error = run.state.steps[0].error.as_ref().unwrap();
        assert_eq!(error.reason, reason, "{version}: {}", error.message);
    }
}

#[test]
fn what_is_wrong_is_found_before_a_release_is_cut() {
    let problems = |store: Value| -> Vec<String> {
        let definition = json!({ "steps": [{ "name": "memory", "store": store }] });
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let problems = Plan::compile(&definition).err().unwrap_or_default();
        let told = problems.into_iter();
        told.map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect()
    };
    for (store, wanted) in [
        (json!({}), "steps[0].store: a store step has either get or put"),
        (
            json!({ "get": "a", "put": "b", "value": 1 }),
            "steps[0].store: a store step has either get or put",
        ),
        (
            json!({ "get": "a", "value": 1 }),
            "steps[0].store.value: value needs put",
        ),
        (json!({ "put": "a" }), "steps[0].store.value: put needs a value"),
        (
            json!({ "put": "a", "value": 1, "ifVersion": "x" }),
            "steps[0].store.ifVersion: a version is a whole number",
        ),
    ] {
        let problems = problems(store.clone());
        assert!(
            problems.iter().any(|problem| problem.contains(wanted)),
            "{store}: {problems:?}"
        );
    }
    assert_eq!(
        problems(json!({ "put": "a", "value": { "x": "${run.name}" }, "ifVersion": "0" })),
        [""; 0]
    );
}
