//! `signoff dev` killed with SIGKILL again and again under load: nothing acknowledged is lost, no effect is done twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use futures::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use signoff_api::{
    Approval, ApprovalPhase, Decision, DecisionSpec, Flow, Run, RunPhase, Verdict, approval::ApprovalPurpose,
    json::JsonObject,
};
use tokio::net::TcpListener;

use crate::support::dev::{CAP, Dev};

const KILLS: usize = 20;
const RUNS_PER_ROUND: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_nothing_and_repeat_no_at_most_once_effect() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open().await;
    let dev = Dev::new(dir.path());
    let mut child = dev.start().await;
    let (dev_user, alice) = (dev.client("dev").await, dev.client("alice").await);
    let flows: Api<Flow> = Api::namespaced(dev_user.clone(), "default");
    flows
        .create(&PostParams::default(), &load_flow(&shop.base_url))
        .await
        .unwrap();
    until_live(&flows).await;

    // one watch for the whole time: it has to resume across every restart
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let watching = tokio::spawn(watch_successes(
        Api::namespaced(dev_user.clone(), "default"),
        Arc::clone(&seen),
    ));

    let runs: Api<Run> = Api::namespaced(dev_user.clone(), "default");
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let before = shop.calls_in_all();
        for n in 0..RUNS_PER_ROUND {
            let name = format!("load-{round}-{n}");
            let created = runs.create(&PostParams::default(), &new_run(&name)).await;
            if created.is_ok() {
                acknowledged.insert(name);
            }
        }
        // kill in the middle of the work: some calls of this round have arrived, others have not
        shop.until_calls(before + 1 + round % RUNS_PER_ROUND).await;
        child.kill().await.unwrap();
        child = dev.start().await;
    }
    answer_outcome_questions_until_all_ended(&alice, &runs, &shop, &acknowledged).await;

    assert_eq!(acknowledged.len(), KILLS * RUNS_PER_ROUND);
    for name in &acknowledged {
        assert_eq!(shop.calls("once", name), 1, "AtMostOnce effect of {name}");
        assert!(shop.calls("first", name) >= 1, "repeatable effect of {name}");
        assert_eq!(
            shop.keys("first", name).len(),
            1,
            "a repeated effect of {name} keeps its key"
        );
    }
    until(
        || acknowledged.is_subset(&seen.lock().unwrap()),
        "the watch to have seen every end",
    )
    .await;
    watching.abort();
    child.kill().await.unwrap();
}

async fn until(passes: impl Fn() -> bool, what: &str) {
    let poll = async {
        while !passes() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(CAP, poll)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"));
}

async fn until_live(flows: &Api<Flow>) {
    let live = async {
        let mut flow = flows.get("load").await.unwrap();
        while flow.status.as_ref().is_none_or(|status| status.draft.is_none()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            flow = flows.get("load").await.unwrap();
        }
    };
    tokio::time::timeout(CAP, live)
        .await
        .expect("the flow gets a draft release");
}

async fn watch_successes(runs: Api<Run>, seen: Arc<Mutex<BTreeSet<String>>>) {
    let stream = watcher(runs, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    stream
        .filter_map(|event| async move { event.ok() })
        .for_each(|run| {
            if phase(&run) == RunPhase::Succeeded {
                seen.lock().unwrap().insert(run.name_any());
            }
            std::future::ready(())
        })
        .await;
}

async fn answer_outcome_questions_until_all_ended(
    alice: &Client,
    runs: &Api<Run>,
    shop: &Shop,
    acknowledged: &BTreeSet<String>,
) {
    let approvals: Api<Approval> = Api::namespaced(alice.clone(), "default");
    let decisions: Api<Decision> = Api::namespaced(alice.clone(), "default");
    let mut answered = BTreeSet::new();
    let work = async {
        loop {
            for approval in approvals.list(&ListParams::default()).await.unwrap() {
                let name = approval.name_any();
                let pending = approval.status.clone().unwrap_or_default().phase == ApprovalPhase::Pending;
                if pending && answered.insert(name.clone()) {
                    assert_eq!(approval.spec.purpose, ApprovalPurpose::Outcome, "{name}");
                    let run = approval.spec.subject.run.clone().unwrap();
                    let happened = shop.calls("once", &run) > 0;
                    decisions
                        .create(&PostParams::default(), &outcome_decision(&approval, happened))
                        .await
                        .unwrap();
                }
            }
            let all: BTreeMap<String, RunPhase> = runs
                .list(&ListParams::default())
                .await
                .unwrap()
                .iter()
                .map(|run| (run.name_any(), phase(run)))
                .collect();
            for name in acknowledged {
                assert!(all.contains_key(name), "{name} was acknowledged and is gone");
                assert!(
                    !matches!(
                        all[name],
                        RunPhase::Failed | RunPhase::TimedOut | RunPhase::Rejected
                    ),
                    "{name}"
                );
            }
            if acknowledged.iter().all(|name| all[name] == RunPhase::Succeeded) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(CAP, work)
        .await
        .expect("every run ends as it would have");
}

fn phase(run: &Run) -> RunPhase {
    run.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

fn outcome_decision(approval: &Approval, happened: bool) -> Decision {
    let values = json!({ "happened": happened })
        .as_object()
        .cloned()
        .map(JsonObject);
    let spec = DecisionSpec {
        approval: approval.name_any().parse().unwrap(),
        digest: approval.spec.digest.clone(),
        verdict: Verdict::Approve,
        comment: None,
        values,
        shown: None,
        to: None,
        by: None,
        groups: None,
        via: None,
    };
    Decision::new(&format!("{}-alice", approval.name_any()), spec)
}

fn new_run(name: &str) -> Run {
    let run = json!({
        "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": { "name": name },
        "spec": { "flow": "load", "channel": "Draft" },
    });
    serde_json::from_value(run).unwrap()
}

fn load_flow(shop: &str) -> Flow {
    let call = |path: &str| json!({ "url": format!("{shop}/{path}"), "method": "POST", "body": { "run": "${run.name}" } });
    let spec = json!({
        "steps": [
            { "name": "first", "http": call("first"), "retry": { "attempts": 5, "backoff": { "initial": "100ms" } } },
            { "name": "once", "http": call("once"), "delivery": "AtMostOnce" },
            { "name": "note", "set": { "done": true } },
        ],
    });
    let metadata = ObjectMeta {
        name: Some("load".to_owned()),
        ..ObjectMeta::default()
    };
    Flow {
        metadata,
        spec: serde_json::from_value(spec).unwrap(),
        status: None,
    }
}

/// Counts calls by path and run, with the idempotency keys they carried.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Calls>>);

/// Idempotency keys by path and run.
type Calls = BTreeMap<(String, String), Vec<String>>;

struct Shop {
    base_url: String,
    ledger: Ledger,
}

impl Shop {
    async fn open() -> Self {
        let ledger = Ledger::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/{path}", post(note))
            .with_state(ledger.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base_url, ledger }
    }

    fn calls(&self, path: &str, run: &str) -> usize {
        self.entry(path, run).len()
    }

    fn keys(&self, path: &str, run: &str) -> BTreeSet<String> {
        self.entry(path, run).into_iter().collect()
    }

    fn calls_in_all(&self) -> usize {
        self.ledger.0.lock().unwrap().values().map(Vec::len).sum()
    }

    async fn until_calls(&self, count: usize) {
        until(|| self.calls_in_all() >= count, "calls to arrive").await;
    }

    fn entry(&self, path: &str, run: &str) -> Vec<String> {
        self.ledger
            .0
            .lock()
            .unwrap()
            .get(&(path.to_owned(), run.to_owned()))
            .cloned()
            .unwrap_or_default()
    }
}

async fn note(
    State(ledger): State<Ledger>,
    axum::extract::Path(path): axum::extract::Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let run = body["run"].as_str().unwrap().to_owned();
    ledger.0.lock().unwrap().entry((path, run)).or_default().push(key);
    Json(json!({ "ok": true }))
}
