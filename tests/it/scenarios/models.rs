//! Steps that ask a language model, against one that answers as it is told.

use kube::api::PostParams;
use serde_json::{Value, json};
use signoff_api::{Connection, reason::StepReason};

use crate::support::{
    rig::Rig,
    shop::{Answer, Shop},
};

/// A Connection `model` to the service.
pub(super) async fn connect(rig: &Rig, shop: &Shop) {
    let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "model"},
        "spec": {"llm": {"provider": "OpenAI", "baseURL": shop.url("/v1"), "models": ["small-1"]}}});
    let connection: Connection = serde_json::from_value(connection).unwrap();
    rig.api::<Connection>()
        .create(&PostParams::default(), &connection)
        .await
        .unwrap();
}

/// An answer of the model that asks for these tools, or for none.
pub(super) fn says(text: &str, calls: &[(&str, Value)]) -> Answer {
    let calls: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(n, (name, arguments))| {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            json!({"id": format!("c{n}"), "type": "function", "function": function})
        })
        .collect();
    let message = if calls.is_empty() {
        json!({"role": "assistant", "content": text})
    } else {
        json!({"role": "assistant", "content": text, "tool_calls": calls})
    };
    let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
    Answer::Status(
        200,
        json!({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_model_is_asked_again_and_an_answer_that_does_not_fit_too_and_all_of_it_is_counted() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    connect(&rig, &shop).await;
    let operator = rig.operator().await;
    let overloaded = json!({"error": {"type": "overloaded_error", "message": "busy with: the secret plan"}});
    shop.will_answer([
        Answer::Status(529, overloaded),
        says("four", &[]),
        says("{\"n\": 4}", &[]),
    ]);
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    let steps = json!([{"name": "ask", "retry": {"attempts": 3, "backoff": {"initial": "1s"}},
        "llm": {"connection": "model", "model": "small-1", "prompt": "the secret plan", "schema": schema}}]);
    let output = json!({"n": "${steps.ask.output.n}", "calls": "${steps.ask.usage.calls}"});
    rig.flow("f", json!({"steps": steps, "output": output})).await;
    rig.start("r", json!({"flow": "f"})).await;
    let run = rig.phase("r", "Succeeded").await;
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"n": 4, "calls": 2}));
    assert_eq!(status.usage.unwrap().tokens(), 220);
    assert_eq!(status.billable_steps, 1);
    let asked = shop.asked("/v1/chat/completions");
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].idempotency_key, asked[1].idempotency_key);
    assert_ne!(asked[1].idempotency_key, asked[2].idempotency_key);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_nothing_of_the_prompt_and_a_model_that_is_not_listed_is_not_asked() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    connect(&rig, &shop).await;
    let operator = rig.operator().await;
    let refused = json!({"error": {"code": "invalid_request", "message": "cannot read: the secret plan"}});
    shop.will_answer([Answer::Status(400, refused)]);
    let ask = |model: &str| json!([{"name": "ask", "llm": {"connection": "model", "model": model, "prompt": "the secret plan"}}]);
    rig.flow("f", json!({"steps": ask("small-1")})).await;
    rig.start("r", json!({"flow": "f"})).await;
    let status = rig.phase("r", "Failed").await.status.unwrap();
    let error = status.error.clone().unwrap();
    assert_eq!(
        error.message,
        "step ask: the model answered with status 400 (invalid_request)"
    );
    assert!(!serde_json::to_string(&status).unwrap().contains("secret plan"));
    rig.flow("g", json!({"steps": ask("large-1")})).await;
    rig.start("s", json!({"flow": "g"})).await;
    let status = rig.phase("s", "Failed").await.status.unwrap();
    assert_eq!(status.error.unwrap().reason, StepReason::ModelNotAllowed);
    assert_eq!(shop.asked("/v1/chat/completions").len(), 1);
    operator.stop().await;
}
