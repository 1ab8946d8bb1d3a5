//! Where steps call is part of what people decide on: an editor cannot turn it elsewhere below a question, or after the answer.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use signoff_api::{Approval, ApprovalPhase, Connection, Run};

use crate::support::{
    rig::{Rig, Running, eventually},
    shop::Shop,
};

/// A run `r` that asks before it pays through the Connection `shop`, and waits for a callback between both.
async fn asking() -> (Rig, Shop, Running) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "shop"},
        "spec": {"http": {"baseURL": shop.url("")}}});
    let connection: Connection = serde_json::from_value(connection).unwrap();
    rig.api::<Connection>()
        .create(&PostParams::default(), &connection)
        .await
        .unwrap();
    let operator = rig.operator().await;
    let steps = json!([
        {"name": "tell", "http": {"method": "POST", "connection": "shop", "path": "/tell", "body": {"url": "${callback('pause').url}"}}},
        {"name": "review", "approval": {"title": "go?"}},
        {"name": "pause", "wait": {"callback": {}}},
        {"name": "pay", "delivery": "AtMostOnce", "http": {"method": "POST", "connection": "shop", "path": "/pay", "body": {}}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    (rig, shop, operator)
}

async fn turn(rig: &Rig, to: &Shop) {
    let patch = Patch::Merge(json!({"spec": {"http": {"baseURL": to.url("")}}}));
    rig.api::<Connection>()
        .patch("shop", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn shown(approval: &Approval) -> Value {
    let item = approval.spec.show.iter().find(|item| item.name == "connections");
    serde_json::from_str(&item.unwrap().inline).unwrap()
}

async fn go_on(rig: &Rig, shop: &Shop) {
    let url = shop.asked("/tell")[0].body["url"].as_str().unwrap().to_owned();
    rig.call_back(url.rsplit('/').next().unwrap(), "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_turned_elsewhere_below_an_open_question_supersedes_it() {
    let (rig, shop, operator) = asking().await;
    let first = rig.asked("r-review").await;
    assert_eq!(shown(&first)[0]["address"], shop.url(""));
    let other = Shop::open().await;
    turn(&rig, &other).await;
    let next = rig.until::<Approval>("r-review-2", |_| true).await;
    assert_eq!(shown(&next)[0]["address"], other.url(""));
    assert_ne!(next.spec.digest, first.spec.digest);
    rig.until::<Approval>("r-review", |approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase == ApprovalPhase::Superseded)
    })
    .await;
    let late = rig.decide("alice", "r-review", "Approve").await;
    assert_eq!(rig.judged(&late).await.1, "Superseded");
    rig.decide("alice", "r-review-2", "Approve").await;
    go_on(&rig, &shop).await;
    rig.phase("r", "Succeeded").await;
    assert_eq!((shop.asked("/pay").len(), other.asked("/pay").len()), (0, 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_turned_elsewhere_after_the_answer_is_not_called() {
    let (rig, shop, operator) = asking().await;
    let vote = rig.decide("alice", "r-review", "Approve").await;
    assert!(rig.judged(&vote).await.0);
    rig.until::<Run>("r", |run| {
        let steps = run.status.iter().flat_map(|status| &status.steps);
        steps.into_iter().any(|step| step.name == "pause")
    })
    .await;
    let other = Shop::open().await;
    turn(&rig, &other).await;
    go_on(&rig, &shop).await;
    let error = rig.phase("r", "Failed").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason.to_string(), "ConnectionChanged", "{error:?}");
    assert_eq!((shop.asked("/pay").len(), other.asked("/pay").len()), (0, 0));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_limits_is_called_so_often_at_a_time_and_runs_take_turns() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "shop"},
        "spec": {"limits": {"maxParallel": 2}, "http": {"baseURL": shop.url("")}}});
    let connection: Connection = serde_json::from_value(connection).unwrap();
    let connections = rig.api::<Connection>();
    connections
        .create(&PostParams::default(), &connection)
        .await
        .unwrap();
    let operator = rig.operator().await;
    let items = json!({"items": [0, 1, 2, 3, 4, 5], "maxParallel": 6});
    let call = |path: &str| json!({"method": "POST", "connection": "shop", "path": path, "body": {}});
    let many = json!([{"name": "many", "forEach": items, "http": call("/many"), "timeout": "60s"}]);
    rig.flow("many", json!({"steps": many})).await;
    rig.flow("one", json!({"steps": [{"name": "one", "http": call("/one")}]}))
        .await;
    let held = shop.hold("/many");
    rig.start("r", json!({"flow": "many"})).await;
    eventually("two calls are made", || shop.asked("/many").len() == 2).await;
    rig.start("s", json!({"flow": "one"})).await;
    let told = |run: &Run| {
        let status = run.status.as_ref();
        let waiting_on = status.and_then(|status| status.waiting_on.as_deref());
        waiting_on.is_some_and(|waits| waits.contains("the Connection shop, which has limits"))
    };
    rig.until::<Run>("s", told).await;
    assert_eq!((shop.asked("/many").len(), shop.asked("/one").len()), (2, 0));
    // a run that is cancelled waits no more
    rig.start("t", json!({"flow": "one"})).await;
    rig.until::<Run>("t", |run| run.status.is_some()).await;
    rig.patch_run("t", json!({"cancel": true})).await;
    rig.phase("t", "Cancelled").await;
    held.cancel();
    for name in ["s", "r"] {
        rig.phase(name, "Succeeded").await;
    }
    assert_eq!((shop.asked("/many").len(), shop.asked("/one").len()), (6, 1));
    operator.stop().await;
}
