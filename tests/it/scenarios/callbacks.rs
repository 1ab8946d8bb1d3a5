//! Callbacks through the gateway: once, early, late, again, different, malformed.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use signoff_api::{Approval, Run};

use crate::support::{
    faults::refused,
    rig::{Rig, Running, eventually},
    shop::Shop,
};

/// A run `r` that hands out its callback address, asks at `review`, then waits at `settled` with these words.
async fn waiting(callback: Value) -> (Rig, Shop, Running, String) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let steps = json!([
        {"name": "tell", "http": {"method": "POST", "url": shop.url("/tell"), "body": {"url": "${callback('settled').url}"}}},
        {"name": "review", "approval": {"title": "go?"}},
        {"name": "settled", "wait": {"callback": callback}},
        {"name": "review2", "approval": {"title": "and now?"}},
    ]);
    rig.flow(
        "f",
        json!({"steps": steps, "output": {"got": "${steps.settled.output}"}}),
    )
    .await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    let url = shop.asked("/tell")[0].body["url"].as_str().unwrap().to_owned();
    (rig, shop, operator, url)
}

async fn post(url: &str, body: impl Into<reqwest::Body>) -> Response {
    Client::new()
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap()
}

async fn to_the_wait(rig: &Rig) {
    rig.decide("alice", "r-review", "Approve").await;
    rig.until::<Run>("r", |run| {
        run.status
            .as_ref()
            .is_some_and(|status| status.steps.iter().any(|step| step.name == "settled"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_callback_is_kept_and_the_same_again_gets_the_same_answer() {
    let (rig, _shop, operator, url) = waiting(json!({})).await;
    let first = post(&url, r#"{"ok":1}"#).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let first: Value = first.json().await.unwrap();
    assert!(first["sha256"].as_str().unwrap().starts_with("sha256:"));
    let again = post(&url, r#"{"ok":1}"#).await;
    assert_eq!(
        (again.status(), again.json::<Value>().await.unwrap()),
        (StatusCode::OK, first.clone())
    );
    let other = post(&url, r#"{"ok":2}"#).await;
    assert_eq!(other.status(), StatusCode::CONFLICT);
    assert_eq!(other.headers()["content-type"], "application/problem+json");
    assert_eq!(
        other.json::<Value>().await.unwrap()["receivedAt"],
        first["receivedAt"]
    );
    rig.decide("alice", "r-review", "Approve").await;
    rig.until::<Approval>("r-review2", |_| true).await;
    // the wait is over, but the sender that lost the answer still gets it
    assert_eq!(post(&url, r#"{"ok":1}"#).await.status(), StatusCode::OK);
    rig.decide("alice", "r-review2", "Approve").await;
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(run.status.unwrap().output.unwrap().0, json!({"got": {"ok": 1}}));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_before_the_answer_to_the_first_call_is_taken() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    // the first write takes far longer than the first call
    let (client, _) = refused(
        rig.operator_client(),
        "nothing of this",
        Duration::from_millis(300),
    );
    let operator = rig.operator_with(client).await.unwrap();
    let tell =
        json!({"method": "POST", "url": shop.url("/tell"), "body": {"url": "${callback('settled').url}"}});
    let steps = json!([{"name": "tell", "http": tell}, {"name": "settled", "wait": {"callback": {}}}]);
    rig.flow("f", json!({"steps": steps})).await;
    let answered = shop.hold("/tell");
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the call is made", || !shop.asked("/tell").is_empty()).await;
    let url = shop.asked("/tell")[0].body["url"].as_str().unwrap().to_owned();
    // a sender that tries once
    assert_eq!(post(&url, r#"{"ok":1}"#).await.status(), StatusCode::ACCEPTED);
    answered.cancel();
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_taken_until_the_callback_comes_and_written_seldom() {
    let (rig, _shop, operator, url) = waiting(json!({"heartbeat": "1h"})).await;
    let beat = async || {
        let answer = Client::new()
            .post(format!("{url}/heartbeat/"))
            .send()
            .await
            .unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    // the wait has not begun
    let (status, said) = beat().await;
    assert_eq!((status, &said["expiresAt"]), (StatusCode::ACCEPTED, &Value::Null));
    to_the_wait(&rig).await;
    let version = || async { rig.api::<Run>().get("r").await.unwrap().metadata.resource_version };
    rig.phase("r", "Waiting").await;
    let before = version().await;
    let (status, said) = beat().await;
    assert_eq!(
        (status, said["expiresAt"].is_string()),
        (StatusCode::ACCEPTED, true)
    );
    assert_eq!(version().await, before);
    // half an hour passes
    let run = rig.api::<Run>().get("r").await.unwrap();
    let entries = &run.status.as_ref().unwrap().steps;
    let at = entries.iter().position(|step| step.name == "settled").unwrap();
    let began = entries[at].started_at.as_ref().unwrap().0 - k8s_openapi::jiff::SignedDuration::from_mins(31);
    let began = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(began);
    let patch = json!([{"op": "replace", "path": format!("/status/steps/{at}/startedAt"), "value": began}]);
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    let runs: kube::Api<Run> = kube::Api::namespaced(rig.operator_client(), rig.namespace());
    let params = kube::api::PatchParams::default();
    let patch = kube::api::Patch::<()>::Json(patch);
    runs.patch_status("r", &params, &patch).await.unwrap();
    assert_eq!(beat().await.0, StatusCode::ACCEPTED);
    let run = rig.api::<Run>().get("r").await.unwrap();
    assert!(run.status.unwrap().heartbeats.contains_key("settled.1"));
    assert_eq!(post(&url, "{}").await.status(), StatusCode::ACCEPTED);
    assert_eq!(beat().await.0, StatusCode::GONE);
    rig.until::<Approval>("r-review2", |_| true).await;
    let run = rig.api::<Run>().get("r").await.unwrap();
    assert!(run.status.unwrap().heartbeats.is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_callback_is_refused_and_changes_nothing() {
    let (rig, _shop, operator, url) = waiting(json!({})).await;
    // the question is there before the run says that it waits for it
    rig.phase("r", "Waiting").await;
    let version = || async { rig.api::<Run>().get("r").await.unwrap().metadata.resource_version };
    let before = version().await;
    let client = Client::new();
    assert_eq!(
        client.get(&url).send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(post(&url, "{").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(post(&url, "").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        post(&url, format!("\"{}\"", "x".repeat(16 * 1024)))
            .await
            .status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    // the answer is not lost to a reset of the connection, however much was still on its way
    let chunks = futures::stream::iter((0..512).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
    assert_eq!(
        post(&url, reqwest::Body::wrap_stream(chunks)).await.status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let xml = client
        .post(&url)
        .header("content-type", "text/xml")
        .body("<a/>")
        .send()
        .await
        .unwrap();
    assert_eq!(xml.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let forged = format!("{}x", &url[..url.len() - 3]);
    assert_eq!(post(&forged, "{}").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(version().await, before);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_nobody_waits_for_any_more_is_gone() {
    let (rig, _shop, operator, url) = waiting(json!({})).await;
    rig.patch_run("r", json!({"cancel": true})).await;
    rig.phase("r", "Cancelled").await;
    assert_eq!(post(&url, "{}").await.status(), StatusCode::GONE);
    rig.delete_run("r").await;
    rig.until_gone::<Run>("r").await;
    assert_eq!(post(&url, "{}").await.status(), StatusCode::GONE);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_can_ask_for_a_schema_and_a_condition() {
    let callback = json!({"schema": {"type": "object", "required": ["paid"]}, "accept": "${body.paid > 0}"});
    let (rig, _shop, operator, url) = waiting(callback).await;
    assert_eq!(
        post(&url, r#"{"other":1}"#).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        post(&url, r#"{"paid":0}"#).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    to_the_wait(&rig).await;
    assert_eq!(post(&url, r#"{"paid":5}"#).await.status(), StatusCode::ACCEPTED);
    rig.until::<Approval>("r-review2", |_| true).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_can_ask_for_a_signature() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hmac::{Hmac, KeyInit as _, Mac as _};

    let (rig, _shop, operator, url) =
        waiting(json!({"hmac": {"secretRef": {"name": "hook", "key": "key"}}})).await;
    assert_eq!(
        post(&url, "{}").await.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "the secret is not there yet"
    );
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(json!({
        "metadata": {"name": "hook"}, "stringData": {"key": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="},
    }))
    .unwrap();
    rig.api()
        .create(&kube::api::PostParams::default(), &secret)
        .await
        .unwrap();
    assert_eq!(post(&url, "{}").await.status(), StatusCode::UNAUTHORIZED);
    let at = k8s_openapi::jiff::Timestamp::now().as_second().to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"secret-secret-secret").unwrap();
    mac.update(format!("id.{at}.{{}}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let signed = Client::new()
        .post(&url)
        .header("webhook-id", "id")
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
        .body("{}");
    assert_eq!(signed.send().await.unwrap().status(), StatusCode::ACCEPTED);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callbacks_at_once_are_all_recorded() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let names: Vec<String> = (0..8).map(|n| format!("w{n}")).collect();
    let urls: Vec<Value> = names
        .iter()
        .map(|name| json!(format!("${{callback('{name}').url}}")))
        .collect();
    let mut steps = vec![
        json!({"name": "tell", "needs": [], "http": {"method": "POST", "url": shop.url("/tell"), "body": {"urls": urls}}}),
    ];
    steps.extend(
        names
            .iter()
            .map(|name| json!({"name": name, "needs": ["tell"], "wait": {"callback": {}}})),
    );
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the addresses were told", || !shop.asked("/tell").is_empty()).await;
    let asked = shop.asked("/tell")[0].body["urls"].as_array().unwrap().clone();
    let posts = asked.iter().map(|url| post(url.as_str().unwrap(), "{}"));
    for answer in futures::future::join_all(posts).await {
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_short_secret_signs_nothing_and_people_are_told() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use k8s_openapi::api::core::v1::Secret;

    let (rig, _shop, operator, url) =
        waiting(json!({"hmac": {"secretRef": {"name": "hook", "key": "key"}}})).await;
    let secrets = rig.api::<Secret>();
    for (weak, key) in [
        ("", ""),
        ("whsec_", ""),
        ("whsec_c2hvcnQ=", "short"),
        ("short", "short"),
    ] {
        let secret: Secret =
            serde_json::from_value(json!({"metadata": {"name": "hook"}, "stringData": {"key": weak}}))
                .unwrap();
        // one after another under the same name
        let _ = secrets.delete("hook", &kube::api::DeleteParams::default()).await;
        rig.until_gone::<Secret>("hook").await;
        secrets
            .create(&kube::api::PostParams::default(), &secret)
            .await
            .unwrap();
        let at = k8s_openapi::jiff::Timestamp::now().as_second().to_string();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("id.{at}.{{}}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let signed = Client::new()
            .post(&url)
            .header("webhook-id", "id")
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .body("{}");
        let answer = signed.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{weak:?}");
        let said = answer.text().await.unwrap();
        assert!(said.contains("fewer than 16 bytes"), "{said}");
    }
    let event = rig.event("r", "WeakSecret").await;
    assert!(event.note.unwrap().contains("the Secret hook"));
    operator.stop().await;
}
