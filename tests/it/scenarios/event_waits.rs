//! Waits for events that come by webhook triggers: each event is taken by one wait, once.

use std::time::Duration;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::{ListParams, PostParams};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use signoff_api::{Run, run::StepOutcome};

use crate::support::{
    faults::{Cut, cut, cut_at_each_write, refused},
    rig::{PATIENCE, PAUSE, Rig, Running, eventually},
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

/// A flow that orders something, and then waits for its payment.
fn buys(shop: &Shop) -> Value {
    let event = json!({"flow": "orders", "trigger": "paid", "keys": ["81"]});
    json!({
        "steps": [
            {"name": "buy", "http": {"method": "POST", "url": shop.url("/buy"), "body": {}}},
            {"name": "w", "wait": {"event": event}},
        ],
        "output": {"amount": "${steps.w.output.?amount.orValue(0)}"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_before_its_wait_is_kept_for_it() {
    let Inbox { rig, operator } = Inbox::open("Never").await;
    let shop = Shop::open().await;
    rig.flow("buys", buys(&shop)).await;
    let nobody = send(&rig, "0", json!({"order": "81"})).await;
    assert_eq!(nobody.1["message"], "no run waits for the event");
    let answered = shop.hold("/buy");
    rig.start("r", json!({"flow": "buys"})).await;
    eventually("the shop is asked", || !shop.asked("/buy").is_empty()).await;
    let (status, said) = send(&rig, "1", json!({"order": "81", "amount": 7})).await;
    assert_eq!(
        (status, &said["kept"]),
        (StatusCode::ACCEPTED, &json!(1)),
        "{said}"
    );
    let (status, said) = send(&rig, "1", json!({"order": "81", "amount": 7})).await;
    assert_eq!((status, &said["kept"]), (StatusCode::OK, &json!(1)), "{said}");
    let (status, _) = send(&rig, "1", json!({"order": "81", "amount": 8})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    answered.cancel();
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(run.status.unwrap().output.unwrap().0, json!({"amount": 7}));
    let (status, said) = send(&rig, "1", json!({"order": "81", "amount": 7})).await;
    let taken = json!([{"run": "r", "step": "w"}]);
    assert_eq!((status, &said["waits"]), (StatusCode::OK, &taken));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_starts_a_run_is_kept_beside_it_or_not_as_its_trigger_says() {
    for (start, is_kept) in [("Always", true), ("Unmatched", false)] {
        let Inbox { rig, operator } = Inbox::open(start).await;
        let shop = Shop::open().await;
        rig.flow("buys", buys(&shop)).await;
        let answered = shop.hold("/buy");
        rig.start("r", json!({"flow": "buys"})).await;
        eventually("the shop is asked", || !shop.asked("/buy").is_empty()).await;
        for status in [StatusCode::ACCEPTED, StatusCode::OK] {
            let (answer, said) = send(&rig, "1", json!({"order": "81"})).await;
            assert_eq!((answer, !said["kept"].is_null()), (status, is_kept), "{said}");
            assert_eq!(said["runs"].as_array().unwrap().len(), 1);
        }
        answered.cancel();
        if is_kept {
            rig.phase("r", "Succeeded").await;
        } else {
            let awaits = |run: &Run| {
                run.status
                    .as_ref()
                    .is_some_and(|status| status.awaits_events == Some(true))
            };
            rig.until::<Run>("r", awaits).await;
        }
        operator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_loses_no_event_that_came_early() {
    cut_at_each_write(Cut::Before, 5, one_early).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_loses_no_event_that_came_early() {
    cut_at_each_write(Cut::After, 5, one_early).await;
}

/// Plays two runs, and one event that comes before either waits. Says whether the cut was reached.
async fn one_early(at: Cut) -> bool {
    let Inbox { rig, operator } = Inbox::open("Never").await;
    let shop = Shop::open().await;
    rig.flow("buys", buys(&shop)).await;
    operator.stop().await;
    let answered = shop.hold("/buy");
    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    for name in ["r", "s"] {
        rig.start(name, json!({"flow": "buys"})).await;
    }
    let taken_by = |run: Run| {
        let status = run.status.unwrap_or_default();
        status
            .events
            .into_values()
            .map(|record| record.name)
            .collect::<Vec<_>>()
    };
    let story = async {
        eventually("the shop is asked twice", || shop.asked("/buy").len() >= 2).await;
        send_until_taken(&rig, "1", &json!({"order": "81", "amount": 7})).await;
        answered.cancel();
        let ended = |run: &Run| {
            run.status
                .as_ref()
                .is_some_and(|status| status.phase.is_finished())
        };
        tokio::select! {
            run = rig.until::<Run>("r", ended) => run,
            run = rig.until::<Run>("s", ended) => run,
        }
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let awaits = |run: &Run| {
        run.status
            .as_ref()
            .is_some_and(|status| status.phase.is_finished() || status.awaits_events == Some(true))
    };
    let mut taken = Vec::new();
    for name in ["r", "s"] {
        taken.extend(taken_by(rig.until::<Run>(name, awaits).await));
    }
    assert_eq!(taken.len(), 1, "{at:?}: one of them took it: {taken:?}");
    // the other one takes the next one
    send_until_taken(&rig, "2", &json!({"order": "81", "amount": 8})).await;
    let mut amounts = Vec::new();
    for name in ["r", "s"] {
        let run = rig.phase(name, "Succeeded").await;
        amounts.push(run.status.unwrap().output.unwrap().0["amount"].as_i64());
    }
    amounts.sort_unstable();
    assert_eq!(amounts, [Some(7), Some(8)], "{at:?}");
    second.stop().await;
    reached
}

/// Sends an event to whichever gateway listens now, until it is taken or kept.
async fn send_until_taken(rig: &Rig, id: &str, body: &Value) {
    let path = format!("{}/orders/paid", rig.namespace());
    let taken = async {
        loop {
            let url = format!("http://{}/v1/triggers/{path}", rig.gateway());
            let request = Client::new().post(url).bearer_auth(SECRET);
            let answer = request.header("idempotency-key", id).json(body).send().await;
            if let Ok(answer) = answer
                && answer.status().is_success()
            {
                let said: Value = answer.json().await.unwrap();
                assert!(!said["waits"].is_null() || !said["kept"].is_null(), "{said}");
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
}
