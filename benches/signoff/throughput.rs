//! Runs of three steps in the process, from the first creation to the last end.

use std::time::{Duration, Instant};

use kube::{Api, api::PostParams};
use serde_json::json;
use signoff_api::Run;

use crate::{ends::Ends, load::at_once, raw, server::Server, table::Table, target::Target};

pub async fn measure(table: &mut Table, server: &Server, target: &Target, runs: usize, clients: usize) {
    let steps = json!([
        {"name": "a", "set": {"x": "${1 + 1}"}},
        {"name": "b", "set": {"y": "${steps.a.output.x + 1}"}},
        {"name": "c", "set": {"z": "${steps.b.output.y + 1}"}},
    ]);
    target
        .flow(
            "three",
            json!({"steps": steps, "output": {"z": "${steps.c.output.z}"}}),
        )
        .await;
    let pool: Vec<Api<Run>> = (0..clients)
        .map(|_| Api::namespaced(server.client(), &target.namespace))
        .collect();
    let warm = runs / 10;
    round(target, &pool, "warm", warm).await;
    // what the first runs have cost is all told by then
    server.operator.rests(Duration::from_millis(500)).await;
    let before = server.writes().await;
    let conflicts = server.operator.count("signoff_api_conflicts_total").await;
    let took = round(target, &pool, "run", runs).await;
    server.operator.rests(Duration::from_millis(500)).await;
    let writes = (server.writes().await - before) / runs as f64;
    let conflicts =
        (server.operator.count("signoff_api_conflicts_total").await - conflicts) / (writes * runs as f64);
    let patches = writes.round().max(1.0) as usize;
    let raw = raw::writes(server, target, "raw", runs, patches, clients).await;
    let rate = |took: Duration| runs as f64 / took.as_secs_f64();
    let patched = if patches == 1 {
        "a patch".to_owned()
    } else {
        format!("{patches} patches")
    };
    let beside = format!("{:.0} (create and {patched} of 1 kB)", rate(raw));
    table.row(
        "runs of 3 in-process steps, per second",
        &format!("{:.0}", rate(took)),
        &beside,
    );
    table.row(
        &format!(
            "API writes of the operator for one such run, {}",
            server.witness()
        ),
        &format!("{writes:.2}"),
        "",
    );
    table.row(
        "writes refused as conflicts",
        &format!("{:.2} %", 100.0 * conflicts),
        "",
    );
}

/// Creates the runs and waits until all have succeeded; gives how long that took.
async fn round(target: &Target, pool: &[Api<Run>], name: &str, runs: usize) -> Duration {
    let mut ends = Ends::watch(target).await;
    let began = Instant::now();
    let creating = at_once(runs, pool.len(), async |number| {
        let run = target.run(&format!("{name}-{number}"), "three");
        pool[number % pool.len()]
            .create(&PostParams::default(), &run)
            .await
            .unwrap();
    });
    let (_, ended) = tokio::join!(creating, ends.succeeded(name, runs));
    ended - began
}
