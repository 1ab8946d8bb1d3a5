//! Runs on the embedded control plane: from the first step to the end, and through trouble.

use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use signoff_api::{Approval, ApprovalPhase, Flow, Release, Run};

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
    json!({"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}})
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
    let operator = rig.operator().await;
    let release = rig.flow("refund", spec).await;
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
    rig.event("r1", "WaitingForApproval").await;
    rig.event("r1", "Approved").await;
    rig.event("r1", "Succeeded").await;
    operator.stop().await;
}

fn status_of(run: &Run) -> &signoff_api::RunStatus {
    run.status.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_under_the_same_key_until_one_succeeds() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    shop.will_answer([
        Answer::Status(500, json!("busy")),
        Answer::Status(503, json!("busy")),
        Answer::Status(200, json!(7)),
    ]);
    let operator = rig.operator().await;
    let mut call = post(&shop, "call", "/call");
    call["retry"] = json!({"attempts": 4, "backoff": {"initial": "5ms"}});
    rig.flow("f", json!({"inputs": inputs(), "steps": [call]})).await;
    rig.start("r", json!({"flow": "f", "inputs": {"order": "1"}}))
        .await;
    let run = rig.phase("r", "Succeeded").await;
    let asked = shop.asked("/call");
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|one| one.idempotency_key == asked[0].idempotency_key)
    );
    assert_eq!(
        (&step(&run, "call")["attempt"], &step(&run, "call")["output"]),
        (&json!(3), &json!(7))
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_fails_the_step_and_says_so() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    shop.will_answer([Answer::Hang]);
    let operator = rig.operator().await;
    let mut call = post(&shop, "call", "/slow");
    call["timeout"] = json!("50ms");
    rig.flow("f", json!({"inputs": inputs(), "steps": [call]})).await;
    rig.start("r", json!({"flow": "f", "inputs": {"order": "1"}}))
        .await;
    let run = rig.phase("r", "Failed").await;
    assert_eq!(step(&run, "call")["error"]["reason"], "AttemptTimedOut");
    let event = rig.event("r", "Failed").await;
    assert!(event.note.unwrap().contains("AttemptTimedOut"));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named_in_the_runs_error() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let connection: signoff_api::Connection = serde_json::from_value(json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "shop"},
        "spec": {"http": {"baseURL": shop.url(""), "auth": {"bearer": {"name": "shop-token", "key": "token"}}}},
    }))
    .unwrap();
    rig.api()
        .create(&kube::api::PostParams::default(), &connection)
        .await
        .unwrap();
    rig.flow(
        "f",
        json!({"steps": [{"name": "call", "http": {"connection": "shop", "path": "/x"}}]}),
    )
    .await;
    rig.start("r", json!({"flow": "f"})).await;
    let run = rig.phase("r", "Failed").await;
    let error = status_of(&run).error.clone().unwrap();
    assert_eq!(error.reason.to_string(), "SecretNotFound");
    assert!(error.message.contains("shop-token"), "{}", error.message);
    assert!(shop.asked("/x").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_a_release_waits_for_one_and_says_what_is_missing() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    rig.start("r", json!({"flow": "f"})).await;
    let reason = |run: &Run| {
        run.status
            .as_ref()
            .and_then(|s| s.conditions.first())
            .map(|c| c.reason.clone())
    };
    rig.until::<Run>("r", |run| reason(run).as_deref() == Some("FlowNotFound"))
        .await;
    rig.flow(
        "f",
        json!({"steps": [{"name": "call", "http": {"url": shop.url("/x")}}]}),
    )
    .await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_do_not_fit_fail_the_run_before_its_first_step() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    rig.flow(
        "f",
        json!({"inputs": inputs(), "steps": [post(&shop, "call", "/x")]}),
    )
    .await;
    rig.start("r", json!({"flow": "f", "inputs": {"order": 5}})).await;
    let run = rig.phase("r", "Failed").await;
    assert_eq!(status_of(&run).conditions[0].reason, "InvalidInputs");
    assert!(
        status_of(&run).conditions[0].message.contains("inputs.order"),
        "{:?}",
        status_of(&run).conditions
    );
    assert!(shop.asked("/x").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_does_not_touch_a_running_run() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let spec = |path: &str| {
        json!({"steps": [
        {"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url(path)}}]})
    };
    let first = rig.flow("f", spec("/one")).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    let second = rig.next_release("f", spec("/two")).await;
    assert_ne!(first, second);
    rig.decide("alice", "r-review", "Approve").await;
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(status_of(&run).release.as_ref().unwrap().name, first);
    assert_eq!((shop.asked("/one").len(), shop.asked("/two").len()), (1, 0));
    rig.start("r2", json!({"flow": "f"})).await;
    rig.until::<Approval>("r2-review", |_| true).await;
    rig.decide("alice", "r2-review", "Approve").await;
    rig.phase("r2", "Succeeded").await;
    assert_eq!(shop.asked("/two").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_release_stays_until_the_run_that_uses_it_has_ended() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let spec = |title: &str| json!({"steps": [{"name": "review", "approval": {"title": title}}]});
    let first = rig.flow("f", spec("one?")).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.next_release("f", spec("two?")).await;
    let releases = rig.api::<Release>();
    releases.delete(&first, &DeleteParams::default()).await.unwrap();
    rig.event(&first, "InUse").await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    rig.until_gone::<Release>(&first).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_is_deleted_lets_its_runs_end() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    if !rig.server.can_test("runs: that a release goes with its flow") {
        return;
    }
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    let release = rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    let flows = rig.api::<Flow>();
    flows.delete("f", &DeleteParams::default()).await.unwrap();
    rig.until_gone::<Flow>("f").await;
    rig.until::<Release>(&release, |release| release.metadata.deletion_timestamp.is_some())
        .await;
    operator.stop().await;

    let operator = rig.operator().await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/x").len(), 1);
    rig.until_gone::<Release>(&release).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_stops_and_closes_its_question() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.patch_run("r", json!({"cancel": true})).await;
    rig.phase("r", "Cancelled").await;
    rig.until::<Approval>("r-review", |approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase.to_string() == "Cancelled")
    })
    .await;
    let late = rig.decide("alice", "r-review", "Approve").await;
    assert_eq!(rig.judged(&late).await.1, "Cancelled");
    assert!(shop.asked("/x").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_run_starts_no_step_until_it_is_resumed() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.patch_run("r", json!({"suspend": true})).await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.until::<Run>("r", |run| step(run, "review")["outcome"] == "Approved")
        .await;
    assert!(shop.asked("/x").is_empty());
    rig.patch_run("r", json!({"suspend": false})).await;
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/x").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_run_stops_its_work_and_takes_its_question_with_it() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    if !rig.server.can_test("runs: that a question goes with its run") {
        return;
    }
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.delete_run("r").await;
    rig.until_gone::<Approval>("r-review").await;
    assert!(shop.asked("/x").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_where_it_was_under_the_next_operator() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    operator.kill().await;
    rig.decide("alice", "r-review", "Approve").await;
    let operator = rig.operator().await;
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/x").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_left_open_by_a_run_that_has_ended_is_closed_at_the_next_start() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("ended", json!({"flow": "f"})).await;
    rig.start("waits", json!({"flow": "f"})).await;
    for run in ["ended", "waits"] {
        rig.phase(run, "Waiting").await;
        rig.until::<Approval>(&format!("{run}-review"), |_| true).await;
    }
    operator.stop().await;
    // as an operator leaves it that was killed between the end of the run and closing its question
    let ended = Patch::Merge(json!({"status": {"phase": "Cancelled"}}));
    Api::<Run>::namespaced(rig.operator_client(), rig.namespace())
        .patch_status("ended", &PatchParams::default(), &ended)
        .await
        .unwrap();
    let operator = rig.operator().await;
    let closed = rig
        .until::<Approval>("ended-review", |approval| {
            approval
                .status
                .as_ref()
                .is_some_and(|status| status.phase.is_closed())
        })
        .await;
    let status = closed.status.unwrap();
    assert_eq!(status.phase, ApprovalPhase::Cancelled);
    assert_eq!(status.message.as_deref(), Some("the run has ended"));
    rig.decide("alice", "waits-review", "Approve").await;
    rig.phase("waits", "Succeeded").await;
    operator.stop().await;
}
