//! What steps get of a real model.

use serde_json::{Value, json};
use signoff_api::{
    Run,
    reason::StepReason,
    run::{StepStatus, Usage},
};

use crate::{
    server::{KEY, Model},
    support::rig::Rig,
};

/// Plays a flow of one step to its end.
async fn play(rig: &Rig, name: &str, llm: Value, phase: &str) -> Run {
    let steps = json!([{"name": "ask", "llm": llm}]);
    rig.flow(name, json!({ "steps": steps })).await;
    rig.start(name, json!({ "flow": name })).await;
    rig.phase(name, phase).await
}

fn step(run: &Run) -> &StepStatus {
    &run.status.as_ref().unwrap().steps[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_answers_in_text_and_in_values_that_fit_and_its_tokens_are_counted() {
    let Some(model) = Model::start("a real model") else {
        return;
    };
    let rig = Rig::open().await;
    model.connect(&rig, "model", "OpenAI", KEY).await;
    let operator = rig.operator().await;
    let asked = json!({"connection": "model", "model": "smollm2", "system": "You are brief.",
        "prompt": "Say hello.", "maxTokens": 200, "options": {"temperature": 0, "seed": 1}});
    let run = play(&rig, "text", asked, "Succeeded").await;
    assert!(!step(&run).output.as_ref().unwrap().0.as_str().unwrap().is_empty());
    let Usage {
        input_tokens,
        output_tokens,
        calls,
    } = step(&run).usage.unwrap();
    assert!(input_tokens > 5 && (1..=200).contains(&output_tokens) && calls == 1);
    assert_eq!(run.status.as_ref().unwrap().usage, step(&run).usage);

    let schema = json!({"type": "object", "required": ["city", "big"], "additionalProperties": false, "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]}, "big": {"type": "boolean"}}});
    let asked = json!({"connection": "model", "model": "smollm2", "prompt": "What is the capital of France, and is it big?",
        "schema": schema, "maxTokens": 100, "options": {"temperature": 0}});
    let run = play(&rig, "value", asked, "Succeeded").await;
    let output = &step(&run).output.as_ref().unwrap().0;
    assert!(output["big"].is_boolean() && ["Paris", "Rome"].contains(&output["city"].as_str().unwrap()));

    let asked =
        json!({"connection": "model", "model": "smollm2", "prompt": "Count from 1 to 1000.", "maxTokens": 5});
    let run = play(&rig, "cut", asked, "Failed").await;
    assert_eq!(
        step(&run).error.as_ref().unwrap().reason,
        StepReason::AnswerCutOff
    );
    assert_eq!(step(&run).usage.unwrap().output_tokens, 5);
    operator
        .stop_and(|metrics| {
            let text = metrics.render().unwrap();
            assert!(
                text.contains("signoff_model_calls_total{result=\"Answered\"}"),
                "{text}"
            );
            assert!(
                text.contains("signoff_model_tokens_total{direction=\"Output\"}"),
                "{text}"
            );
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_model_answers_in_the_words_of_the_other_provider_and_refuses_a_wrong_key() {
    let Some(model) = Model::start("messages") else {
        return;
    };
    let rig = Rig::open().await;
    model.connect(&rig, "model", "Anthropic", KEY).await;
    model.connect(&rig, "wrong", "OpenAI", "another").await;
    let operator = rig.operator().await;
    let asked = json!({"connection": "model", "model": "smollm2", "system": "You are brief.",
        "messages": [{"role": "user", "content": "I am Ann."}, {"role": "assistant", "content": "Hello Ann."}],
        "prompt": "Who am I?", "maxTokens": 200, "options": {"temperature": 0}});
    let run = play(&rig, "messages", asked, "Succeeded").await;
    assert!(!step(&run).output.as_ref().unwrap().0.as_str().unwrap().is_empty());
    assert!(step(&run).usage.unwrap().input_tokens > 10);

    let asked = json!({"connection": "wrong", "model": "smollm2", "prompt": "A secret plan."});
    let run = play(&rig, "wrong", asked, "Failed").await;
    let error = step(&run).error.as_ref().unwrap();
    assert_eq!(error.reason, StepReason::UnexpectedStatus);
    assert!(
        error.message.starts_with("the model answered with status 401"),
        "{}",
        error.message
    );
    assert!(step(&run).usage.is_none());
    operator.stop().await;
}
