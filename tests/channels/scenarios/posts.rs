//! Messages over HTTP, verified by libraries of others.

use serde_json::json;
use signoff_api::reason::StepReason;

use crate::receiver::{stage, tell};

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_events_are_those_that_others_verify() {
    let Some((receiver, rig, operator)) = stage("webhooks").await else {
        return;
    };
    for (name, key) in [("hook", "webhook"), ("other", "other")] {
        let secret = json!({"name": "channels", "key": key});
        let spec = |url: String| json!({"webhook": {"url": format!("{url}/hook"), "secret": secret, "headers": {"X-Env": "test"}}});
        receiver.http(&rig, name, spec).await;
    }
    let message = |connection: &str| json!({"webhook": {"connection": connection, "path": "/ops", "message": {"paid": 250}}});
    tell(&rig, "hook", message("hook"), "Succeeded").await;
    let taken = receiver.taken();
    assert_eq!(
        (&taken[0]["kind"], &taken[0]["path"]),
        (&json!("webhook"), &json!("/hook/ops"))
    );
    assert_eq!(taken[0]["message"], json!({"paid": 250}));
    let told = tell(&rig, "other", message("other"), "Failed").await;
    let error = told.error.unwrap();
    assert_eq!(
        error.reason,
        StepReason::UnexpectedStatus,
        "another key signs nothing"
    );
    assert!(
        error.message.contains("WebhookVerificationError"),
        "{}",
        error.message
    );
    let event = json!({"cloudEvent": {"connection": "hook", "path": "/events", "type": "com.example.paid", "subject": "81",
        "data": {"amount": 250}}});
    tell(&rig, "event", event, "Succeeded").await;
    let event = receiver.taken().pop().unwrap();
    assert_eq!(
        (&event["kind"], &event["data"]),
        (&json!("event"), &json!({"amount": 250}))
    );
    let attributes = &event["attributes"];
    assert_eq!(attributes["type"], "com.example.paid");
    assert!(
        attributes["id"].as_str().unwrap().ends_with("/tell/1"),
        "{attributes}"
    );
    assert!(
        attributes["source"].as_str().unwrap().ends_with("/flows/event"),
        "{attributes}"
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_called_with_the_token_of_its_connection() {
    let Some((receiver, rig, operator)) = stage("slack").await else {
        return;
    };
    for (name, key) in [("slack", "token"), ("wrong", "other")] {
        let token = json!({"name": "channels", "key": key});
        let spec = |url: String| json!({"slack": {"token": token, "baseURL": format!("{url}/slack")}});
        receiver.http(&rig, name, spec).await;
    }
    let message = |connection: &str| json!({"slack": {"connection": connection, "channel": "ops", "text": "*Refund* ${'<!channel> & co'}"}});
    let told = tell(&rig, "slack", message("slack"), "Succeeded").await;
    assert_eq!(
        told.output.unwrap().0,
        json!({"channel": "C1", "ts": "1700000000.000100"})
    );
    let taken = receiver.taken().pop().unwrap();
    assert_eq!(taken["message"]["text"], "*Refund* &lt;!channel&gt; &amp; co");
    let told = tell(&rig, "wrong", message("wrong"), "Failed").await;
    let error = told.error.unwrap();
    assert_eq!(error.reason, StepReason::CredentialsRefused);
    assert!(error.message.contains("invalid_auth"), "{}", error.message);
    // a step of another kind does not get the token
    let told = tell(
        &rig,
        "misused",
        json!({"webhook": {"connection": "slack", "message": "x"}}),
        "Failed",
    )
    .await;
    assert_eq!(told.error.unwrap().reason, StepReason::ConnectionNotFound);
    operator.stop().await;
}
