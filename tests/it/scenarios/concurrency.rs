//! Flows that limit how many of their runs go on at the same time.

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, api::ListParams};
use serde_json::{Value, json};
use signoff_api::{Approval, Run, RunPhase, RunStatus};

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::Rig,
};

fn inputs() -> Value {
    json!({"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}})
}

/// A flow that asks, of which so many runs with one order go on.
fn asks(concurrency: &Value) -> Value {
    let mut limit = json!({"key": "${inputs.order}"});
    json_patch::merge(&mut limit, concurrency);
    json!({"inputs": inputs(), "concurrency": limit,
        "steps": [{"name": "ask", "approval": {"title": "refund ${inputs.order}?"}}]})
}

async fn start(rig: &Rig, name: &str) {
    start_of(rig, name, "81").await;
}

async fn start_of(rig: &Rig, name: &str, order: &str) {
    rig.start(name, json!({"flow": "f", "inputs": {"order": order}}))
        .await;
}

async fn approve(rig: &Rig, run: &str) {
    rig.decide("alice", &format!("{run}-ask"), "Approve").await;
    rig.phase(run, "Succeeded").await;
}

fn status(run: &Run) -> RunStatus {
    run.status.clone().unwrap()
}

fn began(run: &Run) -> Option<Timestamp> {
    status(run).started_at.map(|at| at.0)
}

/// All runs, in the order in which a queue takes them.
async fn all(rig: &Rig) -> Vec<Run> {
    let mut all = rig.api::<Run>().list(&ListParams::default()).await.unwrap().items;
    all.sort_by_key(|run| (run.creation_timestamp().unwrap().0, run.name_any()));
    all
}

/// How many of them went on at the same time, at most. A run that is stopped before it begins is in nobody's way.
fn most_at_once(runs: &[Run]) -> usize {
    let held = |run: &Run| {
        let from = began(run)?;
        Some((from, status(run).finished_at.map_or(Timestamp::MAX, |at| at.0)))
    };
    let held: Vec<_> = runs.iter().filter_map(held).collect();
    let at_once = |at: Timestamp| held.iter().filter(|(from, to)| *from <= at && at < *to).count();
    held.iter()
        .map(|(from, _)| at_once(*from))
        .max()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_with_one_key_go_on_one_after_another_and_say_what_they_wait_for() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", asks(&json!({}))).await;
    start(&rig, "a").await;
    let run = rig.phase("a", "Waiting").await;
    let concurrency = status(&run).concurrency.unwrap();
    assert_eq!(concurrency.key, "81");
    assert!(concurrency.held_since.is_some());
    // another key has a place of its own
    start_of(&rig, "x", "82").await;
    rig.phase("x", "Waiting").await;
    for name in ["b", "c"] {
        start(&rig, name).await;
        rig.phase(name, "Queued").await;
    }
    let waits = |run: &Run| status(run).waiting_on.unwrap();
    let run = rig.phase("b", "Queued").await;
    assert_eq!(
        waits(&run),
        "a place for the key \"81\": next in the queue; run a holds it"
    );
    let run = rig.phase("c", "Queued").await;
    assert!(
        waits(&run).starts_with("a place for the key \"81\": position 2 in the queue at "),
        "{}",
        waits(&run)
    );
    assert!(!rig.is_asked("b-ask").await && !rig.is_asked("c-ask").await);

    approve(&rig, "a").await;
    rig.phase("b", "Waiting").await;
    let run = rig
        .until::<Run>("c", |run| status(run).concurrency.unwrap().position == Some(1))
        .await;
    assert_eq!(
        waits(&run),
        "a place for the key \"81\": next in the queue; run b holds it"
    );
    approve(&rig, "b").await;
    rig.phase("c", "Waiting").await;
    approve(&rig, "c").await;
    approve(&rig, "x").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_places_and_the_order_of_the_queue() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", asks(&json!({}))).await;
    start(&rig, "a").await;
    rig.phase("a", "Waiting").await;
    start(&rig, "n").await;
    rig.phase("n", "Queued").await;
    operator.kill().await;
    // while nobody is there
    for name in ["z", "m", "b"] {
        start(&rig, name).await;
    }
    let operator = rig.operator().await;
    for name in ["z", "m", "b"] {
        rig.phase(name, "Queued").await;
    }
    let order: Vec<String> = all(&rig).await.iter().map(Run::name_any).collect();
    operator.stop().await;
    let mut operator = rig.operator().await;
    for name in &order {
        rig.phase(name, "Waiting").await;
        let waiting = all(&rig).await;
        let waiting = waiting
            .iter()
            .filter(|run| status(run).phase == RunPhase::Waiting);
        assert_eq!(waiting.count(), 1);
        operator.kill().await;
        operator = rig.operator().await;
        approve(&rig, name).await;
    }
    assert_eq!(most_at_once(&all(&rig).await), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_for_which_there_is_no_place_fails_where_the_flow_says_so() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", asks(&json!({"whenFull": "Reject", "max": 2})))
        .await;
    for name in ["a", "b"] {
        start(&rig, name).await;
        rig.phase(name, "Waiting").await;
    }
    start(&rig, "c").await;
    let run = rig.phase("c", "Failed").await;
    let error = status(&run).error.unwrap();
    assert_eq!(error.reason.to_string(), "ConcurrencyRejected");
    assert_eq!(
        error.message,
        "at most 2 at the same time for the key \"81\": run a and 1 other hold it"
    );
    assert_eq!(status(&run).steps, []);
    approve(&rig, "a").await;
    start(&rig, "d").await;
    rig.phase("d", "Waiting").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_run_takes_the_place_of_one_that_runs_and_of_those_that_wait() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", asks(&json!({"whenFull": "CancelRunning"}))).await;
    start(&rig, "a").await;
    rig.phase("a", "Waiting").await;
    start(&rig, "b").await;
    let run = rig.phase("a", "Cancelled").await;
    assert_eq!(
        run.spec.stop_message.as_deref(),
        Some("run b takes its place (whenFull: CancelRunning)")
    );
    let message = status(&run).error.unwrap().message;
    assert!(message.contains("run b takes its place"), "{message}");
    let next = rig.phase("b", "Waiting").await;
    assert!(began(&next).unwrap() >= status(&run).finished_at.unwrap().0);
    // and those that wait, where an older release let them
    let queues = asks(&json!({"whenFull": "Queue"}));
    rig.next_release("f", queues).await;
    start(&rig, "c").await;
    rig.phase("c", "Queued").await;
    rig.next_release("f", asks(&json!({"whenFull": "CancelRunning"})))
        .await;
    start(&rig, "d").await;
    for name in ["b", "c"] {
        rig.phase(name, "Cancelled").await;
    }
    assert_eq!(status(&rig.api::<Run>().get("c").await.unwrap()).steps, []);
    rig.phase("d", "Waiting").await;
    assert_eq!(most_at_once(&all(&rig).await), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_cancelled_or_deleted_while_they_hold_a_place_or_wait_make_way() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", asks(&json!({}))).await;
    start(&rig, "a").await;
    rig.phase("a", "Waiting").await;
    for name in ["b", "c", "d", "e", "g"] {
        start(&rig, name).await;
        rig.phase(name, "Queued").await;
    }
    rig.patch_run("b", json!({"cancel": true})).await;
    let run = rig.phase("b", "Cancelled").await;
    assert_eq!(status(&run).steps, []);
    rig.delete_run("c").await;
    rig.patch_run("d", json!({"suspend": true})).await;
    let run = rig.phase("d", "Waiting").await;
    assert!(status(&run).waiting_on.unwrap().contains("suspended"));
    rig.delete_run("a").await;
    // the one before it is suspended
    rig.phase("e", "Waiting").await;
    rig.patch_run("d", json!({"suspend": false})).await;
    rig.phase("d", "Queued").await;
    rig.patch_run("e", json!({"terminate": true})).await;
    rig.phase("d", "Waiting").await;
    // one that waits keeps its place while it is suspended
    rig.patch_run("d", json!({"suspend": true})).await;
    approve_suspended(&rig, "d").await;
    rig.phase("g", "Waiting").await;
    assert_eq!(most_at_once(&all(&rig).await), 1);
    operator.stop().await;
}

/// The question of a suspended run may be answered, and the run ends when it goes on.
async fn approve_suspended(rig: &Rig, run: &str) {
    assert_eq!(
        status(&rig.api::<Run>().get("g").await.unwrap()).phase,
        RunPhase::Queued
    );
    rig.patch_run(run, json!({"suspend": false})).await;
    approve(rig, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_retried_waits_for_a_place_like_any_other() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let mut flow = asks(&json!({}));
    flow["steps"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({"name": "first", "set": {"x": 1}}));
    flow["finally"] = json!([{"name": "last", "set": {"x": 1}}]);
    rig.flow("f", flow).await;
    start(&rig, "a").await;
    rig.decide("alice", "a-ask", "Reject").await;
    rig.phase("a", "Rejected").await;
    start(&rig, "b").await;
    rig.phase("b", "Waiting").await;
    let release = status(&rig.api::<Run>().get("a").await.unwrap())
        .release
        .unwrap()
        .name;
    let again = json!({"flow": "f", "release": release, "inputs": {"order": "81"}, "retryOf": {"run": "a", "from": "ask"}});
    rig.start("r", again).await;
    let run = rig.phase("r", "Queued").await;
    let steps = |run: &Run| {
        let steps = status(run).steps.into_iter();
        steps.map(|step| step.name).collect::<Vec<_>>()
    };
    assert_eq!(steps(&run), ["first"]);
    approve(&rig, "b").await;
    rig.phase("r", "Waiting").await;
    approve(&rig, "r").await;
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(steps(&run), ["first", "ask", "last"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_holder_waits_for_shares_its_place() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let limit = json!({"key": "${inputs.order}", "scope": "Namespace"});
    let mut bottom = asks(&json!({}));
    bottom["concurrency"] = limit.clone();
    rig.flow("bottom", bottom).await;
    let step = json!({"name": "apply", "flow": {"name": "bottom", "inputs": {"order": "${inputs.order}"}}});
    rig.flow(
        "f",
        json!({"inputs": inputs(), "concurrency": limit, "steps": [step]}),
    )
    .await;
    start(&rig, "a").await;
    let child = |run: &Run| {
        let steps = status(run).steps;
        steps.iter().find_map(|step| step.run.clone())
    };
    let parent = rig
        .until::<Run>("a", |run| run.status.is_some() && child(run).is_some())
        .await;
    let started = child(&parent).unwrap();
    let run = rig.phase(&started, "Waiting").await;
    assert_eq!(status(&run).concurrency.unwrap().shares.as_deref(), Some("a"));
    rig.start("other", json!({"flow": "bottom", "inputs": {"order": "81"}}))
        .await;
    rig.phase("other", "Queued").await;
    operator.kill().await;
    let operator = rig.operator().await;
    rig.decide("alice", &format!("{started}-ask"), "Approve").await;
    let ended = rig.phase("a", "Succeeded").await;
    let other = rig.phase("other", "Waiting").await;
    assert!(began(&other).unwrap() >= status(&ended).finished_at.unwrap().0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_value_fails_the_run() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", asks(&json!({}))).await;
    start_of(&rig, "a", "").await;
    let run = rig.phase("a", "Failed").await;
    let error = status(&run).error.unwrap();
    assert_eq!(error.reason.to_string(), "InvalidKey");
    assert_eq!(error.message, "concurrency.key: a key is not empty");
    operator.stop().await;
}

/// How many runs wait for one.
const QUEUED: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_queued_runs_cost_nothing_while_they_wait_and_end_one_after_another() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let mut flow = asks(&json!({}));
    flow["steps"][0]["when"] = json!("${run.name == 'a'}");
    rig.flow("f", flow).await;
    start(&rig, "a").await;
    rig.phase("a", "Waiting").await;
    let started = stream::iter(0..QUEUED).map(|n| {
        let rig = &rig;
        async move { start(rig, &format!("r{n}")).await }
    });
    started.buffer_unordered(16).collect::<Vec<_>>().await;
    for n in 0..QUEUED {
        rig.phase(&format!("r{n}"), "Queued").await;
    }
    let versions = |runs: &[Run]| runs.iter().map(Run::resource_version).collect::<Vec<_>>();
    let queued = all(&rig).await;
    // most were queued in this order, and the positions of the others were written when they were
    let written = queued.iter().map(|run| status(run).revision).max();
    assert!(written <= Some(2), "{written:?}");
    // whatever happens elsewhere
    start_of(&rig, "elsewhere", "82").await;
    rig.phase("elsewhere", "Succeeded").await;
    let later: Vec<Run> = all(&rig)
        .await
        .into_iter()
        .filter(|run| run.name_any() != "elsewhere")
        .collect();
    assert_eq!(versions(&later), versions(&queued));

    rig.decide("alice", "a-ask", "Approve").await;
    for n in 0..QUEUED {
        rig.phase(&format!("r{n}"), "Succeeded").await;
    }
    let runs: Vec<Run> = all(&rig)
        .await
        .into_iter()
        .filter(|run| run.name_any() != "elsewhere")
        .collect();
    let order: Vec<_> = runs.iter().map(began).collect();
    assert!(order.is_sorted(), "first come, first served");
    assert_eq!(most_at_once(&runs), 1);
    // it is queued, is the next one, has a place, and ends
    let written = runs.iter().map(|run| status(run).revision).max();
    assert!(written <= Some(5), "{written:?}");
    let questions = rig.api::<Approval>().list(&ListParams::default()).await.unwrap();
    assert_eq!(questions.items.len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_gives_no_place_twice() {
    for when_full in ["Queue", "CancelRunning"] {
        cut_around_each_write(4, async |at| survives(at, when_full).await).await;
    }
}

/// Plays two runs under a cut. Says whether the cut was reached.
async fn survives(at: Cut, when_full: &str) -> bool {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    rig.flow("f", asks(&json!({"whenFull": when_full}))).await;
    operator.stop().await;
    let names = ["a", "b"];
    for name in names {
        start(&rig, name).await;
    }
    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    let story = async {
        for name in names {
            if when_full == "Queue" || name == "b" {
                approve(&rig, name).await;
            } else {
                rig.phase(name, "Cancelled").await;
            }
        }
    };
    let (reached, second) = rig.play_over(&fault, first, story).await;
    second.stop().await;
    let runs = all(&rig).await;
    assert!(most_at_once(&runs) <= 1, "{at:?}: {runs:#?}");
    let began: Vec<_> = runs.iter().filter_map(began).collect();
    assert!(began.is_sorted(), "{at:?}");
    reached
}
