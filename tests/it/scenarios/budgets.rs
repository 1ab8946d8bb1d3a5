//! What a run, a decision, a push and a restart cost the API server.

use std::collections::BTreeSet;

use git2::Repository as Git;
use kube::{
    Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use signoff::telemetry::metrics::Metrics;
use signoff_api::{Approval, Flow, Repository, Run, names};

use crate::{
    support::{
        requests::{Asked, Requests, Verb},
        rig::{Rig, Running, eventually},
        shop::Shop,
    },
    world::{FLOW, push},
};

/// The kinds that controllers work with.
const KINDS: [&str; 7] = [
    "flows",
    "releases",
    "repositories",
    "approvals",
    "runs",
    "decisions",
    "connections",
];
/// More than a queue keeps of what it was shown, so that what is read again would show.
const WAITING: usize = 300;

/// A metric's value as the operator counts it.
fn metric(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0, |value| value.parse().unwrap())
}

/// An operator without an object store, which writes no records of runs.
async fn without_records(rig: &Rig, client: Client) -> Running {
    let operator = rig.operator_as(client, |options| options.store = None);
    operator.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_run_costs_one_more_write() {
    let rig = Rig::open().await;
    let (client, requests) = Requests::of(rig.operator_client());
    let operator = rig.operator_with(client).await.unwrap();
    rig.flow("f", json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
        .await;
    let before = requests.count();
    rig.start("r", json!({"flow": "f"})).await;
    let is_recorded = |run: &Run| run.status.as_ref().is_some_and(|status| status.record.is_some());
    rig.until::<Run>("r", is_recorded).await;
    operator.stop().await;
    let all = reads_and_writes(&requests.since(before));
    let writes = all.iter().filter(|asked| *asked == "Patch runs/status");
    assert_eq!(writes.count(), 2, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_three_steps_in_the_process_costs_one_write() {
    let rig = Rig::open().await;
    let operator = without_records(&rig, rig.operator_client()).await;
    let steps = json!([
        {"name": "a", "set": {"x": "${1 + 1}"}},
        {"name": "b", "set": {"y": "${steps.a.output.x + 1}"}},
        {"name": "c", "set": {"z": "${steps.b.output.y + 1}"}},
    ]);
    rig.flow(
        "f",
        json!({"steps": steps, "output": {"z": "${steps.c.output.z}"}}),
    )
    .await;
    rig.start("r", json!({"flow": "f"})).await;
    let run = rig.phase("r", "Succeeded").await;
    assert_eq!(run.status.unwrap().output.unwrap().0, json!({"z": 4}));
    operator
        .stop_and(|metrics| {
            let text = metrics.render().unwrap();
            let writes = metric(&text, "signoff_api_writes_total{kind=\"runs\"}");
            assert_eq!(writes, 1, "writes of the run");
        })
        .await;
    assert_eq!(rig.events("r").await.len(), 0, "and no event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_costs_a_write_when_it_begins_and_one_when_it_ends() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let (client, requests) = Requests::of(rig.operator_client());
    let operator = without_records(&rig, client).await;
    let repeat = json!({"until": "${steps.poll.pass == 4}", "every": "1s"});
    let steps = json!([{"name": "poll", "http": {"url": shop.url("/poll")}, "repeat": repeat}]);
    rig.flow("f", json!({"steps": steps})).await;
    let before = requests.count();
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
    assert_eq!(shop.asked("/poll").len(), 4);
    let all = reads_and_writes(&requests.since(before));
    let writes = all.iter().filter(|asked| *asked == "Patch runs/status");
    assert_eq!(writes.count(), 2, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_counted() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = without_records(&rig, rig.operator_client()).await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    let metrics = operator.metrics().clone();
    eventually("the run is counted as finished", || {
        metric(
            &metrics.render().unwrap(),
            "signoff_runs_finished_total{phase=\"Succeeded\"}",
        ) == 1
    })
    .await;
    assert_eq!(
        metric(
            &metrics.render().unwrap(),
            "signoff_decision_to_effect_seconds_count"
        ),
        1
    );
    operator.stop().await;
}

fn told(asked: &Asked) -> String {
    format!("{:?} {}", asked.verb, asked.resource)
}

/// Reads of objects and writes, but for Events.
fn reads_and_writes(requests: &[Asked]) -> Vec<String> {
    let of_objects = requests
        .iter()
        .filter(|asked| asked.verb != Verb::Watch && asked.resource != "events");
    of_objects.map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_listed_once_and_watched_once() {
    let rig = Rig::open().await;
    let (client, requests) = Requests::of(rig.operator_client());
    let operator = without_records(&rig, client).await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}]);
    // by then all controllers work
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
    for kind in KINDS {
        assert_eq!(
            (requests.lists(kind), requests.watches(kind)),
            (1, 1),
            "lists and watches of {kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_costs_one_read_and_one_write_before_the_next_effect_and_a_read_beside_the_write() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let (client, requests) = Requests::of(rig.operator_client());
    let operator = without_records(&rig, client).await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "call", "http": {"url": shop.url("/x")}}]);
    rig.flow("f", json!({"steps": steps})).await;
    rig.start("r", json!({"flow": "f"})).await;
    let is_judged = |approval: &Approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.needs.is_some())
    };
    rig.until::<Approval>("r-review", is_judged).await;
    rig.phase("r", "Waiting").await;
    let before = requests.count();
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
    assert_eq!(shop.asked("/x").len(), 1);
    let all = reads_and_writes(&requests.since(before));
    // the call starts beside the first write of the run; what became of the decision is written when it is answered
    let is_later = |asked: &String| asked == "Patch runs/status" || asked == "Patch decisions/status";
    let first_later = all.iter().position(is_later).unwrap();
    let mut before_it = all[..first_later].to_vec();
    assert_eq!(before_it.remove(0), "Get approvals");
    before_it.sort();
    assert_eq!(before_it, ["Get runs", "Patch approvals/status"], "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_lists_each_kind_and_reads_nothing_again() {
    let rig = Rig::open().await;
    let operator = without_records(&rig, rig.operator_client()).await;
    rig.flow(
        "f",
        json!({"steps": [{"name": "review", "approval": {"title": "go?", "respondWithin": "1h"}}]}),
    )
    .await;
    for number in 0..WAITING {
        rig.start(&format!("r{number}"), json!({"flow": "f"})).await;
    }
    let metrics = operator.metrics().clone();
    let waiting = |metrics: &Metrics| {
        let text = metrics.render().unwrap();
        metric(&text, "signoff_runs{phase=\"Waiting\"}") == WAITING as u64
    };
    eventually("all runs wait", || waiting(&metrics)).await;
    let is_judged = |approval: &Approval| {
        approval
            .status
            .as_ref()
            .is_some_and(|status| status.needs.is_some())
    };
    for number in 0..WAITING {
        rig.until::<Approval>(&format!("r{number}-review"), is_judged)
            .await;
    }
    operator.stop().await;
    let (client, requests) = Requests::of(rig.operator_client());
    let operator = without_records(&rig, client).await;
    let metrics = operator.metrics().clone();
    eventually("all runs wait again", || waiting(&metrics)).await;
    // what is decided then comes after what the listings brought
    rig.decide("alice", "r0-review", "Approve").await;
    rig.phase("r0", "Succeeded").await;
    operator.stop().await;
    for kind in KINDS {
        assert_eq!(
            (requests.lists(kind), requests.watches(kind)),
            (1, 1),
            "lists and watches of {kind}"
        );
    }
    let reads = |kind: &str| {
        let all = requests.since(0).into_iter();
        let reads = all.filter(|asked| asked.verb == Verb::Get && asked.resource == kind);
        let names: BTreeSet<String> = reads.filter_map(|asked| asked.name).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(requests.lists("runs with messages"), 1);
    // only of the run that goes on
    assert_eq!(reads("approvals"), [rig.known("r0-review")]);
    assert_eq!(reads("runs"), ["r0"]);
    let since = requests.since(0);
    let of_releases = since
        .iter()
        .filter(|asked| asked.verb == Verb::Get && asked.resource == "releases");
    assert_eq!(of_releases.count(), 1, "the plan that all of them go by");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_changes_one_flow_writes_each_status_once() {
    let rig = Rig::open().await;
    let remote = tempfile::tempdir().unwrap();
    let git = Git::init_bare(remote.path().join("flows.git")).unwrap();
    let other = FLOW.replace("name: hello", "name: other");
    push(
        &git,
        "main",
        &[("hello.yaml", Some(FLOW)), ("other.yaml", Some(&other))],
    );
    let (client, requests) = Requests::of(rig.operator_client());
    let operator = without_records(&rig, client).await;
    let repository = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"}, "spec": {
        "url": format!("file://{}", git.path().display()), "interval": "1h", "draft": {"ref": "main"}}});
    let repository: Repository = serde_json::from_value(repository).unwrap();
    let repositories = rig.api::<Repository>();
    repositories
        .create(&PostParams::default(), &repository)
        .await
        .unwrap();
    let draft = |flow: &Flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.clone());
    let at = |repository: &Repository| Some(repository.status.as_ref()?.draft.as_ref()?.commit.clone());
    rig.until::<Repository>("flows", |repository| at(repository).is_some())
        .await;
    for flow in ["hello", "other"] {
        rig.until::<Flow>(flow, |flow| draft(flow).is_some()).await;
    }
    let first = draft(&rig.api::<Flow>().get("hello").await.unwrap());
    let looked = |metrics: &Metrics| {
        let text = metrics.render().unwrap();
        metric(&text, "signoff_reconcile_seconds_count{kind=\"Release\"}")
    };
    let metrics = operator.metrics().clone();
    eventually("both releases are looked at", || looked(&metrics) >= 2).await;
    let (before, looked_before) = (requests.count(), looked(&metrics));

    let commit = push(
        &git,
        "main",
        &[("hello.yaml", Some(&FLOW.replace("x: 1", "x: 2")))],
    );
    let ask = Patch::Merge(json!({"metadata": {"annotations": {names::REQUESTED_AT: "now"}}}));
    repositories
        .patch("flows", &PatchParams::default(), &ask)
        .await
        .unwrap();
    rig.until::<Repository>("flows", |repository| at(repository).as_ref() == Some(&commit))
        .await;
    rig.until::<Flow>("hello", |flow| draft(flow).is_some() && draft(flow) != first)
        .await;
    eventually("the release is looked at", || looked(&metrics) > looked_before).await;
    // it ends what it is at, and writes the Events that it has
    operator.stop().await;
    let since = requests.since(before);
    let mut writes: Vec<String> = since
        .iter()
        .filter(|asked| asked.verb.is_write())
        .map(told)
        .collect();
    // nothing is written from what a watch showed before the last write
    for status in ["Patch flows/status", "Patch repositories/status"] {
        let count = writes.iter().filter(|write| *write == status).count();
        assert_eq!(count, 1, "{status}: {writes:?}");
    }
    writes.sort();
    writes.dedup();
    assert_eq!(
        writes,
        [
            "Create releases",
            "Patch flows",
            "Patch flows/status",
            "Patch repositories/status"
        ]
    );
}
