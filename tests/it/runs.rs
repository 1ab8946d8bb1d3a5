//! Runs on the embedded control plane: from the first step to the end, and through trouble.

use serde_json::{Value, json};
use signoff::api::{Approval, Run};

use crate::support::{
    rig::{Rig, eventually},
    shop::{Answer, Shop},
};

fn step(run: &Run, name: &str) -> Value {
    let steps = &run.status.as_ref().unwrap().steps;
    steps
        .iter()
        .rev()
        .find(|step| step.name == name)
        .map(|step| serde_json::to_value(step).unwrap())
        .unwrap_or_default()
}

fn post(shop: &Shop, name: &str, path: &str) -> Value {
    json!({"name": name, "http": {"method": "POST", "url": shop.url(path), "body": {"order": "${inputs.order}"}}})
}

fn inputs() -> Value {
    json!({"type": "object", "properties": {"order": {"type": "string"}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_calls_asks_waits_and_ends_with_its_output() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    shop.will_answer([Answer::Status(200, json!({"amount": 250}))]);
    let spec = json!({"inputs": inputs(), "steps": [
        post(&shop, "propose", "/quote"),
        {"name": "review", "approval": {"title": "Refund ${steps.propose.output.amount}?",
            "show": [{"name": "quote", "value": "${steps.propose.output}"}]}},
        {"name": "pay", "http": {"method": "POST", "url": shop.url("/pay"),
            "body": {"callback": "${callback('settled').url}"}}},
        {"name": "settled", "wait": {"callback": {}}},
    ], "output": {"receipt": "${steps.settled.output.receipt}"}});
    let release = rig.flow("refund", spec).await;
    let operator = rig.operator().await;
    rig.start("r1", json!({"flow": "refund", "inputs": {"order": "81"}}))
        .await;
    let run = rig.phase("r1", "Waiting").await;
    assert_eq!(
        run.status.as_ref().unwrap().release.as_ref().unwrap().name,
        release
    );
    let approval = rig.until::<Approval>("r1-review", |_| true).await;
    assert_eq!(approval.spec.title, "Refund 250?");
    assert_eq!(approval.spec.requested_by.as_deref(), Some("dev"));
    assert_eq!(shop.asked("/quote").len(), 1);
    rig.decide("alice", "r1-review", "Approve").await;
    eventually("the payment was asked for", || shop.asked("/pay").len() == 1).await;
    let url = shop.asked("/pay")[0].body["callback"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = reqwest::Client::new()
        .post(&url)
        .json(&json!({"receipt": "R-1"}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    let run = rig.phase("r1", "Succeeded").await;
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"receipt": "R-1"}));
    assert_eq!(status.billable_steps, 2);
    rig.until::<Run>("r1", |run| {
        run.metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels["signoff.dev/finished"] == "true")
    })
    .await;
    rig.event("r1", "WaitingForApproval").await;
    rig.event("r1", "Approved").await;
    rig.event("r1", "Succeeded").await;
    operator.stop().await;
}
