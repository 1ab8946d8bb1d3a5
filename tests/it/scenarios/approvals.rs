//! Approvals on the embedded control plane: who counts, who does not, and who is told.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use signoff_api::{Approval, Decision, Digest};

use crate::support::{
    rig::{Rig, Running},
    shop::Shop,
};

/// A run `r` of `dev` that waits at the approval `r-review`, with further words for the approval step.
async fn waiting(more: serde_json::Value) -> (Rig, Shop, Running) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let mut approval = json!({"title": "go?"});
    approval
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let steps =
        json!([{"name": "review", "approval": approval}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    (rig, shop, operator)
}

fn phase_is(phase: &'static str) -> impl Fn(&Approval) -> bool + Send {
    move |approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase.to_string() == phase)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deciders_at_once_one_decides_and_the_other_is_told_who() {
    let (rig, shop, operator) = waiting(json!({})).await;
    let (one, two) = tokio::join!(
        rig.decide("alice", "r-review", "Approve"),
        rig.decide("bob", "r-review", "Reject")
    );
    let (one, two) = (rig.judged(&one).await, rig.judged(&two).await);
    assert_ne!(one.0, two.0, "exactly one counts: {one:?} {two:?}");
    let (loser, winner) = if one.0 {
        (two, "alice approved at ")
    } else {
        (one, "bob rejected at ")
    };
    assert_eq!(loser.1, "AlreadyDecided");
    assert!(loser.2.contains(winner), "{}", loser.2);
    let phase = if winner.starts_with("alice") {
        "Succeeded"
    } else {
        "Rejected"
    };
    rig.phase("r", phase).await;
    assert_eq!(shop.asked("/x").len(), usize::from(phase == "Succeeded"));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_that_do_not_count_say_why_and_change_nothing() {
    let (rig, shop, operator) = waiting(json!({"approvers": {"users": ["alice", "dev", "agent"]}})).await;
    let digest = rig.asked("r-review").await.spec.digest;
    let wrong = Digest::of(b"something else");
    let refused = [
        (
            "alice",
            json!({"approval": "r-review", "digest": wrong, "verdict": "Approve"}),
            "DigestMismatch",
        ),
        (
            "dev",
            json!({"approval": "r-review", "digest": digest, "verdict": "Approve"}),
            "SelfApproval",
        ),
        (
            "bob",
            json!({"approval": "r-review", "digest": digest, "verdict": "Approve"}),
            "NotAnApprover",
        ),
        (
            "alice",
            json!({"approval": "r-review", "digest": digest, "verdict": "RequestChanges"}),
            "VerdictNotOffered",
        ),
        (
            "alice",
            json!({"approval": "nothing", "digest": digest, "verdict": "Approve"}),
            "ApprovalNotFound",
        ),
    ];
    for (user, spec, reason) in refused {
        let decision = rig.decide_with(user, spec).await.unwrap();
        let judged = rig.judged(&decision).await;
        assert_eq!((judged.0, judged.1.as_str()), (false, reason), "{}", judged.2);
        rig.event(decision.metadata.name.as_deref().unwrap(), reason)
            .await;
    }
    assert!(shop.asked("/x").is_empty());
    let yes = rig.decide("alice", "r-review", "Approve").await;
    assert!(rig.judged(&yes).await.0);
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_does_not_decide() {
    let (rig, shop, operator) = waiting(json!({})).await;
    let digest = rig.asked("r-review").await.spec.digest;
    // the agent may create decisions, but lacks the verb `approve`, or is refused by the judge
    match rig
        .decide_with(
            "agent",
            json!({"approval": "r-review", "digest": digest, "verdict": "Approve"}),
        )
        .await
    {
        Ok(decision) => assert_eq!(rig.judged(&decision).await.1, "ServiceAccount"),
        Err(kube::Error::Api(status)) => assert!(matches!(status.code, 403 | 422), "{status:?}"),
        Err(error) => panic!("{error}"),
    }
    assert!(shop.asked("/x").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_counts_once_however_often_they_decide() {
    let (rig, shop, operator) = waiting(json!({"quorum": 2})).await;
    let first = rig.decide("alice", "r-review", "Approve").await;
    assert!(rig.judged(&first).await.0);
    let again = rig.decide("alice", "r-review", "Approve").await;
    rig.judged(&again).await;
    let replaced = |decision: &Decision| {
        decision
            .status
            .as_ref()
            .and_then(|status| status.reason)
            .is_some_and(|reason| format!("{reason:?}") == "Replaced")
    };
    // of two in the same second, the order is that of their uids
    let one_is_replaced = async {
        tokio::select! {
            found = rig.until::<Decision>(first.metadata.name.as_deref().unwrap(), replaced) => found,
            found = rig.until::<Decision>(again.metadata.name.as_deref().unwrap(), replaced) => found,
        }
    };
    one_is_replaced.await;
    let approval = rig.asked("r-review").await.status.unwrap();
    assert_eq!(
        (approval.phase.to_string().as_str(), approval.counted.len()),
        ("Pending", 1)
    );
    assert!(shop.asked("/x").is_empty());
    rig.decide("bob", "r-review", "Approve").await;
    let run = rig.phase("r", "Succeeded").await;
    let decision = run.status.unwrap().steps[0].decision.clone().unwrap();
    assert_eq!(decision.by, ["alice", "bob"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_time_is_not_a_rejection_and_the_late_are_told() {
    let (rig, shop, operator) = waiting(json!({"respondWithin": "1s"})).await;
    let run = rig.phase("r", "TimedOut").await;
    assert_eq!(
        serde_json::to_value(run.status.unwrap().steps[0].outcome).unwrap(),
        "TimedOut"
    );
    rig.until::<Approval>("r-review", phase_is("Expired")).await;
    let late = rig.decide("alice", "r-review", "Approve").await;
    assert_eq!(rig.judged(&late).await.1, "Expired");
    rig.event(late.metadata.name.as_deref().unwrap(), "Expired").await;
    assert!(shop.asked("/x").is_empty());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_made_in_time_counts_even_if_the_operator_sees_it_after_the_deadline() {
    let mut seconds = 3;
    // on a busy machine it may take longer to decide
    let (rig, shop, decision, deadline) = loop {
        let (rig, shop, operator) = waiting(json!({"respondWithin": format!("{seconds}s")})).await;
        operator.kill().await;
        let decision = rig.decide("alice", "r-review", "Approve").await;
        let approval = rig.asked("r-review").await;
        let deadline = approval.spec.expires_at.unwrap().0;
        if decision.metadata.creation_timestamp.as_ref().unwrap().0 < deadline {
            break (rig, shop, decision, deadline);
        }
        seconds *= 4;
    };
    let past =
        || k8s_openapi::jiff::Timestamp::now() > deadline + k8s_openapi::jiff::SignedDuration::from_secs(1);
    crate::support::rig::eventually("the deadline is past", past).await;
    let operator = rig.operator().await;
    assert!(rig.judged(&decision).await.0);
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/x").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_changes_goes_back_and_asks_anew() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let steps = json!([
        {"name": "draft", "http": {"method": "POST", "url": shop.url("/draft"), "body": {"n": 1}}},
        {"name": "review", "approval": {"title": "good?", "changes": {"backTo": "draft"}}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.decide("alice", "r-review", "RequestChanges").await;
    rig.until::<Approval>("r-review-2", |_| true).await;
    assert_eq!(shop.asked("/draft").len(), 2);
    let (first, second) = (&shop.asked("/draft")[0], &shop.asked("/draft")[1]);
    assert_ne!(
        first.idempotency_key, second.idempotency_key,
        "another iteration is another request"
    );
    rig.decide("alice", "r-review-2", "Approve").await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
}

/// Runs whose questions end soon, and deciders that answer around the end of each. Whatever the interleaving: what the server accepted before
/// the deadline counts, what it accepted later does not, and nothing is both expired and decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_races_its_deadline_counts_exactly_when_the_server_accepted_it_in_time() {
    const RACES: i64 = 24;
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let approval = json!({"title": "go?", "respondWithin": "3s", "onTimeout": {"outcome": "Continue"}});
    rig.flow("f", json!({"steps": [{"name": "review", "approval": approval}]}))
        .await;
    let races = (0..RACES).map(|number| {
        let rig = &rig;
        async move {
            let run = format!("r{number}");
            rig.start(&run, json!({"flow": "f"})).await;
            let name = format!("{run}-review");
            let question = rig.until::<Approval>(&name, |_| true).await;
            let deadline = question.spec.expires_at.as_ref().unwrap().0;
            // from 0.6 s before the deadline to 0.6 s after it
            let aim = SignedDuration::from_millis(number * 1_200 / (RACES - 1) - 600);
            let left = (deadline + aim).duration_since(Timestamp::now());
            tokio::time::sleep(left.max(SignedDuration::ZERO).unsigned_abs()).await;
            let decision = rig.decide("alice", &name, "Approve").await;
            let (counted, reason, _) = rig.judged(&decision).await;
            let accepted = decision.metadata.creation_timestamp.as_ref().unwrap().0;
            assert_eq!(
                counted,
                accepted < deadline,
                "{name}: {accepted} {deadline} {reason}"
            );
            let phase = if counted { "Approved" } else { "Expired" };
            assert_eq!(reason, if counted { "Counted" } else { "Expired" }, "{name}");
            rig.until::<Approval>(&name, phase_is(phase)).await;
            let run = rig.phase(&run, "Succeeded").await;
            let outcome = format!("{:?}", run.status.unwrap().steps[0].outcome.unwrap());
            assert_eq!(outcome, if counted { "Approved" } else { "TimedOut" }, "{name}");
        }
    });
    futures::future::join_all(races).await;
    operator.stop().await;
}
