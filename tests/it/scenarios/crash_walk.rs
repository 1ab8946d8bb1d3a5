//! The operator is cut off from the API server at its n-th write, for every n, and another one takes over.
//!
//! Whatever the write was, and whether or not it was applied: the run ends as it would have, a call that must not be repeated is made
//! at most once (or a person is asked), a repeated call carries the same key, and no decision is lost.

use serde_json::{Value, json};
use signoff_api::{
    Approval, Run,
    run::{StepOutcome, StepPhase},
};

use crate::support::{
    faults::{Cut, cut, cut_at_each_write},
    rig::{Rig, eventually},
    shop::Shop,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_loses_nothing() {
    cut_at_each_write(Cut::Before, 5, one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_loses_nothing() {
    cut_at_each_write(Cut::After, 5, one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_of_a_run_that_is_cancelled_keeps_what_was_paid() {
    cut_at_each_write(Cut::Before, 3, one_cancelled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_of_a_run_that_is_cancelled_keeps_what_was_paid() {
    cut_at_each_write(Cut::After, 3, one_cancelled).await;
}

/// Plays one run that is cancelled while its payment is under way. Says whether the cut was reached.
async fn one_cancelled(at: Cut) -> bool {
    const QUESTION: &str = "r-pay-outcome";
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let held = shop.hold("/pay");
    let pay = json!({"name": "pay", "delivery": "AtMostOnce", "timeout": "5m",
        "http": {"method": "POST", "url": shop.url("/pay"), "body": {}}});
    let then = json!({"name": "thank", "http": {"method": "POST", "url": shop.url("/thank"), "body": {}}});
    rig.flow("f", json!({"steps": [pay, then]})).await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        // a crash between the intent and the call has a person asked instead
        tokio::select! {
            () = eventually("the payment was asked for", || !shop.asked("/pay").is_empty()) => {}
            _ = rig.until_ever::<Approval>(QUESTION) => {}
        }
        rig.patch_run("r", json!({"cancel": true})).await;
        let answer = async {
            let question = rig.until_ever::<Approval>(QUESTION).await;
            let spec = json!({"approval": QUESTION, "digest": question.spec.digest, "verdict": "Approve",
                "values": {"happened": !shop.asked("/pay").is_empty()}});
            rig.decide_with("alice", spec).await.unwrap();
            std::future::pending::<()>().await;
        };
        let settle = async {
            rig.until::<Run>("r", |run| {
                run.status.as_ref().is_some_and(|status| status.ending.is_some())
            })
            .await;
            held.cancel();
            answer.await;
        };
        tokio::select! {
            _ = rig.phase("r", "Cancelled") => {}
            () = settle => {}
        }
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Cancelled").await;
    second.stop().await;

    let asked_a_person = rig.is_asked(QUESTION).await;
    let paid = shop.asked("/pay").len();
    let steps = run.status.unwrap().steps;
    let step = steps.iter().find(|step| step.name == "pay").unwrap();
    match paid {
        0 => assert!(asked_a_person, "{at:?}: {step:?}"),
        1 => assert_eq!(step.phase, StepPhase::Succeeded, "{at:?}: {step:?}"),
        _ => panic!("{at:?}: paid {paid} times"),
    }
    assert!(shop.asked("/thank").is_empty(), "{at:?}");
    reached
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn one(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let steps = json!([
        {"name": "quote", "http": {"method": "POST", "url": shop.url("/quote"), "body": {"n": 1}}},
        {"name": "review", "approval": {"title": "go?"}},
        {"name": "pay", "delivery": "AtMostOnce", "http": {"method": "POST", "url": shop.url("/pay"),
            "body": {"url": "${callback('settled').url}"}}},
        {"name": "settled", "wait": {"callback": {}}},
        {"name": "thank", "http": {"method": "POST", "url": shop.url("/thank"), "body": {}}},
    ]);
    rig.flow(
        "f",
        json!({"steps": steps, "output": {"got": "${steps.settled.output}"}}),
    )
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
    let paid = shop.asked("/pay").len();
    assert!(
        paid == 1 || (paid == 0 && asked_a_person),
        "{at:?}: paid {paid} times, asked: {asked_a_person}"
    );
    for path in ["/quote", "/thank"] {
        let asked = shop.asked(path);
        assert!(!asked.is_empty(), "{at:?}: {path} was never called");
        assert!(
            asked
                .iter()
                .all(|one| one.idempotency_key == asked[0].idempotency_key),
            "{at:?}: {path} {asked:?}"
        );
    }
    let status = run.status.unwrap();
    assert_eq!(status.output.unwrap().0, json!({"got": {"receipt": 1}}), "{at:?}");
    let review = status.steps.iter().find(|step| step.name == "review").unwrap();
    assert_eq!(review.decision.as_ref().unwrap().by, ["alice"], "{at:?}");
    reached
}

/// What people and the outside do, whichever operator is there to see it.
async fn play(rig: &Rig, shop: &Shop) {
    rig.until::<Approval>("r-review", |_| true).await;
    rig.decide("alice", "r-review", "Approve").await;
    let settle = async {
        let paid = async { eventually("the payment was asked for", || !shop.asked("/pay").is_empty()).await };
        paid.await;
        callback(rig, shop).await;
    };
    tokio::select! {
        _ = rig.phase("r", "Succeeded") => {}
        () = async { tokio::join!(settle, answer_outcome(rig, shop)); } => {}
    }
}

/// Says what happened, if it is asked.
async fn answer_outcome(rig: &Rig, shop: &Shop) {
    let approval = rig.until_ever::<Approval>("r-pay-outcome").await;
    let happened = !shop.asked("/pay").is_empty();
    let spec = json!({"approval": "r-pay-outcome", "digest": approval.spec.digest, "verdict": "Approve",
        "values": {"happened": happened, "output": "{}"}});
    rig.decide_with("alice", spec).await.unwrap();
    std::future::pending::<()>().await;
}

/// Calls back until a gateway has taken it.
async fn callback(rig: &Rig, shop: &Shop) {
    let path = shop.asked("/pay")[0].body["url"].as_str().unwrap().to_owned();
    let token = path.rsplit('/').next().unwrap().to_owned();
    rig.call_back(&token, r#"{"receipt":1}"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_of_a_run_that_goes_on_after_a_no_runs_its_last_steps() {
    cut_at_each_write(Cut::Before, 4, one_to_its_last_steps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_of_a_run_that_goes_on_after_a_no_runs_its_last_steps() {
    cut_at_each_write(Cut::After, 4, one_to_its_last_steps).await;
}

/// Plays one run that is rejected, goes on, and tells how it ended. Says whether the cut was reached.
async fn one_to_its_last_steps(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let post = |path: &str, body: Value| json!({"method": "POST", "url": shop.url(path), "body": body});
    let steps = json!([
        {"name": "review", "approval": {"title": "go?", "onReject": {"outcome": "Continue"}}},
        {"name": "pay", "when": "${steps.review.outcome == 'Approved'}", "delivery": "AtMostOnce", "http": post("/pay", json!({}))},
        {"name": "sorry", "when": "${steps.review.outcome == 'Rejected'}", "http": post("/sorry", json!({}))},
    ]);
    let last = json!([
        {"name": "tell", "http": post("/tell", json!({"outcome": "${run.outcome}", "paid": "${steps.pay.outcome}"}))},
        {"name": "clean", "http": post("/clean", json!({}))},
    ]);
    rig.flow("f", json!({"steps": steps, "finally": last})).await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        rig.until::<Approval>("r-review", |_| true).await;
        rig.decide("alice", "r-review", "Reject").await;
        rig.phase("r", "Succeeded").await;
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;

    assert!(shop.asked("/pay").is_empty(), "{at:?}");
    for (path, body) in [
        ("/sorry", json!({})),
        ("/tell", json!({"outcome": "Succeeded", "paid": "Skipped"})),
        ("/clean", json!({})),
    ] {
        let asked = shop.asked(path);
        assert!(!asked.is_empty(), "{at:?}: {path} was never called");
        for one in &asked {
            assert_eq!(one.body, body, "{at:?}: {path}");
            assert_eq!(one.idempotency_key, asked[0].idempotency_key, "{at:?}: {path}");
        }
    }
    let status = run.status.unwrap();
    let review = status.steps.iter().find(|step| step.name == "review").unwrap();
    assert_eq!(review.outcome, Some(StepOutcome::Rejected), "{at:?}");
    assert_eq!(review.decision.as_ref().unwrap().by, ["alice"], "{at:?}");
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_any_write_of_a_loop_repeats_no_pass_under_another_key() {
    cut_at_each_write(Cut::Before, 5, one_loop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_write_of_a_loop_repeats_no_pass_under_another_key() {
    cut_at_each_write(Cut::After, 5, one_loop).await;
}

/// Plays one run that polls, and then drafts and pays twice. Says whether the cut was reached.
async fn one_loop(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    let post = |path: &str, body: Value| json!({"method": "POST", "url": shop.url(path), "body": body});
    let steps = json!([
        {"name": "poll", "http": post("/poll", json!({"pass": "${steps.poll.pass}"})),
            "repeat": {"until": "${steps.poll.pass == 2}", "every": "1s"}},
        {"name": "draft", "http": post("/draft", json!({"pass": "${steps.draft.pass}"}))},
        {"name": "pay", "delivery": "AtMostOnce", "http": post("/pay", json!({})),
            "onFailure": {"outcome": "Continue"},
            "repeat": {"from": "draft", "until": "${steps.pay.pass == 2}"}},
    ]);
    rig.flow("f", json!({"steps": steps})).await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let story = async {
        // whether a payment happened is answered as it is
        let mut told = std::collections::BTreeSet::new();
        loop {
            let run = rig
                .until::<Run>("r", |run| {
                    let status = run.status.clone().unwrap_or_default();
                    let open = status
                        .steps
                        .iter()
                        .filter(|step| step.phase == StepPhase::Waiting);
                    let mut open = open.filter_map(|step| step.approval.clone());
                    status.phase.is_finished() || open.any(|name| !told.contains(&name))
                })
                .await;
            let status = run.status.unwrap();
            if status.phase.is_finished() {
                return;
            }
            let asked: Vec<_> = status
                .steps
                .iter()
                .filter(|step| step.phase == StepPhase::Waiting)
                .collect();
            for step in asked {
                let Some(name) = step.approval.clone().filter(|name| told.insert(name.clone())) else {
                    continue;
                };
                let question = rig.until_ever::<Approval>(&name).await;
                let happened = shop.asked("/pay").len() >= usize::try_from(step.iteration).unwrap();
                let spec = json!({"approval": name, "digest": question.spec.digest, "verdict": "Approve",
                    "values": {"happened": happened}});
                rig.decide_with("alice", spec).await.unwrap();
            }
        }
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;

    for (path, passes) in [("/poll", 2), ("/draft", 2), ("/pay", 2)] {
        let mut keys: Vec<_> = shop
            .asked(path)
            .into_iter()
            .map(|one| one.idempotency_key)
            .collect();
        if path == "/pay" {
            assert_eq!(keys.len(), passes, "{at:?}: paid once in each pass");
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), passes, "{at:?}: {path}: {keys:?}");
    }
    let steps = run.status.unwrap().steps;
    assert!(steps.len() <= 6, "{at:?}: {steps:#?}");
    reached
}
