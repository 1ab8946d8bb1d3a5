//! What goes wrong every day between an operator and an API server, and clocks that disagree: it costs time, nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use signoff::cluster::context::Clock;
use signoff_api::Approval;

use crate::support::{
    faults::{Nuisance, plagued, refused},
    rig::{Rig, eventually},
    shop::Shop,
};

async fn flow(rig: &Rig, shop: &Shop) {
    let call = |name: &str| {
        json!({"name": name, "http": {"method": "POST", "url": shop.url(&format!("/{name}")),
            "body": {"url": "${callback('settled').url}"}}})
    };
    let mut pay = call("pay");
    pay["delivery"] = json!("AtMostOnce");
    let steps = json!([call("quote"), {"name": "review", "approval": {"title": "go?"}}, pay,
        {"name": "settled", "wait": {"callback": {}}}, call("thank")]);
    rig.flow("f", json!({"steps": steps})).await;
}

/// One run from its start to its end while it goes on.
async fn a_run_ends_in_spite_of(nuisance: Nuisance) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let (client, suffered) = plagued(rig.operator_client(), nuisance);
    let operator = rig.operator_with(client).await.unwrap();
    flow(&rig, &shop).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    let decision = rig.decide("alice", "r-review", "Approve").await;
    eventually("the payment is asked for", || !shop.asked("/pay").is_empty()).await;
    let url = shop.asked("/pay")[0].body["url"].as_str().unwrap().to_owned();
    rig.call_back(url.rsplit('/').next().unwrap(), "{}").await;
    rig.phase("r", "Succeeded").await;
    assert_eq!(shop.asked("/pay").len(), 1, "{nuisance:?}");
    assert!(rig.judged(&decision).await.0, "{nuisance:?}");
    assert!(suffered.load(Ordering::SeqCst) > 2, "{nuisance:?} never happened");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_expire_are_listed_anew() {
    a_run_ends_in_spite_of(Nuisance::WatchesExpire).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_break_are_taken_up_where_they_were() {
    a_run_ends_in_spite_of(Nuisance::WatchesBreak).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_hang_are_noticed_within_half_a_minute_and_taken_up_where_they_were() {
    a_run_ends_in_spite_of(Nuisance::WatchesHang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_one_after_another_are_read_and_tried_again() {
    a_run_ends_in_spite_of(Nuisance::Conflicts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_are_looked_up() {
    a_run_ends_in_spite_of(Nuisance::AnswersAreLost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_the_api_server_refuses_for_good_ends_the_run_and_says_so() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let (client, refusals) = refused(rig.operator_client(), "not to be written", Duration::ZERO);
    let operator = rig.operator_with(client).await.unwrap();
    let call = json!({"name": "a", "http": {"method": "POST", "url": shop.url("/a")}});
    let steps = json!([call, {"name": "b", "set": {"x": "${'not to be ' + 'written'}"}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    let status = rig.phase("r", "Failed").await.status.unwrap();
    let error = status.error.unwrap();
    assert_eq!(error.reason.to_string(), "StatusRefused");
    assert_eq!(
        error.message,
        "the API server refuses the status of the run: the run is invalid: status.steps[0].output: no"
    );
    assert!(refusals.load(Ordering::SeqCst) >= 3, "it is tried again before");
    // what was sent was sent once, and the run says that it is unknown what came of it
    assert_eq!(shop.asked("/a").len(), 1);
    assert!(
        status.steps.iter().all(|step| step.phase.is_finished()),
        "{:?}",
        status.steps
    );
    assert_eq!(
        status.steps[0].error.as_ref().unwrap().reason.to_string(),
        "OutcomeUnknown"
    );
    // and others go on
    rig.flow(
        "g",
        json!({"steps": [{"name": "a", "http": {"url": shop.url("/b")}}]}),
    )
    .await;
    rig.start("s", json!({"flow": "g"})).await;
    rig.phase("s", "Succeeded").await;
    operator.stop().await;
}

/// A defect is no reason for anybody's run to stop: here the clock breaks again and again, wherever it is read.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_panic_are_started_again_and_everything_goes_on() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let (armed, panics, reads) = (
        Arc::<AtomicBool>::default(),
        Arc::<AtomicUsize>::default(),
        AtomicUsize::new(0),
    );
    let (is_armed, counted) = (Arc::clone(&armed), Arc::clone(&panics));
    let clock = Clock::from_fn(move || {
        let is_bad = is_armed.load(Ordering::SeqCst) && reads.fetch_add(1, Ordering::SeqCst) % 97 == 96;
        assert!(
            !is_bad || counted.fetch_add(1, Ordering::SeqCst) >= 8,
            "the clock broke"
        );
        Timestamp::now()
    });
    let started = rig.operator_as(rig.operator_client(), |options| options.clock = clock);
    let operator = started.await.unwrap();
    let call =
        |name: &str| json!({"name": name, "http": {"method": "POST", "url": shop.url(&format!("/{name}"))}});
    let steps = json!([call("quote"), {"name": "review", "approval": {"title": "go?", "respondWithin": "1h"}}, call("pay")]);
    rig.flow("f", json!({"steps": steps})).await;
    armed.store(true, Ordering::SeqCst);
    for n in 0..6 {
        let run = format!("r{n}");
        rig.start(&run, json!({"flow": "f"})).await;
        rig.until::<Approval>(&format!("{run}-review"), |_| true).await;
        rig.decide("alice", &format!("{run}-review"), "Approve").await;
        rig.phase(&run, "Succeeded").await;
    }
    assert!(panics.load(Ordering::SeqCst) > 3, "the clock did not break");
    let text = operator.metrics().render().unwrap();
    let noticed = text.contains("class=\"Defect\"") || text.contains("signoff_task_restarts_total{");
    assert!(noticed, "{text}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_can_be_waited_for_and_nobody_else_waits_so_long() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let lead = json!({"after": "3649d", "to": {"groups": ["leads"]}});
    let question = json!({"title": "go?", "respondWithin": "3650d", "escalate": [lead]});
    rig.flow(
        "long",
        json!({"steps": [{"name": "review", "approval": question}]}),
    )
    .await;
    rig.flow(
        "asleep",
        json!({"steps": [{"name": "pause", "wait": {"duration": "3650d"}}]}),
    )
    .await;
    rig.flow(
        "short",
        json!({"steps": [{"name": "review", "approval": {"title": "go?", "respondWithin": "1h"}}]}),
    )
    .await;
    rig.start("decade", json!({"flow": "long"})).await;
    rig.until::<Approval>("decade-review", |_| true).await;
    rig.start("sleeper", json!({"flow": "asleep"})).await;
    rig.phase("sleeper", "Waiting").await;
    operator.stop().await;
    let operator = rig.operator().await;
    rig.start("quick", json!({"flow": "short"})).await;
    rig.until::<Approval>("quick-review", |_| true).await;
    for run in ["quick", "decade"] {
        rig.decide("alice", &format!("{run}-review"), "Approve").await;
        rig.phase(run, "Succeeded").await;
    }
    rig.phase("sleeper", "Waiting").await;
    let text = operator.metrics().render().unwrap();
    assert!(!text.contains("signoff_task_restarts_total{"), "{text}");
    operator.stop().await;
}

/// An operator whose clock is an hour off neither ends a question early nor leaves one open.
async fn a_deadline_is_kept_by_a_clock_that_is_off_by(hours: i64) {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let clock = Clock::from_fn(move || Timestamp::now() + SignedDuration::from_hours(hours));
    let started = rig.operator_as(rig.operator_client(), |options| options.clock = clock);
    let operator = started.await.unwrap();
    flow(&rig, &shop).await;
    let ask = |within: &str| json!({"steps": [{"name": "review", "approval": {"title": "go?", "respondWithin": within}}]});
    rig.flow("long", ask("10m")).await;
    rig.flow("short", ask("2s")).await;
    rig.start("late", json!({"flow": "short"})).await;
    rig.start("early", json!({"flow": "long"})).await;
    let late = rig.phase("late", "TimedOut").await;
    let asked = rig.asked("late-review").await;
    let ended = Timestamp::now();
    let created = asked.metadata.creation_timestamp.unwrap().0;
    assert!(
        ended.duration_since(created) >= SignedDuration::from_secs(1),
        "{late:?}"
    );
    rig.decide("alice", "early-review", "Approve").await;
    rig.phase("early", "Succeeded").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_ends_no_question_early() {
    a_deadline_is_kept_by_a_clock_that_is_off_by(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_leaves_no_question_open() {
    a_deadline_is_kept_by_a_clock_that_is_off_by(-1).await;
}
