//! Approvals whose approvers, quorum, deadline and form come from data, on the API server.

use serde_json::{Value, json};
use signoff_api::{Approval, run::StepOutcome};

use crate::support::{
    rig::{Rig, Running},
    shop::Shop,
};

/// A run `r` of `dev` with a step that gives the data, the approval `review`, and a call.
async fn started(data: Value, approval: Value) -> (Rig, Shop, Running) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let mut review = json!({"title": "go?"});
    review
        .as_object_mut()
        .unwrap()
        .extend(approval.as_object().unwrap().clone());
    let steps = json!([
        {"name": "data", "set": data},
        {"name": "review", "approval": review},
        {"name": "call", "http": {"url": shop.url("/x")}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    (rig, shop, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn those_whom_data_names_decide_and_nobody_else() {
    let data = json!({"owners": ["alice", "bob"], "many": 2, "within": "2h"});
    let approval = json!({
        "approvers": {"users": ["${steps.data.output.owners}", "${run.?requestedBy}"], "exclude": ["DEV"]},
        "quorum": "${steps.data.output.many}", "respondWithin": "${steps.data.output.within}",
        "selfApproval": true, "remindEvery": "1h", "verdicts": ["Approve"],
    });
    let (rig, shop, operator) = started(data, approval).await;
    rig.until::<Approval>("r-review", |approval| approval.status.is_some())
        .await;
    let spec = rig.asked("r-review").await.spec;
    assert_eq!(spec.approvers.as_ref().unwrap().users, ["alice", "bob", "dev"]);
    assert_eq!((spec.quorum, spec.expires_at.is_some()), (2, true));
    let excluded = rig.decide("dev", "r-review", "Approve").await;
    assert_eq!(rig.judged(&excluded).await.1, "NotAnApprover");
    let no = rig.decide("alice", "r-review", "Reject").await;
    assert_eq!(rig.judged(&no).await.1, "VerdictNotOffered");
    for user in ["alice", "bob"] {
        let yes = rig.decide(user, "r-review", "Approve").await;
        assert!(rig.judged(&yes).await.0);
    }
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/x").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_the_api_server_that_data_names_fails_the_step_and_nobody_is_asked() {
    let data = json!({"groups": ["finance", "system:masters"]});
    let approval = json!({"approvers": {"groups": ["${steps.data.output.groups}"]}});
    let (rig, shop, operator) = started(data, approval).await;
    let run = rig.phase("r", "Failed").await;
    let status = run.status.unwrap();
    let error = status.error.unwrap();
    assert_eq!(error.reason.to_string(), "InvalidApprovers");
    assert!(error.message.contains("system:masters"), "{}", error.message);
    assert!(status.steps[1].approval.is_none());
    assert!(shop.asked("/x").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_data_offers_is_what_may_be_filled_in() {
    let data = json!({"tags": ["fast", "cheap"]});
    let approval = json!({"form": {"type": "object", "required": ["tags"], "properties": {
        "tags": {"type": "array", "uniqueItems": true, "items": {"type": "string", "enum": "${steps.data.output.tags}"}}}}});
    let (rig, shop, operator) = started(data, approval).await;
    rig.until::<Approval>("r-review", |approval| approval.status.is_some())
        .await;
    let spec = rig.asked("r-review").await.spec;
    let form = spec.form.unwrap().0;
    assert_eq!(
        form["properties"]["tags"]["items"]["enum"],
        json!(["fast", "cheap"])
    );
    let with = |tags: Value| json!({"approval": "r-review", "digest": spec.digest, "verdict": "Approve", "values": {"tags": tags}});
    for bad in [json!(["slow"]), json!("fast"), json!(["fast", "fast"])] {
        let decision = rig.decide_with("alice", with(bad)).await.unwrap();
        assert_eq!(rig.judged(&decision).await.1, "InvalidValues");
    }
    let decision = rig.decide_with("alice", with(json!(["cheap"]))).await.unwrap();
    assert!(rig.judged(&decision).await.0);
    let run = rig.phase("r", "Succeeded").await;
    let step = &run.status.unwrap().steps[1];
    assert_eq!(step.outcome, Some(StepOutcome::Approved));
    let values = step.decision.clone().unwrap().values.unwrap().to_value();
    assert_eq!(values, json!({"tags": ["cheap"]}));
    assert_eq!(shop.asked("/x").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_and_somebody_else_approved_is_what_is_sent() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let draft = json!({"name": "draft", "value": "hello", "mediaType": "text/markdown",
        "editable": {"schema": {"type": "string", "maxLength": 10}}});
    let steps = json!([
        {"name": "review", "approval": {"title": "send it?", "show": [draft]}},
        {"name": "send", "http": {"url": shop.url("/x"), "method": "POST", "body": {"text": "${steps.review.decision.shown.draft}"}}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |approval| approval.status.is_some())
        .await;
    let digest = rig.asked("r-review").await.spec.digest;
    let with = |draft: &str| json!({"approval": "r-review", "digest": digest, "verdict": "Approve", "shown": {"draft": draft}});
    let too_long = rig
        .decide_with("alice", with("hello, dear customer"))
        .await
        .unwrap();
    assert_eq!(rig.judged(&too_long).await.1, "InvalidValues");
    let changed = rig.decide_with("alice", with("hi")).await.unwrap();
    assert_eq!(rig.judged(&changed).await.1, "AmendmentProposed");
    let status = rig.asked("r-review").await.status.unwrap();
    assert_eq!(status.amendment.unwrap().by, "alice");
    let again = rig.decide_with("alice", with("hi")).await.unwrap();
    assert!(!rig.judged(&again).await.0, "alice changed it");
    let approved = rig.decide_with("bob", with("hi")).await.unwrap();
    assert!(rig.judged(&approved).await.0);
    let run = rig.phase("r", "Succeeded").await;
    let decision = run.status.unwrap().steps[0].decision.clone().unwrap();
    assert_eq!(decision.by, ["bob"]);
    assert_eq!(decision.shown.unwrap().to_value(), json!({"draft": "hi"}));
    assert_eq!(shop.asked("/x").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_is_taken_back_and_handed_on_to_somebody_with_the_verb() {
    let approval = json!({"approvers": {"users": ["alice"]}, "delegate": true});
    let (rig, shop, operator) = started(json!({}), approval).await;
    rig.until::<Approval>("r-review", |approval| approval.status.is_some())
        .await;
    let digest = rig.asked("r-review").await.spec.digest;
    let with = |verdict: &str, to: Option<&str>| json!({"approval": "r-review", "digest": digest, "verdict": verdict, "to": to});
    let nothing = rig.decide("alice", "r-review", "Withdraw").await;
    assert_eq!(rig.judged(&nothing).await.1, "NothingToWithdraw");
    let early = rig.decide("bob", "r-review", "Approve").await;
    assert_eq!(rig.judged(&early).await.1, "NotAnApprover");
    let to_requester = rig
        .decide_with("alice", with("Delegate", Some("dev")))
        .await
        .unwrap();
    assert_eq!(rig.judged(&to_requester).await.1, "InvalidDelegation");
    // the API server refuses what names nobody, or somebody for nothing
    assert!(rig.decide_with("alice", with("Delegate", None)).await.is_err());
    assert!(
        rig.decide_with("alice", with("Approve", Some("bob")))
            .await
            .is_err()
    );
    let handed = rig
        .decide_with("alice", with("Delegate", Some("bob")))
        .await
        .unwrap();
    assert!(rig.judged(&handed).await.0);
    let hop = rig.asked("r-review").await.status.unwrap().delegations.remove(0);
    assert_eq!((hop.from.as_str(), hop.to.as_str()), ("alice", "bob"));
    let yes = rig.decide("bob", "r-review", "Approve").await;
    assert!(rig.judged(&yes).await.0);
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/x").len(), 1);
    operator.stop().await;
}
