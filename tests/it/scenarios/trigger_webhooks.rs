//! Webhook triggers: whoever proves who they are starts one run for each event, and nobody else starts any.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use signoff_api::{Flow, Run};

use crate::support::rig::{Rig, Running};

const SECRET: &str = "s3cret-of-this-trigger";

type Headers = Vec<(&'static str, String)>;

fn mac(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    })
}

fn standard(secret: &str, id: &str, body: &str, age: i64) -> Headers {
    let at = (Timestamp::now().as_second() - age).to_string();
    let signed = mac(secret, &[format!("{id}.{at}.{body}").as_bytes()]);
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(signed))),
    ]
}

fn github(secret: &str, id: &str, body: &str) -> Headers {
    vec![
        ("x-github-event", "push".to_owned()),
        ("x-github-delivery", id.to_owned()),
        (
            "x-hub-signature-256",
            format!("sha256={}", hex(&mac(secret, &[body.as_bytes()]))),
        ),
    ]
}

fn gitlab(secret: &str, id: &str) -> Headers {
    vec![
        ("x-gitlab-token", secret.to_owned()),
        ("x-gitlab-event-uuid", id.to_owned()),
    ]
}

fn slack(secret: &str, body: &str, age: i64) -> Headers {
    let at = (Timestamp::now().as_second() - age).to_string();
    let signed = mac(secret, &[format!("v0:{at}:{body}").as_bytes()]);
    vec![
        ("x-slack-request-timestamp", at),
        ("x-slack-signature", format!("v0={}", hex(&signed))),
    ]
}

fn bearer(secret: &str, id: &str) -> Headers {
    vec![
        ("authorization", format!("Bearer {secret}")),
        ("idempotency-key", id.to_owned()),
    ]
}

/// A flow with a trigger for each way to prove who one is, and some that ask for more.
fn flow() -> Value {
    let key = |name: &str| json!({"name": name, "key": "key"});
    let trigger =
        |name: &str, webhook: Value| json!({"name": name, "webhook": webhook, "inputs": {"n": "${body.n}"}});
    let mut each = trigger(
        "each",
        json!({"auth": {"bearer": key("hook")}, "each": "${body.items}", "dedupe": "${item.id}"}),
    );
    each["inputs"] = json!({"n": "${item.n}"});
    let mut asleep = trigger("asleep", json!({"auth": {"bearer": key("hook")}}));
    asleep["suspend"] = json!(true);
    let auth = |way: &str| json!({"auth": {way: key("hook")}});
    let picky = json!({
        "auth": {"bearer": key("hook")},
        "schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
        "when": "${body.n > 0 && headers[?'x-kind'].orValue('') == 'order'}",
    });
    json!({
        "inputs": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "maximum": 1000}}},
        "triggers": [
            trigger("standard", auth("standardWebhooks")),
            trigger("github", auth("github")),
            trigger("gitlab", auth("gitlab")),
            trigger("slack", auth("slack")),
            trigger("bearer", auth("bearer")),
            trigger("weak", json!({"auth": {"bearer": key("weak")}})),
            trigger("gone", json!({"auth": {"bearer": key("nowhere")}})),
            trigger("picky", picky),
            each, asleep,
        ],
        "steps": [{"name": "one", "set": {"n": "${inputs.n}"}}],
    })
}

struct Inbox {
    rig: Rig,
    operator: Running,
}

impl Inbox {
    async fn open() -> Self {
        let rig = Rig::open().await;
        for (name, secret) in [("hook", SECRET), ("weak", "too-short")] {
            let mut stored = Secret::default();
            stored.metadata.name = Some(name.to_owned());
            stored.data = Some([("key".to_owned(), ByteString(secret.into()))].into());
            rig.api::<Secret>()
                .create(&PostParams::default(), &stored)
                .await
                .unwrap();
        }
        let operator = rig.operator().await;
        rig.flow("orders", flow()).await;
        Self { rig, operator }
    }

    async fn send(&self, trigger: &str, headers: Headers, body: &str) -> (StatusCode, Value) {
        let namespace = self.rig.namespace().to_owned();
        self.send_to(&format!("{namespace}/orders/{trigger}"), headers, body)
            .await
    }

    async fn send_to(&self, path: &str, headers: Headers, body: &str) -> (StatusCode, Value) {
        let url = format!("http://{}/v1/triggers/{path}", self.rig.gateway());
        let mut request = Client::new().post(url).body(body.to_owned());
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// What the runs there are were given, in order.
    async fn given(&self) -> Vec<i64> {
        let runs = self.rig.api::<Run>().list(&ListParams::default()).await.unwrap();
        let n = |run: Run| run.spec.inputs.unwrap().0["n"].as_i64().unwrap();
        let mut all: Vec<i64> = runs.items.into_iter().map(n).collect();
        all.sort_unstable();
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_starts_one_run_however_its_sender_proves_itself_and_however_often_it_is_sent() {
    let inbox = Inbox::open().await;
    let body = |n: i64| format!(r#"{{"n": {n}, "event_id": "Ev{n}"}}"#);
    for (n, trigger, headers) in [
        (1, "standard", standard(SECRET, "msg_1", &body(1), 0)),
        (2, "github", github(SECRET, "72d3162e", &body(2))),
        (3, "gitlab", gitlab(SECRET, "13792a34")),
        (4, "gitlab", standard(SECRET, "msg_4", &body(4), 0)),
        (5, "slack", slack(SECRET, &body(5), 0)),
        (6, "bearer", bearer(SECRET, "a")),
    ] {
        let (status, first) = inbox.send(trigger, headers.clone(), &body(n)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{trigger}: {first}");
        let (status, again) = inbox.send(trigger, headers, &body(n)).await;
        assert_eq!((status, &again), (StatusCode::OK, &first), "{trigger}");
        let name = first["runs"][0].as_str().unwrap();
        let run = inbox.rig.phase(name, "Succeeded").await;
        let by = format!("system:signoff:trigger:orders/{trigger}");
        assert_eq!(run.spec.requested_by, Some(by));
    }
    assert_eq!(inbox.given().await, [1, 2, 3, 4, 5, 6]);
    inbox.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_prove_who_they_are_learns_and_starts_nothing() {
    let inbox = Inbox::open().await;
    let body = r#"{"n": 1, "event_id": "Ev1"}"#;
    let other = r#"{"n": 2, "event_id": "Ev1"}"#;
    for (trigger, headers) in [
        ("standard", vec![]),
        ("standard", standard("another-secret-of-others", "a", body, 0)),
        ("standard", standard(SECRET, "a", other, 0)),
        ("standard", standard(SECRET, "a", body, 3_600)),
        ("standard", standard(SECRET, "a", body, -3_600)),
        ("standard", bearer(SECRET, "a")),
        ("github", github(SECRET, "a", other)),
        ("github", github("", "a", body)),
        ("github", vec![("x-hub-signature-256", "sha256=".to_owned())]),
        (
            "github",
            vec![("x-hub-signature-256", format!("sha256={SECRET}"))],
        ),
        ("gitlab", gitlab("another-secret-of-others", "a")),
        ("gitlab", gitlab("", "a")),
        ("slack", slack(SECRET, other, 0)),
        ("slack", slack(SECRET, body, 3_600)),
        ("bearer", bearer("another-secret-of-others", "a")),
        ("bearer", vec![("authorization", SECRET.to_owned())]),
        ("bearer", vec![("authorization", "Bearer".to_owned())]),
        ("weak", bearer("too-short", "a")),
        ("gone", bearer(SECRET, "a")),
        ("nothing", bearer(SECRET, "a")),
    ] {
        let told = format!("{trigger} {headers:?}");
        let (status, _) = inbox.send(trigger, headers, body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{told}");
    }
    // who proves nothing gets the same answer whether there is such a trigger or not
    let large = format!(r#"{{"n": "{}"}}"#, "x".repeat(1 << 20));
    for (headers, body) in [
        (vec![], body),
        (vec![], ""),
        (vec![], &*large),
        (vec![("content-encoding", "br".to_owned())], body),
        (vec![("content-encoding", "gzip".to_owned())], body),
        (vec![("content-type", "text/plain".to_owned())], body),
    ] {
        let there = inbox.send("bearer", headers.clone(), body).await;
        for missing in [
            "elsewhere/orders/bearer".to_owned(),
            format!("{}/orders/gone", inbox.rig.namespace()),
        ] {
            let told = format!("{missing} {headers:?} {}", body.len());
            assert_eq!(
                inbox.send_to(&missing, headers.clone(), body).await,
                there,
                "{told}"
            );
        }
    }
    // a request that was recorded, under another id
    let mut twice = standard(SECRET, "a", body, 0);
    twice.push(("webhook-id", "b".to_owned()));
    let (status, _) = inbox.send("standard", twice, body).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    for path in [
        "elsewhere/orders/bearer",
        "default/nothing/bearer",
        "default/orders/..%2Fbearer",
        "kube-system/orders/bearer",
    ] {
        let (status, _) = inbox.send_to(path, bearer(SECRET, "a"), body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    inbox.rig.event("orders", "WeakSecret").await;
    assert!(inbox.given().await.is_empty());
    inbox.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_wrongly_is_answered_with_what_is_wrong() {
    let inbox = Inbox::open().await;
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let deep = format!(r#"{{"n": 1, "deep": {deep}}}"#);
    let large = format!(r#"{{"n": 1, "x": "{}"}}"#, "x".repeat(1 << 20));
    let id = |id: &str| bearer(SECRET, id);
    let typed = |type_: &str| {
        let mut headers = id("typed");
        headers.push(("content-type", type_.to_owned()));
        headers
    };
    for (trigger, headers, body, expected) in [
        ("bearer", id("a"), "not json", 400),
        ("bearer", id("a"), "", 400),
        ("bearer", id("a"), &*deep, 422),
        ("bearer", id("a"), &*large, 413),
        ("bearer", typed("text/plain"), r#"{"n": 1}"#, 415),
        ("bearer", typed("application/cloudevents-batch+json"), "[]", 422),
        (
            "bearer",
            typed("application/cloudevents+json"),
            r#"{"id": "1"}"#,
            422,
        ),
        // no input, and one that does not fit
        ("bearer", id("a"), r#"{"m": 1}"#, 422),
        ("bearer", id("a"), r#"{"n": 5000}"#, 422),
        // no id
        (
            "bearer",
            vec![("authorization", format!("Bearer {SECRET}"))],
            r#"{"n": 1}"#,
            422,
        ),
        ("slack", slack(SECRET, r#"{"n": 1}"#, 0), r#"{"n": 1}"#, 422),
        ("picky", id("a"), r#"{"n": "1"}"#, 422),
        ("asleep", id("a"), r#"{"n": 1}"#, 409),
    ] {
        let (status, answer) = inbox.send(trigger, headers, body).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(status.as_u16(), expected, "{trigger} {shown}: {answer}");
        assert!(answer["detail"].is_string(), "{trigger} {shown}");
    }
    assert!(inbox.given().await.is_empty());
    // another body under an id that was used
    assert_eq!(
        inbox.send("bearer", id("b"), r#"{"n": 1}"#).await.0,
        StatusCode::ACCEPTED
    );
    let (status, answer) = inbox.send("bearer", id("b"), r#"{"n": 2}"#).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert_eq!(inbox.given().await, [1]);
    inbox.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_items_greetings_and_cloud_events() {
    let inbox = Inbox::open().await;
    let order = |id: &str| {
        let mut headers = bearer(SECRET, id);
        headers.push(("x-kind", "order".to_owned()));
        headers
    };
    // a condition
    let (status, answer) = inbox.send("picky", order("a"), r#"{"n": 0}"#).await;
    assert_eq!((status, &answer["runs"]), (StatusCode::OK, &json!([])));
    assert_eq!(
        inbox.send("picky", order("b"), r#"{"n": 1}"#).await.0,
        StatusCode::ACCEPTED
    );
    // one run for each item, and again only for what is new
    let items = r#"{"items": [{"id": "x", "n": 2}, {"id": "y", "n": 3}]}"#;
    let (status, first) = inbox.send("each", bearer(SECRET, "c"), items).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{first}");
    assert_eq!(first["runs"].as_array().unwrap().len(), 2);
    let more = r#"{"items": [{"id": "y", "n": 3}, {"id": "z", "n": 4}]}"#;
    let (status, second) = inbox.send("each", bearer(SECRET, "d"), more).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(second["runs"][0], first["runs"][1]);
    let many: Vec<Value> = (0..101).map(|n| json!({"id": n, "n": n})).collect();
    let many = json!({ "items": many }).to_string();
    let (status, _) = inbox.send("each", bearer(SECRET, "e"), &many).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // greetings
    let mut ping = github(SECRET, "ping", "{}");
    ping[0].1 = "ping".to_owned();
    assert_eq!(inbox.send("github", ping, "{}").await.0, StatusCode::OK);
    let hello = r#"{"type": "url_verification", "challenge": "c-1"}"#;
    let (status, answer) = inbox.send("slack", slack(SECRET, hello, 0), hello).await;
    assert_eq!((status, &answer["challenge"]), (StatusCode::OK, &json!("c-1")));
    // a CloudEvent in both modes is one event
    let auth = ("authorization", format!("Bearer {SECRET}"));
    let binary = vec![
        auth.clone(),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", "1".to_owned()),
        ("ce-source", "/shop".to_owned()),
        ("ce-type", "order".to_owned()),
    ];
    let (status, sent) = inbox.send("bearer", binary, r#"{"n": 5}"#).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{sent}");
    let structured = vec![
        auth,
        (
            "content-type",
            "application/cloudevents+json; charset=utf-8".to_owned(),
        ),
    ];
    let event =
        json!({"specversion": "1.0", "id": "2", "source": "/shop", "type": "order", "data": {"n": 6}});
    let (status, sent) = inbox.send("bearer", structured, &event.to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{sent}");
    assert_eq!(inbox.given().await, [1, 2, 3, 4, 5, 6]);
    inbox.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_live_release_of_a_flow_that_is_not_suspended_answers() {
    let inbox = Inbox::open().await;
    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    let flows = inbox.rig.api::<Flow>();
    flows
        .patch("orders", &PatchParams::default(), &suspend)
        .await
        .unwrap();
    let (status, _) = inbox.send("bearer", bearer(SECRET, "a"), r#"{"n": 1}"#).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let mut without = flow();
    without["triggers"] = json!([]);
    inbox.rig.next_release("orders", without).await;
    let (status, _) = inbox.send("bearer", bearer(SECRET, "a"), r#"{"n": 1}"#).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(inbox.given().await.is_empty());
    inbox.operator.stop().await;
}
