//! Messages of `notify` steps: their failures, rate limits and secrets, and what becomes of them when the operator dies.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use signoff_api::{Connection, Run, reason::StepReason, run::StepPhase};

use crate::support::{
    rig::{Rig, eventually},
    shop::{Answer, Shop},
};

const POST: &str = "/chat.postMessage";

/// A rig with a Connection `chat` to a Slack that is played by a shop, and a Secret with its token.
async fn with_slack() -> (Rig, Shop) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat"}, "stringData": {"token": "xoxb-first-token"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let secrets = rig.api::<Secret>();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "chat"},
        "spec": {"slack": {"token": {"name": "chat", "key": "token"}, "baseURL": shop.url("")}}});
    let connection: Connection = serde_json::from_value(connection).unwrap();
    let connections = rig.api::<Connection>();
    connections
        .create(&PostParams::default(), &connection)
        .await
        .unwrap();
    (rig, shop)
}

fn tell(more: &Value) -> Value {
    let mut step = json!({"name": "tell", "notify": {"slack": {"connection": "chat", "channel": "ops", "text": "for ${run.name}"}}});
    for (field, value) in more.as_object().unwrap() {
        step[field] = value.clone();
    }
    json!({ "steps": [step] })
}

fn posted() -> Answer {
    Answer::Status(200, json!({"ok": true, "channel": "C1", "ts": "1.1"}))
}

fn refused(error: &str) -> Answer {
    Answer::Status(200, json!({"ok": false, "error": error}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_slack_refuses_for_the_moment_is_sent_again_and_a_refusal_for_good_may_be_passed_over()
{
    let (rig, shop) = with_slack().await;
    let operator = rig.operator().await;
    rig.flow(
        "f",
        tell(&json!({"retry": {"attempts": 3, "backoff": {"initial": "10ms"}}})),
    )
    .await;
    shop.will_answer([refused("ratelimited"), Answer::Status(503, Value::Null), posted()]);
    rig.start("r", json!({"flow": "f"})).await;
    let run = rig.phase("r", "Succeeded").await;
    let step = &run.status.as_ref().unwrap().steps[0];
    assert_eq!((step.attempt, shop.asked(POST).len()), (3, 3));
    assert_eq!(
        step.output.as_ref().unwrap().0,
        json!({"channel": "C1", "ts": "1.1"})
    );
    assert_eq!(shop.asked(POST)[2].body["text"], "for r");

    shop.will_answer([refused("channel_not_found")]);
    rig.flow("g", tell(&json!({"onFailure": {"outcome": "Continue"}})))
        .await;
    rig.start("s", json!({"flow": "g"})).await;
    let run = rig.phase("s", "Succeeded").await;
    let error = run.status.as_ref().unwrap().steps[0].error.clone().unwrap();
    assert_eq!(error.reason, StepReason::MessageRefused, "{}", error.message);
    assert!(error.message.contains("channel_not_found"), "{}", error.message);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_under_way_when_the_operator_died_is_sent_again_by_the_next_with_a_new_token() {
    let (rig, shop) = with_slack().await;
    let operator = rig.operator().await;
    rig.flow("f", tell(&json!({"timeout": "5m"}))).await;
    shop.will_answer([Answer::Hang, posted()]);
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the message was sent", || shop.asked(POST).len() == 1).await;
    rig.until::<Run>("r", |run| {
        let steps = run.status.iter().flat_map(|status| &status.steps);
        steps.into_iter().any(|step| step.phase == StepPhase::Running)
    })
    .await;
    operator.kill().await;
    let patch = Patch::Merge(json!({"stringData": {"token": "xoxb-second-token"}}));
    let secrets = rig.api::<Secret>();
    secrets
        .patch("chat", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let operator = rig.operator().await;
    rig.phase("r", "Succeeded").await;
    let asked = shop.asked(POST);
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].idempotency_key, asked[1].idempotency_key);
    operator.stop().await;
}
