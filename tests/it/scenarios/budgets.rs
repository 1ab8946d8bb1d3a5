//! What a run costs the API server.

use serde_json::json;
use signoff_api::Approval;

use crate::support::{
    rig::{Rig, eventually},
    shop::Shop,
};

/// A metric's value as the operator counts it.
fn metric(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_three_steps_in_the_process_costs_one_write() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
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
async fn what_happened_is_counted() {
    let (rig, shop) = (Rig::open().await, Shop::open().await);
    let operator = rig.operator().await;
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
