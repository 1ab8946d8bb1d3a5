//! An Approval that the operator has not put is no question of ours, however it looks.

use kube::{
    ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use signoff_api::{Approval, Decision, Run, names};

use crate::support::{
    rig::{Rig, eventually},
    shop::Shop,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_somebody_else_put_under_the_name_of_ours_is_not_ours() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let held = shop.hold("/quote");
    let steps = json!([
        {"name": "quote", "http": {"method": "POST", "url": shop.url("/quote"), "body": {}}},
        {"name": "review", "approval": {"title": "go?", "approvers": {"groups": ["finance"]}}},
        {"name": "pay", "http": {"method": "POST", "url": shop.url("/pay"), "body": {}}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    // what the question looks like is seen on another run of the flow
    held.cancel();
    rig.start("other", json!({"flow": "f"})).await;
    let like = rig.until::<Approval>("other-review", |_| true).await;
    let held = shop.hold("/quote");
    let run = rig.start("r", json!({"flow": "f"})).await;
    eventually("the quote was asked for", || shop.asked("/quote").len() == 2).await;
    let mut spec = serde_json::to_value(&like.spec).unwrap();
    spec["subject"]["run"] = json!("r");
    spec["approvers"] = json!({"users": ["bob"]});
    let name = names::approval_name("r", &run.uid().unwrap(), "review", 1, None);
    let owner = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "name": "r", "uid": run.uid(), "controller": true});
    let forged = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "spec": spec,
        "metadata": {"name": name, "ownerReferences": [owner]}});
    let forged: Approval = serde_json::from_value(forged).unwrap();
    // the admission policies let nobody but the operator make one; what came before they were installed stays
    let refused = rig
        .api::<Approval>()
        .create(&PostParams::default(), &forged)
        .await;
    assert!(refused.is_err_and(|error| error.to_string().contains("created only by the operator")));
    let approvals = rig.server.operators::<Approval>();
    approvals.create(&PostParams::default(), &forged).await.unwrap();
    held.cancel();
    rig.event("r", "ApprovalNotOurs").await;
    let vote = rig.decide("bob", &name, "Approve").await;
    rig.until::<Approval>(&name, |approval| {
        let status = approval.status.clone().unwrap_or_default();
        status
            .conditions
            .iter()
            .any(|condition| condition.reason == "NotAsked")
    })
    .await;
    rig.phase("r", "Waiting").await;
    let judged = rig.api::<Decision>().get(&vote.name_any()).await.unwrap().status;
    assert!(judged.is_none(), "{judged:?}");
    assert!(shop.asked("/pay").is_empty());

    // no account may delete evidence on a real server
    if rig.server.gateway().is_some() {
        operator.stop().await;
        return;
    }
    // once it is gone the run asks, and the vote on the other one is on nothing
    approvals.delete(&name, &DeleteParams::default()).await.unwrap();
    rig.until::<Approval>(&name, |approval| {
        approval.uid() != forged.uid()
            && approval.spec.requested_by.as_deref() == Some("dev")
            && approval
                .spec
                .approvers
                .as_ref()
                .is_some_and(|list| list.users.is_empty())
    })
    .await;
    rig.decide("alice", &name, "Approve").await;
    let run: Run = rig.phase("r", "Succeeded").await;
    let review = run
        .status
        .unwrap()
        .steps
        .into_iter()
        .find(|step| step.name == "review")
        .unwrap();
    assert_eq!(review.decision.unwrap().by, ["alice"]);
    operator.stop().await;
}
