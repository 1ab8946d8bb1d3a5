//! A thousand runs that wait for people cost nothing: no write to the API server and no CPU to speak of.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
};
use serde_json::json;
use signoff_api::{Flow, Run, RunPhase};
use tokio::process::Child;

use crate::{
    controlplane::audit::is_write,
    support::{
        dev::{CAP, Dev},
        processes::Operator,
        real::{ACCOUNTS, is_wanted},
        server::Server,
    },
};

const RUNS: usize = 1_000;
/// How long nothing happens. The process may use a tenth of one core in that time; CPU time does not grow with load elsewhere.
const QUIET: Duration = Duration::from_secs(5);

/// The process that is idle.
enum Idler {
    /// The control plane and the operator in one.
    Dev(Dev, Child),
    /// The operator on a real API server.
    Operator(Operator, Server),
}

impl Idler {
    async fn start(dir: &Path) -> Self {
        if !is_wanted() {
            let dev = Dev::new(dir);
            let child = dev.start().await;
            return Self::Dev(dev, child);
        }
        let server = Server::open(dir).await;
        server.house_operator().await;
        let namespace = server.namespace();
        let (watched, own) = (
            format!("--watch-namespace={namespace}"),
            format!("--own-namespace={namespace}"),
        );
        let kubeconfig = server.kubeconfig().unwrap();
        let more = ["--without-rivals", &watched, &own];
        Self::Operator(Operator::start_with(&kubeconfig, "idler", &more), server)
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Dev(_, child) => child.id().unwrap(),
            Self::Operator(operator, _) => operator.pid(),
        }
    }

    async fn client(&self) -> (Client, &str) {
        match self {
            Self::Dev(dev, _) => (dev.client("dev").await, "default"),
            Self::Operator(_, server) => (server.client("dev"), server.namespace()),
        }
    }

    /// A run that `dev` starts.
    fn new_run(&self, name: &str) -> Run {
        let mut run = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": { "name": name },
            "spec": { "flow": "idle", "channel": "Draft" },
        });
        if let Self::Operator(_, server) = self {
            server.sign("dev", &mut run);
        }
        serde_json::from_value(run).unwrap()
    }

    /// Stands still as long as nobody writes: the version of a store of one's own, or how often the operator has written here.
    async fn written(&self) -> String {
        match self {
            Self::Dev(dev, _) => store_version(&dev.client("dev").await).await,
            Self::Operator(_, server) => {
                let by_operator = |event: &serde_json::Value| event["user"]["username"] == ACCOUNTS[0];
                let log = server.audit();
                let written = log.iter().filter(|event| by_operator(event) && is_write(event));
                written.count().to_string()
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_waiting_runs_cause_no_writes_and_no_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let idler = Idler::start(dir.path()).await;
    let (client, namespace) = idler.client().await;
    let flows: Api<Flow> = Api::namespaced(client.clone(), namespace);
    flows
        .create(&PostParams::default(), &asking_flow())
        .await
        .unwrap();
    let runs: Api<Run> = Api::namespaced(client.clone(), namespace);
    stream::iter(0..RUNS)
        .for_each_concurrent(16, |n| {
            let (runs, run) = (runs.clone(), idler.new_run(&format!("idle-{n}")));
            async move {
                runs.create(&PostParams::default(), &run).await.unwrap();
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
    assert_becomes_quiet(&idler).await;
    for run in runs.list(&ListParams::default()).await.unwrap() {
        assert_eq!(
            run.status.clone().unwrap_or_default().phase,
            RunPhase::Waiting,
            "{}",
            run.name_any()
        );
    }
}

/// Writes that trail the last transition, such as Events, may still come, on a busy machine for long: waits until nothing is written for a while, and
/// next to no CPU is used.
async fn assert_becomes_quiet(idler: &Idler) {
    let pid = idler.pid();
    let begun = Instant::now();
    loop {
        let (before, cpu) = (idler.written().await, cpu_time(pid));
        tokio::time::sleep(QUIET).await;
        let used = cpu_time(pid).saturating_sub(cpu);
        let wrote = idler.written().await != before;
        if !wrote && used < QUIET / 10 {
            return;
        }
        assert!(
            begun.elapsed() < CAP,
            "never quiet: last used {used:?} of CPU in {QUIET:?}, and wrote: {wrote}"
        );
    }
}

/// The store's version, which every write to any object raises.
async fn store_version(client: &Client) -> String {
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
