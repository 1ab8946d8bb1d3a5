//! Waits for events that come by webhook triggers: each event is taken by one wait, once.

use std::time::Duration;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::{ListParams, PostParams};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use signoff_api::{Run, run::StepOutcome};

use crate::support::{
    faults::refused,
    rig::{Rig, Running, eventually},
    shop::Shop,
};

const SECRET: &str = "s3cret-of-this-trigger";

/// A flow whose runs wait for a payment of their order, and end with it.
fn flow(start: &str) -> Value {
    json!({
        "inputs": {"type": "object", "properties": {"order": {"type": "string"}}},
        "triggers": [{"name": "paid", "inputs": {"order": "${body.order}"}, "webhook": {
            "auth": {"bearer": {"name": "hook", "key": "key"}}, "key": "${body.order}", "start": start,
            "schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}, "amount": {"type": "integer"}}}}}],
        "steps": [{"name": "w", "wait": {"event": {"trigger": "paid", "keys": ["${inputs.?order.orValue('none')}"],
            "when": "${body.?amount.orValue(1) > 0}"}}}],
        "output": {"amount": "${steps.w.output.?amount.orValue(0)}"},
    })
}

struct Inbox {
    rig: Rig,
    operator: Running,
}

impl Inbox {
    async fn open(start: &str) -> Self {
        let rig = Rig::open().await;
        let mut stored = Secret::default();
        stored.metadata.name = Some("hook".to_owned());
        stored.data = Some([("key".to_owned(), ByteString(SECRET.into()))].into());
        let secrets = rig.api::<Secret>();
        secrets.create(&PostParams::default(), &stored).await.unwrap();
        let operator = rig.operator().await;
        rig.flow("orders", flow(start)).await;
        Self { rig, operator }
    }

    /// A run that waits for the payment of an order.
    async fn waits(&self, name: &str, order: &str) {
        let spec = json!({"flow": "orders", "inputs": {"order": order}});
        self.rig.start(name, spec).await;
        let awaits = |run: &Run| {
            let status = run.status.as_ref();
            status.is_some_and(|status| status.awaits_events == Some(true))
        };
        self.rig.until::<Run>(name, awaits).await;
    }

    async fn send(&self, id: &str, body: Value) -> (StatusCode, Value) {
        send(&self.rig, id, body).await
    }

    async fn runs(&self) -> usize {
        let runs = self.rig.api::<Run>().list(&ListParams::default()).await;
        runs.unwrap().items.len()
    }
}

async fn send(rig: &Rig, id: &str, body: Value) -> (StatusCode, Value) {
    let path = format!("{}/orders/paid", rig.namespace());
    let url = format!("http://{}/v1/triggers/{path}", rig.gateway());
    let request = Client::new().post(url).bearer_auth(SECRET);
    let answer = request.header("idempotency-key", id).json(&body).send();
    let answer = answer.await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_ends_the_wait_that_began_first_and_the_same_again_ends_no_other() {
    let inbox = Inbox::open("Never").await;
    inbox.waits("a", "81").await;
    inbox.waits("b", "81").await;
    let untaken = json!({"runs": [], "message": "no run waits for the event"});
    for body in [json!({"order": "82"}), json!({"order": "81", "amount": 0})] {
        let (status, said) = inbox.send("other", body).await;
        assert_eq!((status, said), (StatusCode::OK, untaken.clone()));
    }
    let taken = json!({"runs": [], "waits": [{"run": "a", "step": "w"}]});
    let first = inbox.send("1", json!({"order": "81", "amount": 7})).await;
    assert_eq!(first, (StatusCode::ACCEPTED, taken.clone()));
    let run = inbox.rig.phase("a", "Succeeded").await;
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"amount": 7}));
    assert_eq!(status.steps[0].outcome, Some(StepOutcome::Event));
    // the body is kept once, as the output
    assert!(status.events["w.1"].body.is_none());
    let again = inbox.send("1", json!({"order": "81", "amount": 7})).await;
    assert_eq!(again, (StatusCode::OK, taken));
    let (status, said) = inbox.send("2", json!({"order": "81"})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(said["waits"][0]["run"], "b");
    inbox.rig.phase("b", "Succeeded").await;
    assert_eq!(inbox.runs().await, 2);
    inbox.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_starts_a_run_as_its_trigger_says() {
    for (start, when_taken) in [("Always", 1), ("Unmatched", 0)] {
        let inbox = Inbox::open(start).await;
        inbox.waits("a", "81").await;
        let body = json!({"order": "81", "amount": 7});
        let (status, first) = inbox.send("1", body.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert_eq!(first["waits"], json!([{"run": "a", "step": "w"}]));
        assert_eq!(first["runs"].as_array().unwrap().len(), when_taken);
        assert_eq!(inbox.send("1", body).await, (StatusCode::OK, first));
        let other = json!({"order": "90"});
        let (status, started) = inbox.send("2", other.clone()).await;
        assert_eq!((status, started["waits"].is_null()), (StatusCode::ACCEPTED, true));
        let name = started["runs"][0].as_str().unwrap();
        inbox.rig.until::<Run>(name, |run| run.status.is_some()).await;
        // the run that it started waits for the same order, and the event is not for it
        assert_eq!(inbox.send("2", other).await.0, StatusCode::OK);
        let run = inbox.rig.api::<Run>().get(name).await.unwrap();
        assert!(run.status.is_none_or(|status| status.events.is_empty()));
        inbox.operator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_at_once_each_end_one_wait() {
    let inbox = Inbox::open("Never").await;
    for n in 0..6 {
        inbox.waits(&format!("r{n}"), "81").await;
    }
    // each is sent twice at the same time
    let sends = (0..12).map(|n| {
        let id = format!("{}", n / 2);
        let inbox = &inbox;
        async move { inbox.send(&id, json!({"order": "81", "amount": n / 2 + 1})).await }
    });
    let answers = futures::future::join_all(sends).await;
    let by = |said: &Value| said["waits"][0]["run"].as_str().unwrap_or_default().to_owned();
    for pair in answers.chunks(2) {
        assert_eq!(by(&pair[0].1), by(&pair[1].1), "{pair:?}");
    }
    let mut amounts = Vec::new();
    for n in 0..6 {
        let run = inbox.rig.phase(&format!("r{n}"), "Succeeded").await;
        let output = run.status.unwrap().output.unwrap();
        amounts.push(output.0["amount"].as_i64().unwrap());
    }
    amounts.sort_unstable();
    assert_eq!(amounts, [1, 2, 3, 4, 5, 6]);
    inbox.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_begins_before_a_call_takes_the_event_that_the_call_causes() {
    let Inbox { rig, operator } = Inbox::open("Never").await;
    operator.stop().await;
    let shop = Shop::open().await;
    // every write takes far longer than the call
    let client = rig.operator_client();
    let (client, _) = refused(client, "nothing of this", Duration::from_millis(300));
    let operator = rig.operator_with(client).await.unwrap();
    let event = json!({"flow": "orders", "trigger": "paid", "keys": ["81"]});
    let steps = json!([
        {"name": "w", "needs": [], "wait": {"event": event}},
        {"name": "tell", "needs": [], "http": {"method": "POST", "url": shop.url("/tell"), "body": {}}},
    ]);
    rig.flow("buys", json!({"steps": steps})).await;
    let answered = shop.hold("/tell");
    rig.start("r", json!({"flow": "buys"})).await;
    eventually("the call is made", || !shop.asked("/tell").is_empty()).await;
    let (status, said) = send(&rig, "1", json!({"order": "81"})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{said}");
    answered.cancel();
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_an_event_is_forgotten_with_its_run() {
    let inbox = Inbox::open("Never").await;
    inbox.waits("a", "81").await;
    inbox.send("1", json!({"order": "81"})).await;
    inbox.rig.phase("a", "Succeeded").await;
    if inbox.rig.collects() {
        type Lease = k8s_openapi::api::coordination::v1::Lease;
        let leases = inbox
            .rig
            .api::<Lease>()
            .list(&ListParams::default())
            .await
            .unwrap();
        let names = leases.items.into_iter().filter_map(|lease| lease.metadata.name);
        let claims: Vec<String> = names.filter(|name| name.starts_with("signoff-event-")).collect();
        assert_eq!(claims.len(), 1);
        inbox.rig.delete_run("a").await;
        inbox.rig.until_gone::<Lease>(&claims[0]).await;
    }
    inbox.operator.stop().await;
}
