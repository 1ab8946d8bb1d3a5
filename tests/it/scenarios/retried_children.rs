//! Retries of runs that have started runs: those go on, down every level, and what they did is not done again.

use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};
use signoff_api::{Run, RunPhase, retry::RetryOf};

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::Rig,
    shop::{Answer, Shop},
};

fn inputs() -> Value {
    json!({"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}})
}

/// A flow that runs another one and calls before it.
fn above(shop: &Shop, flow: &str, path: &str) -> Value {
    json!({"inputs": inputs(), "steps": [
        {"name": "call", "delivery": "AtMostOnce", "http": {"method": "POST", "url": shop.url(path), "body": {}}},
        {"name": "apply", "flow": {"name": flow, "inputs": {"order": "${inputs.order}"}}},
    ], "output": {"receipt": "${steps.apply.output.receipt}"}})
}

/// A flow that pays, and then ships.
fn pays(shop: &Shop) -> Value {
    json!({"inputs": inputs(), "steps": [
        {"name": "pay", "delivery": "AtMostOnce", "http": {"method": "POST", "url": shop.url("/pay"), "body": {}}},
        {"name": "ship", "http": {"method": "POST", "url": shop.url("/ship"), "body": {}}},
    ], "output": {"receipt": "${steps.pay.output.receipt}"}})
}

/// Three flows that run each other: `top`, `middle` and `bottom`, which pays.
async fn three(rig: &Rig, shop: &Shop) {
    rig.flow("bottom", pays(shop)).await;
    rig.flow("middle", above(shop, "bottom", "/middle")).await;
    rig.flow("top", above(shop, "middle", "/top")).await;
}

/// What the shop answers until shipping fails.
fn until_shipping(levels: usize) -> Vec<Answer> {
    let mut answers: Vec<Answer> = (0..levels).map(|_| Answer::Status(200, json!({}))).collect();
    answers.push(Answer::Status(200, json!({"receipt": "R1"})));
    answers.push(Answer::Status(400, json!({})));
    answers
}

/// The run that a step of a run has started.
async fn child(rig: &Rig, run: &str) -> String {
    let named = |run: &Run| {
        let steps = run.status.iter().flat_map(|status| &status.steps);
        let mut steps = steps.filter(|entry| entry.name == "apply" && entry.taken_over.is_none());
        steps.find_map(|entry| entry.run.clone())
    };
    named(&rig.until(run, |run| named(run).is_some()).await).unwrap()
}

/// What a run that retries another one says.
fn retry(run: &Run) -> Value {
    let release = run.status.as_ref().unwrap().release.clone().unwrap();
    json!({"flow": run.spec.flow, "release": release.name, "inputs": run.spec.inputs,
        "retryOf": {"run": run.name_any()}})
}

async fn failed(rig: &Rig, flow: &str) -> Run {
    rig.start("r", json!({"flow": flow, "inputs": {"order": "81"}}))
        .await;
    rig.phase("r", "Failed").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_in_the_run_two_levels_below_and_pays_nothing_again() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    three(&rig, &shop).await;
    shop.will_answer(until_shipping(2));
    let run = failed(&rig, "top").await;
    let middle = child(&rig, "r").await;
    let bottom = child(&rig, &middle).await;
    rig.start("again", retry(&run)).await;
    let run = rig.phase("again", "Succeeded").await;
    assert_eq!(run.status.unwrap().output.unwrap().0, json!({"receipt": "R1"}));
    for path in ["/top", "/middle", "/pay"] {
        assert_eq!(shop.asked(path).len(), 1, "{path}");
    }
    let shipped = shop.asked("/ship");
    assert_eq!(shipped.len(), 2);
    assert_eq!(shipped[0].idempotency_key, shipped[1].idempotency_key);
    let next_middle = child(&rig, "again").await;
    let next_bottom = child(&rig, &next_middle).await;
    for (earlier, next, of) in [(middle, next_middle, "again"), (bottom, next_bottom, "")] {
        let next = rig.api::<Run>().get(&next).await.unwrap();
        let retry_of = next.spec.retry_of.clone().unwrap();
        assert_eq!(
            retry_of,
            RetryOf {
                run: earlier.parse().unwrap(),
                from: None
            }
        );
        let chain = &next.spec.parent.as_ref().unwrap().chain;
        assert_eq!(chain.last().unwrap().run, "again");
        assert!(of.is_empty() || chain[0].run == of);
        let earlier = rig.api::<Run>().get(&earlier).await.unwrap().status.unwrap();
        assert_eq!(earlier.retried_by, Some(next.name_any()));
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_succeeded_is_taken_over_as_it_was_and_one_with_other_inputs_is_not() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    rig.flow("bottom", pays(&shop)).await;
    let quote = json!({"name": "quote", "http": {"method": "POST", "url": shop.url("/quote"), "body": {}}});
    let apply = json!({"name": "apply", "flow": {"name": "bottom", "inputs": {"order": "${steps.quote.output.order}"}}});
    let thank = json!({"name": "thank", "http": {"method": "POST", "url": shop.url("/thank"), "body": {}}});
    let spec = json!({"inputs": inputs(), "steps": [quote, apply, thank], "output": {"receipt": "${steps.apply.output.receipt}"}});
    rig.flow("top", spec).await;
    let quoted = |order: &str| Answer::Status(200, json!({"order": order}));
    shop.will_answer([
        quoted("a"),
        Answer::Status(200, json!({"receipt": "R1"})),
        Answer::Status(200, json!({})),
        Answer::Status(400, json!({})),
        // the first retry is quoted something else
        quoted("b"),
        quoted("a"),
    ]);
    let run = failed(&rig, "top").await;
    let first = child(&rig, "r").await;
    let from_quote = |run: &Run| {
        let mut spec = retry(run);
        spec["retryOf"]["from"] = json!("quote");
        spec
    };
    rig.start("other", from_quote(&run)).await;
    let other = rig.phase("other", "Failed").await;
    let message = other.status.clone().unwrap().error.unwrap().message;
    assert!(
        message.contains(&format!("run {first} had other inputs")),
        "{message}"
    );
    assert_eq!(shop.asked("/pay").len(), 1);

    rig.start("same", from_quote(&other)).await;
    let same = rig.phase("same", "Succeeded").await;
    assert_eq!(same.status.unwrap().output.unwrap().0, json!({"receipt": "R1"}));
    for (path, times) in [("/quote", 3), ("/pay", 1), ("/ship", 1), ("/thank", 2)] {
        assert_eq!(shop.asked(path).len(), times, "{path}");
    }
    let taken = rig.api::<Run>().get(&child(&rig, "same").await).await.unwrap();
    assert_eq!(taken.spec.retry_of.unwrap().run.as_str(), first);
    let status = taken.status.unwrap();
    assert_eq!((status.phase, status.billable_steps), (RunPhase::Succeeded, 0));
    assert!(status.steps.iter().all(|step| step.taken_over == Some(true)));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_somebody_retried_by_hand_is_not_retried_once_more() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    rig.flow("bottom", pays(&shop)).await;
    rig.flow("top", above(&shop, "bottom", "/top")).await;
    shop.will_answer(until_shipping(1));
    let run = failed(&rig, "top").await;
    let below = child(&rig, "r").await;
    let by_hand = rig.api::<Run>().get(&below).await.unwrap();
    rig.start("by-hand", retry(&by_hand)).await;
    rig.phase("by-hand", "Succeeded").await;
    rig.start("again", retry(&run)).await;
    let error = rig.phase("again", "Failed").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason.to_string(), "RetryRefused");
    assert_eq!(
        error.message,
        format!("run {below}, which step apply started, is retried by run by-hand already")
    );
    assert_eq!((shop.asked("/pay").len(), shop.asked("/ship").len()), (1, 2));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_any_of_the_runs_does_not_approve_in_the_one_that_goes_on() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let ask = json!({"name": "ask", "approval": {"title": "refund ${inputs.order}?"}});
    rig.flow(
        "bottom",
        json!({"inputs": inputs(), "steps": [ask], "output": {"receipt": "R1"}}),
    )
    .await;
    let apply = json!({"name": "apply", "flow": {"name": "bottom", "inputs": {"order": "${inputs.order}"}}});
    rig.flow("top", json!({"inputs": inputs(), "steps": [apply]}))
        .await;
    rig.start("r", json!({"flow": "top", "inputs": {"order": "81"}}))
        .await;
    let first = child(&rig, "r").await;
    rig.decide("alice", &format!("{first}-ask"), "Reject").await;
    let run = rig.phase("r", "Rejected").await;

    // alice asks for the retry
    let mut again = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "again"}, "spec": retry(&run)});
    rig.server.sign("alice", &mut again);
    let again: Run = serde_json::from_value(again).unwrap();
    let runs: Api<Run> = Api::namespaced(rig.client("alice"), rig.namespace());
    runs.create(&PostParams::default(), &again).await.unwrap();
    let next = child(&rig, "again").await;
    let asked = rig.asked(&format!("{next}-ask")).await;
    assert_eq!(asked.spec.requested_by.as_deref(), Some("alice"));
    // admin wrote the flow that started the first one
    assert_eq!(asked.spec.earlier_requesters, ["admin", "dev"]);
    let own = rig.decide("alice", &format!("{next}-ask"), "Approve").await;
    let (counted, why, _) = rig.judged(&own).await;
    assert!(!counted, "{why}");
    rig.decide("bob", &format!("{next}-ask"), "Approve").await;
    rig.phase("again", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_of_a_retry_repeats_nothing() {
    cut_around_each_write(4, survives).await;
}

/// Plays a retry under a cut. Says whether the cut was reached.
async fn survives(at: Cut) -> bool {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
    rig.flow("bottom", pays(&shop)).await;
    rig.flow("top", above(&shop, "bottom", "/top")).await;
    shop.will_answer(until_shipping(1));
    let run = failed(&rig, "top").await;
    operator.stop().await;

    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("again", retry(&run)).await;
    let (reached, second) = rig
        .play_over(&fault, first, rig.phase("again", "Succeeded"))
        .await;
    let run = rig.phase("again", "Succeeded").await;
    second.stop().await;
    assert_eq!(
        run.status.unwrap().output.unwrap().0,
        json!({"receipt": "R1"}),
        "{at:?}"
    );
    for path in ["/top", "/pay"] {
        assert_eq!(shop.asked(path).len(), 1, "{at:?}: {path}");
    }
    let shipped = shop.asked("/ship");
    let key = &shipped[0].idempotency_key;
    assert!(
        shipped.len() > 1 && shipped.iter().all(|one| one.idempotency_key == *key),
        "{at:?}"
    );
    let all = rig
        .api::<Run>()
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    assert_eq!(all.items.len(), 4, "{at:?}: two runs, and each once more");
    reached
}
