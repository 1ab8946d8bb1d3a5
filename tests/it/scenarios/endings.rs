//! A run ends when what was sent is settled: not when it is cancelled, fails elsewhere or is left by its operator.

use std::cell::OnceCell;

use serde_json::{Value, json};
use signoff_api::{
    Approval, Run,
    run::{StepPhase, StepStatus},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    rig::{Rig, Running, eventually},
    shop::{Answer, Shop},
};

const QUESTION: &str = "r-pay-outcome";

/// A run `r` whose payment was sent and is not answered until what is given is cancelled, and that has another step beside it.
async fn paying(beside: impl Fn(&Shop) -> Value) -> (Rig, Shop, Running, CancellationToken) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let held = shop.hold("/pay");
    let steps = json!([
        {"name": "pay", "needs": [], "delivery": "AtMostOnce", "timeout": "5m",
            "http": {"method": "POST", "url": shop.url("/pay"), "body": {}}},
        beside(&shop),
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the payment was asked for", || !shop.asked("/pay").is_empty()).await;
    (rig, shop, operator, held)
}

fn waiting(_: &Shop) -> Value {
    json!({"name": "other", "needs": [], "wait": {"callback": {}}})
}

fn step(run: &Run, name: &str) -> StepStatus {
    let steps = &run.status.as_ref().unwrap().steps;
    steps.iter().find(|step| step.name == name).unwrap().clone()
}

async fn until_ending(rig: &Rig, outcome: &str) -> Run {
    rig.until::<Run>("r", |run| {
        let status = run.status.clone().unwrap_or_default();
        status
            .ending
            .is_some_and(|ending| ending.outcome.phase().to_string() == outcome)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_when_the_payment_under_way_was_answered() {
    let (rig, shop, operator, held) = paying(waiting).await;
    rig.patch_run("r", json!({"cancel": true})).await;
    let ending = until_ending(&rig, "Cancelled").await.status.unwrap();
    assert_eq!(
        ending.waiting_on.as_deref(),
        Some("the outcome of step pay, which was sent, before the run ends Cancelled")
    );
    rig.event("r", "Ending").await;
    held.cancel();
    let run = rig.phase("r", "Cancelled").await;
    let pay = step(&run, "pay");
    assert_eq!(pay.phase, StepPhase::Succeeded);
    assert_eq!(pay.output.unwrap().0, json!({"ok": true}));
    assert_eq!(shop.asked("/pay").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_beside_a_payment_ends_when_that_was_answered() {
    let answer = OnceCell::new();
    let beside = |shop: &Shop| {
        // its failure keeps a payment that was not sent yet from being sent
        answer.get_or_init(|| shop.hold("/other"));
        json!({"name": "other", "needs": [], "http": {"url": shop.url("/other"), "expect": {"status": [204]}}})
    };
    let (rig, shop, operator, held) = paying(beside).await;
    answer.get().unwrap().cancel();
    until_ending(&rig, "Failed").await;
    held.cancel();
    let run = rig.phase("r", "Failed").await;
    assert_eq!(step(&run, "pay").phase, StepPhase::Succeeded);
    assert_eq!(step(&run, "other").phase, StepPhase::Failed);
    assert_eq!(shop.asked("/pay").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_whose_operator_crashed_asks_whether_it_was_paid() {
    let (rig, shop, operator, _held) = paying(waiting).await;
    rig.patch_run("r", json!({"cancel": true})).await;
    until_ending(&rig, "Cancelled").await;
    operator.kill().await;
    let next = rig.operator().await;
    let question = rig.until::<Approval>(QUESTION, |_| true).await;
    let status = rig.phase("r", "Waiting").await.status.unwrap();
    assert_eq!(
        status.waiting_on.as_deref(),
        Some("somebody to say whether step pay happened, before the run ends Cancelled")
    );
    let answer = json!({"approval": QUESTION, "digest": question.spec.digest, "verdict": "Approve", "values": {"happened": true}});
    rig.decide_with("alice", answer).await.unwrap();
    let run = rig.phase("r", "Cancelled").await;
    assert_eq!(step(&run, "pay").phase, StepPhase::Succeeded);
    assert_eq!(shop.asked("/pay").len(), 1);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_a_server_failed_while_the_run_was_to_end_is_asked_about() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let held = shop.hold("/pay");
    shop.will_answer([Answer::Status(502, json!({}))]);
    let pay = json!({"name": "pay", "delivery": "AtMostOnce", "http": {"method": "POST", "url": shop.url("/pay"), "body": {}}});
    rig.flow("f", json!({"steps": [pay]})).await;
    rig.start("r", json!({"flow": "f"})).await;
    eventually("the payment was asked for", || !shop.asked("/pay").is_empty()).await;
    rig.patch_run("r", json!({"cancel": true})).await;
    until_ending(&rig, "Cancelled").await;
    held.cancel();
    rig.until::<Approval>(QUESTION, |_| true).await;
    rig.decide("alice", QUESTION, "Reject").await;
    let run = rig.phase("r", "Cancelled").await;
    let error = step(&run, "pay").error.unwrap();
    assert_eq!(error.reason.to_string(), "OutcomeUnknown");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ends_the_run_waits_for_the_payment_under_way_and_closes_the_question() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let held = shop.hold("/pay");
    let steps = json!([
        {"name": "pay", "needs": [], "delivery": "AtMostOnce", "timeout": "5m",
            "http": {"method": "POST", "url": shop.url("/pay"), "body": {}}},
        {"name": "ask", "needs": [], "approval": {"title": "?"}},
        {"name": "ready", "needs": [], "approval": {"title": "enough?"}},
        {"name": "enough", "needs": ["ready"],
            "end": {"outcome": "Succeeded", "message": "enough for ${inputs.who}", "output": {"who": "${inputs.who}"}}},
        {"name": "never", "needs": ["enough"], "http": {"url": shop.url("/never")}},
    ]);
    let inputs = json!({"type": "object", "required": ["who"], "properties": {"who": {"type": "string"}}});
    rig.flow("f", json!({"inputs": inputs, "steps": steps})).await;
    rig.start("r", json!({"flow": "f", "inputs": {"who": "dev"}}))
        .await;
    eventually("the payment was asked for", || !shop.asked("/pay").is_empty()).await;
    rig.until::<Approval>("r-ask", |_| true).await;
    rig.decide("alice", "r-ready", "Approve").await;
    until_ending(&rig, "Succeeded").await;
    held.cancel();
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(step(&run, "pay").phase, StepPhase::Succeeded);
    assert_eq!(step(&run, "ask").phase, StepPhase::Cancelled);
    assert_eq!(step(&run, "enough").phase, StepPhase::Succeeded);
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"who": "dev"}));
    let condition = signoff_api::condition::get(&status.conditions, "Succeeded").unwrap();
    assert_eq!(condition.message, "enough for dev");
    assert!(shop.asked("/never").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_a_payment_whose_run_was_deleted_is_told() {
    let (rig, shop, operator, held) = paying(waiting).await;
    rig.delete_run("r").await;
    rig.until_gone::<Run>("r").await;
    held.cancel();
    let event = rig.event("r", "DeletedUnderWay").await;
    assert_eq!(
        event.note.as_deref(),
        Some("the run was deleted while step pay was under way: the call was answered with status 200")
    );
    assert_eq!(shop.asked("/pay").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_of_a_run_with_many_steps_is_lost() {
    const MANY: usize = 60;
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let steps: Vec<Value> = (0..MANY)
        .map(|n| json!({"name": format!("s{n}"), "needs": [], "approval": {"title": "?"}}))
        .collect();
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Waiting").await;
    rig.patch_run("r", json!({"cancel": true})).await;
    rig.phase("r", "Cancelled").await;
    rig.event("r", "Cancelled").await;
    // it is told in order of nothing: what was told last may be written first
    operator.stop().await;
    let told = rig.events("r").await;
    let asked = told
        .iter()
        .filter(|event| event.reason.as_deref() == Some("WaitingForApproval"));
    assert_eq!(asked.count(), MANY);
}
