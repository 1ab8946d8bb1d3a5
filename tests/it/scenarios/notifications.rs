//! Messages of `notify` steps: their failures, rate limits and secrets, and what becomes of them when the operator dies.
//! Messages of `notifications`, which are told of by Events when they fail, and are sent by the next operator.

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

/// A flow that asks and then ends, with these notifications.
fn asks(notifications: &Value) -> Value {
    json!({
        "inputs": {"type": "object", "properties": {"order": {"type": "string", "default": "81"}}},
        "steps": [{"name": "review", "approval": {"title": "Refund ${inputs.order}?"}}],
        "notifications": notifications,
    })
}

fn through_slack(on: &Value) -> Value {
    json!({"events": on, "slack": {"connection": "chat", "channel": "ops"}})
}

fn all_events() -> Value {
    json!(["ApprovalOpened", "ApprovalClosed", "RunStarted", "RunEnded"])
}

/// A `webhook` Connection `hook` to the shop.
async fn with_hook(rig: &Rig, shop: &Shop) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "stringData": {"secret": "a-secret-of-sixteen"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let secrets = rig.api::<Secret>();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "hook"},
        "spec": {"webhook": {"url": shop.url("/hook"), "secret": {"name": "hook", "key": "secret"}}}});
    let connection: Connection = serde_json::from_value(connection).unwrap();
    let connections = rig.api::<Connection>();
    connections
        .create(&PostParams::default(), &connection)
        .await
        .unwrap();
}

/// The texts that Slack got.
fn texts(shop: &Shop) -> String {
    let asked = shop.asked(POST).into_iter();
    let texts = asked.map(|asked| asked.body["text"].as_str().unwrap_or_default().to_owned());
    texts.collect::<Vec<_>>().join("\n")
}

/// Waits until a run lists no message any more.
async fn settled(rig: &Rig, run: &str) -> Run {
    rig.until::<Run>(run, |run| {
        let status = run.status.as_ref();
        status.is_some_and(|status| status.has_notifications.is_none() && status.notifications.is_empty())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_its_answer_and_the_end_of_a_run_are_told_once_and_each_to_programs() {
    let (rig, shop) = with_slack().await;
    with_hook(&rig, &shop).await;
    let operator = rig.operator().await;
    let hook = json!({"events": all_events(), "webhook": {"connection": "hook"}});
    let notifications = json!([through_slack(&json!(["ApprovalOpened"])), hook]);
    rig.flow("f", asks(&notifications)).await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the question was told", || texts(&shop).contains("Refund 81?")).await;
    let question = rig.question("r-review").await;
    assert!(
        texts(&shop).contains(&format!("signoff show {question}")),
        "{}",
        texts(&shop)
    );
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    let events = || {
        let asked = shop.asked("/hook").into_iter();
        let mut events: Vec<Value> = asked.map(|asked| asked.body["event"].clone()).collect();
        events.sort_by_key(|event| event["type"].as_str().unwrap_or_default().to_owned());
        events
    };
    eventually("the program got all events", || events().len() >= 4).await;
    let run = settled(&rig, "r").await;
    assert_eq!(run.status.unwrap().phase.to_string(), "Succeeded");
    let events = events();
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(
        types,
        ["ApprovalClosed", "ApprovalOpened", "RunEnded", "RunStarted"]
    );
    let closed = &events[0]["approval"];
    assert_eq!(
        (&closed["title"], &closed["outcome"], &closed["by"]),
        (&json!("Refund 81?"), &json!("Approved"), &json!(["alice"]))
    );
    assert_eq!(shop.asked(POST).len(), 1, "{}", texts(&shop));
    operator
        .stop_and(|metrics| {
            let text = metrics.render().unwrap();
            let sent = r#"signoff_notifications_total{channel="webhook",result="Sent"} 4"#;
            assert!(text.contains(sent), "{text}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_of_one_moment_become_few_messages() {
    let (rig, shop) = with_slack().await;
    let operator = rig.operator().await;
    let spec = json!({
        "steps": [{
            "name": "review", "forEach": {"items": "${lists.range(40).map(i, string(i))}", "maxParallel": 40},
            "approval": {"title": "Item ${item}?"},
        }],
        "notifications": [through_slack(&json!(["ApprovalOpened"]))],
    });
    rig.flow("f", spec).await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the questions were told", || {
        texts(&shop).contains("notifications")
    })
    .await;
    assert!(shop.asked(POST).len() <= 2, "{}", texts(&shop));
    assert!(texts(&shop).contains("Item "), "{}", texts(&shop));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_asked_again_and_told_of_and_holds_up_no_run() {
    let (rig, shop) = with_slack().await;
    let operator = rig.operator().await;
    shop.will_answer([Answer::Status(503, Value::Null), posted()]);
    rig.flow("f", asks(&json!([through_slack(&json!(["ApprovalOpened"]))])))
        .await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("it was sent again", || shop.asked(POST).len() == 2).await;
    settled(&rig, "r").await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;

    shop.will_answer([refused("channel_not_found")]);
    rig.flow("g", asks(&json!([through_slack(&json!(["RunStarted"]))])))
        .await;
    rig.start("s", json!({"flow": "g"})).await;
    let event = rig.event("s", "NotificationFailed").await;
    let note = event.note.unwrap_or_default();
    assert!(
        note.contains("channel_not_found") && note.contains("chat"),
        "{note}"
    );
    settled(&rig, "s").await;

    let held = shop.hold(POST);
    rig.flow("h", asks(&json!([through_slack(&json!(["RunStarted"]))])))
        .await;
    rig.start("t", json!({"flow": "h"})).await;
    rig.decide("alice", "t-review", "Approve").await;
    rig.phase("t", "Succeeded").await;
    held.cancel();
    settled(&rig, "t").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_when_the_operator_died_is_sent_by_the_next_and_nothing_else_again() {
    let (rig, shop) = with_slack().await;
    with_hook(&rig, &shop).await;
    let operator = rig.operator().await;
    let hook = json!({"events": ["ApprovalOpened", "RunEnded"], "webhook": {"connection": "hook"}});
    rig.flow(
        "f",
        asks(&json!([through_slack(&json!(["ApprovalOpened"])), hook])),
    )
    .await;
    let held = shop.hold("/hook");
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the program was called", || !shop.asked("/hook").is_empty()).await;
    let pending = |run: &Run| run.status.as_ref().map_or(0, |status| status.notifications.len());
    eventually("people were told", || !shop.asked(POST).is_empty()).await;
    rig.until::<Run>("r", |run| pending(run) == 1).await;
    operator.kill().await;
    held.cancel();
    let operator = rig.operator().await;
    settled(&rig, "r").await;
    let asked = shop.asked("/hook");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].body, asked[1].body);
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    eventually("the end was told", || shop.asked("/hook").len() == 3).await;
    settled(&rig, "r").await;
    assert_eq!(shop.asked(POST).len(), 1, "{}", texts(&shop));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_for_a_draft_and_a_run_that_cannot_begin_is_told() {
    let (rig, shop) = with_slack().await;
    let operator = rig.operator().await;
    let mut spec = asks(&json!([through_slack(&all_events())]));
    spec["inputs"] =
        json!({"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}});
    rig.flow("f", spec).await;
    rig.start(
        "draft",
        json!({"flow": "f", "channel": "Draft", "inputs": {"order": "1"}}),
    )
    .await;
    rig.decide("alice", "draft-review", "Approve").await;
    let run = rig.phase("draft", "Succeeded").await;
    assert!(run.status.unwrap().notifications.is_empty());
    rig.start("bad", json!({"flow": "f"})).await;
    rig.phase("bad", "Failed").await;
    eventually("the end was told", || texts(&shop).contains("Run bad failed")).await;
    settled(&rig, "bad").await;
    assert!(!texts(&shop).contains("draft"), "{}", texts(&shop));
    operator.stop().await;
}
