//! A thousand runs that wait for people cost nothing: no write to the API server and no CPU to speak of.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
};
use serde_json::json;
use signoff::api::{Flow, Run, RunPhase};

use crate::support::dev::{CAP, Dev};

const RUNS: usize = 1_000;
/// How long nothing happens. The process may use a tenth of one core in that time; CPU time does not grow with load elsewhere.
const QUIET: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_waiting_runs_cause_no_writes_and_no_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::new(dir.path());
    let child = dev.start().await;
    let client = dev.client("dev").await;
    let flows: Api<Flow> = Api::namespaced(client.clone(), "default");
    flows
        .create(&PostParams::default(), &asking_flow())
        .await
        .unwrap();
    let runs: Api<Run> = Api::namespaced(client.clone(), "default");
    stream::iter(0..RUNS)
        .for_each_concurrent(16, |n| {
            let runs = runs.clone();
            async move {
                runs.create(&PostParams::default(), &new_run(&format!("idle-{n}")))
                    .await
                    .unwrap();
            }
        })
        .await;
    let all_wait = async {
        loop {
            let list = runs
                .list(&ListParams::default().fields("status.phase=Waiting"))
                .await
                .unwrap();
            if list.items.len() == RUNS {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(CAP, all_wait)
        .await
        .expect("every run waits for people");
    settle(&client).await;

    let pid = child.id().unwrap();
    let (version, cpu) = (store_version(&client).await, cpu_time(pid));
    tokio::time::sleep(QUIET).await;
    let used = cpu_time(pid).saturating_sub(cpu);
    assert_eq!(
        store_version(&client).await,
        version,
        "somebody wrote while nothing happened"
    );
    assert!(used < QUIET / 10, "used {used:?} of CPU in {QUIET:?} of quiet");
    for run in runs.list(&ListParams::default()).await.unwrap() {
        assert_eq!(
            run.status.clone().unwrap_or_default().phase,
            RunPhase::Waiting,
            "{}",
            run.name_any()
        );
    }
}

/// Writes that trail the last transition, such as Events, may still come; waits until the version stands still once.
async fn settle(client: &kube::Client) {
    let still = async {
        let mut last = store_version(client).await;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = store_version(client).await;
            if now == last {
                return;
            }
            last = now;
        }
    };
    tokio::time::timeout(CAP, still)
        .await
        .expect("the writes come to an end");
}

/// The store's version, which every write to any object raises.
async fn store_version(client: &kube::Client) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let list = namespaces.list(&ListParams::default().limit(1)).await.unwrap();
    list.metadata.resource_version.unwrap()
}

fn asking_flow() -> Flow {
    let spec = json!({ "steps": [{ "name": "ask", "approval": { "title": "May ${run.name} go on?" } }] });
    let metadata = ObjectMeta {
        name: Some("idle".to_owned()),
        ..ObjectMeta::default()
    };
    Flow {
        metadata,
        spec: serde_json::from_value(spec).unwrap(),
        status: None,
    }
}

fn new_run(name: &str) -> Run {
    let run = json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": { "name": name },
        "spec": { "flow": "idle", "channel": "draft" },
    });
    serde_json::from_value(run).unwrap()
}

/// CPU time a process has used, from `/proc`; in steps of 10 ms.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // fields 14 and 15 (utime, stime) of proc(5), counted after the parenthesised command name
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    Duration::from_millis((fields[11] + fields[12]) * 10)
}
