//! Steps with `forEach`: many items cost few writes, people are asked about each, and no crash loses or repeats one.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signoff_api::{
    Approval, Run, RunPhase,
    reason::StepReason,
    run::{StepOutcome, StepStatus},
};

use crate::support::{
    faults::{Cut, cut, cut_at_each_write},
    rig::{Rig, eventually},
    shop::Shop,
};

fn step(run: &Run, name: &str) -> StepStatus {
    let steps = &run.status.as_ref().unwrap().steps;
    let found = steps.iter().find(|step| step.name == name && step.item.is_none());
    found.unwrap().clone()
}

fn ended(run: &Run, name: &str) -> Vec<(StepOutcome, String)> {
    let items = step(run, name).items.unwrap();
    items
        .ended
        .iter()
        .map(|ended| (ended.outcome, ended.items.to_string()))
        .collect()
}

/// How often the operator wrote runs.
fn writes(metrics: &str) -> usize {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("signoff_api_writes_total{kind=\"runs\"} "));
    line.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_items_keep_their_order_in_a_small_status_and_share_writes() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let call = json!({"name": "call", "forEach": {"items": "${inputs.items}", "maxParallel": 50},
        "http": {"method": "POST", "url": shop.url("/call"), "body": {"n": "${item}"}, "output": {"n": "${item}", "at": "${index}"}}});
    let inputs = json!({"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": {"type": "integer"}}}});
    let output = json!({"count": "${steps.call.output.size()}", "last": "${steps.call.output[499].n}"});
    rig.flow("f", json!({"inputs": inputs, "steps": [call], "output": output}))
        .await;
    let items: Vec<usize> = (1000..1500).collect();
    // the first ones are answered together
    let held = shop.hold("/call");
    rig.start("r", json!({"flow": "f", "inputs": {"items": items}}))
        .await;
    eventually("as many items are under way as may be", || {
        shop.asked("/call").len() == 50
    })
    .await;
    held.cancel();
    let run = rig.phase("r", "Succeeded").await;
    let status = run.status.clone().unwrap();
    assert_eq!(
        status.output.clone().unwrap().0,
        json!({"count": 500, "last": 1499})
    );
    assert_eq!((status.steps.len(), status.billable_steps), (1, 500));
    assert_eq!(
        ended(&run, "call"),
        [(StepOutcome::Succeeded, "0-499".to_owned())]
    );
    let outputs = step(&run, "call").output.unwrap().0;
    for (at, output) in outputs.as_array().unwrap().iter().enumerate() {
        assert_eq!(*output, json!({"n": 1000 + at, "at": at}));
    }
    assert!(serde_json::to_vec(&status).unwrap().len() < 64 * 1024);
    let keys: BTreeSet<String> = shop
        .asked("/call")
        .into_iter()
        .map(|asked| asked.idempotency_key)
        .collect();
    assert_eq!(
        (shop.asked("/call").len(), keys.len()),
        (500, 500),
        "each item is called once"
    );
    operator
        .stop_and(|metrics| {
            let writes = writes(&metrics.render().unwrap());
            assert!(writes < 400, "{writes} writes for 500 items");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_asked_about_each_item_and_a_waiting_run_writes_nothing() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let review = json!({"name": "review", "forEach": {"items": ["a", "b", "c"]},
        "approval": {"title": "Pay ${item}?", "show": [{"name": "item", "value": "${item}"}]}});
    let pay = json!({"name": "pay", "when": "${steps.review.outcome == 'Approved'}", "forEach": {"items": ["a", "b", "c"]},
        "http": {"method": "POST", "url": shop.url("/pay"), "body": {"to": "${item}", "by": "${steps.review.items[index].?decision.by.orValue(['?'])[0]}"}}});
    rig.flow("f", json!({"steps": [review, pay]})).await;
    rig.start("r", json!({"flow": "f"})).await;
    for (item, user) in [(2, "alice"), (0, "bob"), (1, "alice")] {
        let question = rig.asked(&format!("r-review[{item}]")).await;
        assert_eq!(question.spec.subject.item, Some(item));
        assert!(shop.asked("/pay").is_empty());
        rig.decide(user, &format!("r-review[{item}]"), "Approve").await;
    }
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(step(&run, "review").outcome, Some(StepOutcome::Approved));
    let mut paid: Vec<Value> = shop.asked("/pay").into_iter().map(|asked| asked.body).collect();
    paid.sort_by_key(|body| body["to"].to_string());
    assert_eq!(
        paid,
        [
            json!({"to": "a", "by": "bob"}),
            json!({"to": "b", "by": "alice"}),
            json!({"to": "c", "by": "alice"})
        ]
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_takes_the_callback_at_its_own_address() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let tell = json!({"name": "tell", "forEach": {"items": [10, 20]},
        "http": {"method": "POST", "url": shop.url("/tell"), "body": {"n": "${item}", "url": "${callback('answer', index).url}"}}});
    let answer = json!({"name": "answer", "forEach": {"items": [10, 20]}, "wait": {"callback": {}}});
    rig.flow(
        "f",
        json!({"steps": [tell, answer], "output": {"all": "${steps.answer.output}"}}),
    )
    .await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("both were told", || shop.asked("/tell").len() == 2).await;
    let client = reqwest::Client::new();
    let mut told = shop.asked("/tell");
    told.sort_by_key(|asked| std::cmp::Reverse(asked.body["n"].as_i64()));
    for asked in &told {
        let url = asked.body["url"].as_str().unwrap();
        let post = |body: Value| client.post(url).json(&body).send();
        let n = asked.body["n"].as_i64().unwrap();
        assert_eq!(post(json!({"got": n})).await.unwrap().status(), 202);
        assert_eq!(
            post(json!({"got": n})).await.unwrap().status(),
            200,
            "the same again"
        );
        let other = post(json!({"got": 0})).await.unwrap().status();
        assert!(other == 409 || other == 410, "{other}");
    }
    let run = rig.phase("r", "Succeeded").await;
    let output = run.status.unwrap().output.unwrap().0;
    assert_eq!(output, json!({"all": [{"got": 10}, {"got": 20}]}));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_cannot_be_done_fail_their_run_and_hold_no_other_up() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let call = json!({"name": "call", "forEach": {"items": "${inputs.items}"},
        "http": {"method": "POST", "url": shop.url("/call"), "body": {"n": "${item}"}}});
    let inputs = json!({"type": "object", "required": ["items"], "properties": {"items": {}}});
    rig.flow("f", json!({"inputs": inputs, "steps": [call]})).await;
    let deep = (0..30).fold(json!(1), |inner, _| json!([inner]));
    for (name, items, told) in [
        (
            "many",
            json!(vec![1; 501]),
            "there are 501 items; at most 500 may be",
        ),
        ("text", json!("a,b"), "not a list, but a string"),
        ("map", json!({"a": 1}), "not a list, but an object"),
        ("good", json!([deep]), ""),
    ] {
        rig.start(name, json!({"flow": "f", "inputs": {"items": items}}))
            .await;
        if told.is_empty() {
            rig.phase(name, "Succeeded").await;
            continue;
        }
        let run = rig.phase(name, "Failed").await;
        let error = run.status.unwrap().error.unwrap();
        assert_eq!(error.reason, StepReason::InvalidItems, "{name}");
        assert!(error.message.contains(told), "{name}: {}", error.message);
    }
    assert_eq!(shop.asked("/call").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_loses_and_repeats_no_item() {
    cut_at_each_write(Cut::Before, 6, one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_loses_and_repeats_no_item() {
    cut_at_each_write(Cut::After, 6, one).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn one(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let quote = json!({"name": "quote", "forEach": {"items": [0, 1], "maxParallel": 1},
        "http": {"method": "POST", "url": shop.url("/quote/${item}"), "body": {}, "output": {"nr": "${index}"}}});
    let review =
        json!({"name": "review", "forEach": {"items": [0, 1]}, "approval": {"title": "Pay ${item}?"}});
    let pay = json!({"name": "pay", "delivery": "AtMostOnce", "forEach": {"items": [0, 1], "maxParallel": 2},
        "http": {"method": "POST", "url": shop.url("/pay/${item}"), "body": {}, "output": {"nr": "${index}"}}});
    let output = json!({"quotes": "${steps.quote.output.map(q, q.nr)}", "by": "${steps.review.items.map(r, r.?decision.by.orValue(['?'])[0])}"});
    rig.flow("f", json!({"steps": [quote, review, pay], "output": output}))
        .await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = play(&rig, &shop);
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;

    let asked_a_person = rig.is_asked("r-pay-outcome").await;
    for item in [0, 1] {
        let paid = shop.asked(&format!("/pay/{item}")).len();
        assert!(
            paid == 1 || (paid == 0 && asked_a_person),
            "{at:?}: item {item} was paid {paid} times, asked: {asked_a_person}"
        );
    }
    for item in [0, 1] {
        let asked = shop.asked(&format!("/quote/{item}"));
        assert!(!asked.is_empty(), "{at:?}: item {item} was lost");
        let same = |key: &str| asked.iter().all(|one| one.idempotency_key == key);
        assert!(same(&asked[0].idempotency_key), "{at:?}: {asked:?}");
    }
    let output = run.status.as_ref().unwrap().output.clone().unwrap().0;
    assert_eq!(
        output,
        json!({"quotes": [0, 1], "by": ["alice", "bob"]}),
        "{at:?}"
    );
    assert_eq!(run.status.as_ref().unwrap().phase, RunPhase::Succeeded);
    assert_eq!(
        ended(&run, "pay"),
        [(StepOutcome::Succeeded, "0-1".to_owned())],
        "{at:?}"
    );
    reached
}

/// What people do, whichever operator is there to see it.
async fn play(rig: &Rig, shop: &Shop) {
    let work = async {
        for (item, user) in [(0, "alice"), (1, "bob")] {
            let name = format!("r-review[{item}]");
            rig.until_ever::<Approval>(&name).await;
            rig.decide(user, &name, "Approve").await;
        }
        let approval = rig.until_ever::<Approval>("r-pay-outcome").await;
        let fields = approval.spec.form.as_ref().unwrap().0["required"].clone();
        let fields = fields.as_array().unwrap().iter().map(|field| {
            let field = field.as_str().unwrap().to_owned();
            let path = field.replace("item-", "/pay/");
            (field, json!(!shop.asked(&path).is_empty()))
        });
        let values: serde_json::Map<String, Value> = fields.collect();
        let spec = json!({"approval": "r-pay-outcome", "digest": approval.spec.digest, "verdict": "Approve", "values": values});
        rig.decide_with("alice", spec).await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = rig.phase("r", "Succeeded") => {}
        () = work => {}
    }
}
