//! Runs that are retried, and who stops a run and why.

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use signoff_api::{Approval, Run, RunPhase};

use crate::support::{
    rig::Rig,
    shop::{Answer, Shop},
};

/// A run `r` whose payment succeeded and whose shipping failed.
async fn failed(rig: &Rig, shop: &Shop) -> Run {
    let call = |name: &str| json!({"method": "POST", "url": shop.url(name), "body": {"order": 81}});
    let steps = json!([
        {"name": "review", "approval": {"title": "Pay?", "selfApproval": true}},
        {"name": "pay", "delivery": "AtMostOnce", "http": call("/pay")},
        {"name": "ship", "http": call("/ship")},
    ]);
    let inputs = json!({"type": "object", "properties": {"order": {"type": "integer"}}});
    rig.flow("f", json!({"inputs": inputs, "steps": steps})).await;
    shop.will_answer([
        Answer::Status(200, json!({"receipt": 1})),
        Answer::Status(400, json!({})),
    ]);
    rig.start("r", json!({"flow": "f", "inputs": {"order": 81}}))
        .await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Failed").await
}

fn retry(run: &Run, from: &str) -> Value {
    let release = run
        .status
        .as_ref()
        .and_then(|status| status.release.clone())
        .unwrap();
    json!({"flow": "f", "release": release.name, "inputs": run.spec.inputs,
        "retryOf": {"run": "r", "from": from}})
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_retry_a_run_one_goes_on_and_what_was_paid_is_not_paid_again() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let run = failed(&rig, &shop).await;
    let (first, second) = tokio::join!(
        rig.start("again", retry(&run, "ship")),
        rig.start("other", retry(&run, "ship"))
    );
    drop((first, second));
    let has_begun = |run: &Run| {
        let status = run.status.clone().unwrap_or_default();
        status.retry.is_some() || status.phase.is_finished()
    };
    let again = rig.until::<Run>("again", has_begun).await;
    let other = rig.until::<Run>("other", has_begun).await;
    let refused = |run: &Run| {
        run.status
            .as_ref()
            .is_some_and(|status| status.phase == RunPhase::Failed)
    };
    assert_ne!(refused(&again), refused(&other), "{again:#?} {other:#?}");
    let (winner, loser) = if refused(&other) {
        ("again", other)
    } else {
        ("other", again)
    };
    let error = loser.status.unwrap().error.unwrap();
    assert_eq!(error.reason.to_string(), "RetryRefused");
    assert_eq!(error.message, format!("run r is retried by run {winner} already"));
    let earlier = rig.until::<Run>("r", |_| true).await.status.unwrap();
    assert_eq!(earlier.retried_by.as_deref(), Some(winner));

    let question = rig.question(&format!("{winner}-review")).await;
    let asked = rig.until::<Approval>(&question, |_| true).await;
    let before = asked.spec.show.iter().find(|item| item.name == "approved-before");
    assert!(before.unwrap().inline.contains("alice"), "{asked:#?}");
    assert_eq!(shop.asked("/ship").len(), 1, "people decide first");
    rig.decide("bob", &question, "Approve").await;
    rig.phase(winner, "Succeeded").await;
    assert_eq!(shop.asked("/pay").len(), 1);
    let keys: Vec<String> = shop
        .asked("/ship")
        .into_iter()
        .map(|asked| asked.idempotency_key)
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "the other side can tell that it is the same");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_cannot_be_says_why_and_keeps_no_other_from_it() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let run = failed(&rig, &shop).await;
    let mut elsewhere = retry(&run, "ship");
    elsewhere["retryOf"]["run"] = json!("nobody");
    let mut other_inputs = retry(&run, "ship");
    other_inputs["inputs"] = json!({"order": 82});
    for (name, spec, message) in [
        ("w1", retry(&run, "pay"), "must not be repeated"),
        ("w2", retry(&run, "nowhere"), "no step nowhere"),
        ("w3", elsewhere, "there is no run nobody"),
        ("w4", other_inputs, "had other inputs"),
    ] {
        rig.start(name, spec).await;
        let error = rig.phase(name, "Failed").await.status.unwrap().error.unwrap();
        assert_eq!(error.reason.to_string(), "RetryRefused");
        assert!(error.message.contains(message), "{}", error.message);
    }
    rig.start("again", retry(&run, "ship")).await;
    rig.decide("bob", "again-review", "Approve").await;
    rig.phase("again", "Succeeded").await;
    assert_eq!(shop.asked("/pay").len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_who_stopped_it_and_why_and_nobody_stops_one_in_anothers_name() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", json!({"steps": [{"name": "a", "wait": {"callback": {}}}]}))
        .await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Waiting").await;
    let runs: Api<Run> = Api::namespaced(rig.client("dev"), rig.namespace());
    let patch = async |spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        runs.patch("r", &PatchParams::default(), &patch).await
    };
    for (spec, message) in [
        (
            json!({"cancel": true, "stoppedBy": "alice"}),
            "nobody can stop a run in another's name",
        ),
        (
            json!({"stopMessage": "because"}),
            "are set together with spec.cancel",
        ),
        (json!({"terminate": true}), "takes the verb terminate"),
    ] {
        let refused = patch(spec).await.unwrap_err().to_string();
        assert!(refused.contains(message), "{refused}");
    }
    let mut stop = json!({"cancel": true, "stopMessage": "wrong\u{202e} order"});
    if !rig.stamps() {
        stop["stoppedBy"] = json!("dev");
    }
    patch(stop).await.unwrap();
    let run = rig.phase("r", "Cancelled").await;
    assert_eq!(run.spec.stopped_by.as_deref(), Some("dev"));
    let error = run.status.unwrap().error.unwrap();
    assert_eq!(
        error.message,
        "the run was cancelled by dev: wrong\\u{202e} order"
    );
    let later = patch(json!({"stopMessage": "something else"})).await.unwrap_err();
    assert!(later.to_string().contains("do not change after it"), "{later}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_retry_is_gone_is_not_retried_again_also_not_under_the_same_name() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let run = failed(&rig, &shop).await;
    let first = rig.start("again", retry(&run, "ship")).await;
    let took_over = |run: &Run| run.status.as_ref().is_some_and(|status| status.retry.is_some());
    rig.until::<Run>("again", took_over).await;
    rig.patch_run("again", json!({"cancel": true})).await;
    rig.phase("again", "Cancelled").await;
    let earlier = rig.until::<Run>("r", |_| true).await.status.unwrap();
    assert_eq!(earlier.retried_by_uid, first.metadata.uid);
    rig.delete_run("again").await;
    rig.until_gone::<Run>("again").await;
    for name in ["again", "other"] {
        rig.start(name, retry(&run, "ship")).await;
        let refused = rig.phase(name, "Failed").await;
        let error = refused.status.unwrap().error.unwrap();
        assert_eq!(error.reason.to_string(), "RetryRefused", "{name}");
        assert_eq!(error.message, "run r is retried by run again already", "{name}");
    }
    assert_eq!(shop.asked("/ship").len(), 1);
    operator.stop().await;
}
