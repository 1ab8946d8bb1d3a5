//! Runs that call, ask, pay, wait and thank, and the people and services around them, who never give up.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff_api::{Approval, Decision, Flow, Run, RunPhase};
use tokio::task::JoinHandle;

use crate::support::processes::Operator;
use crate::{
    controlplane::{ControlPlane, Signature},
    support::shop::Shop,
};

/// Longest wait for anything; far above what it takes even on a busy machine.
const CAP: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Some runs and everybody around them.
pub struct Story {
    dev: Client,
    admin: Client,
    shop: Shop,
    gateways: Arc<Mutex<Vec<SocketAddr>>>,
    runs: usize,
    around: Option<JoinHandle<()>>,
}

impl Story {
    /// Makes a flow, starts runs of it, and lets people decide and a service call back from now on.
    pub async fn begin(plane: &ControlPlane, operators: &[Operator], runs: usize) -> Self {
        Self::prepare(plane, operators, runs).await.with_people(plane)
    }

    /// The same while everybody is away.
    pub async fn prepare(plane: &ControlPlane, operators: &[Operator], runs: usize) -> Self {
        let (dev, admin) = (plane.client("dev"), plane.client("admin"));
        let shop = Shop::open().await;
        make_live(&dev, &shop).await;
        let all: Api<Run> = Api::default_namespaced(dev.clone());
        for number in 0..runs {
            let mut run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": format!("r-{number}")},
                "spec": {"flow": "f", "inputs": {"run": format!("r-{number}")}}});
            plane.sign("dev", &mut run);
            all.create(&PostParams::default(), &serde_json::from_value(run).unwrap())
                .await
                .unwrap();
        }
        let gateways = Arc::new(Mutex::new(
            operators.iter().map(|operator| operator.gateway).collect(),
        ));
        Self {
            dev,
            admin,
            shop,
            gateways,
            runs,
            around: None,
        }
    }

    /// From now on people are there, and the service.
    pub fn with_people(self, plane: &ControlPlane) -> Self {
        let (alice, signature) = (plane.client("alice"), plane.signature("alice"));
        let around = everybody(alice, signature, self.shop.clone(), Arc::clone(&self.gateways));
        Self {
            around: Some(tokio::spawn(around)),
            ..self
        }
    }

    /// Waits until every run waits for people.
    pub async fn until_all_wait(&self) {
        let runs: Api<Run> = Api::default_namespaced(self.dev.clone());
        until("all runs wait", async || {
            let Ok(list) = runs.list(&ListParams::default()).await else {
                return false;
            };
            list.iter().filter(|run| phase(run) == RunPhase::Waiting).count() == self.runs
        })
        .await;
    }

    /// Waits until people have answered every run's question.
    pub async fn until_all_are_answered(&self) {
        let decisions: Api<Decision> = Api::default_namespaced(self.dev.clone());
        until("all questions are answered", async || {
            let list = decisions.list(&ListParams::default()).await;
            list.is_ok_and(|list| list.items.len() == self.runs)
        })
        .await;
    }

    /// Callbacks go to these from now on.
    pub fn gateways(&self, operators: &[Operator]) {
        *self.gateways.lock().unwrap() = operators.iter().map(|operator| operator.gateway).collect();
    }

    /// Waits until so many payments have been asked for.
    pub async fn until_payments(&self, count: usize) {
        until(&format!("{count} payments"), async || {
            self.shop.asked("/pay").len() >= count
        })
        .await;
    }

    /// Which of them holds the lease, as soon as one does.
    pub async fn leader(&self, operators: &[Operator]) -> usize {
        let found = Mutex::new(0);
        until("one of them leads", async || {
            let holder = self.holder().await;
            let leader = operators.iter().position(|operator| is(operator, &holder));
            *found.lock().unwrap() = leader.unwrap_or_default();
            leader.is_some()
        })
        .await;
        found.into_inner().unwrap()
    }

    pub async fn until_led_by(&self, operator: &Operator) {
        until(&format!("{} leads", operator.name), async || {
            is(operator, &self.holder().await)
        })
        .await;
    }

    async fn holder(&self) -> String {
        let leases: Api<Lease> = Api::namespaced(self.admin.clone(), "signoff-system");
        let lease = leases.get_opt(signoff::operator::LEASE).await.unwrap_or_default();
        lease
            .and_then(|lease| lease.spec?.holder_identity)
            .unwrap_or_default()
    }

    /// While the API server is away nobody claims to have recorded anything.
    pub async fn a_callback_is_told_to_come_again(&self) {
        let url = self.shop.asked("/pay")[0].body["url"]
            .as_str()
            .unwrap()
            .to_owned();
        let gateway = self.gateways.lock().unwrap()[0];
        let posted = call_back(&url, gateway).await;
        assert!(matches!(posted, Some(503 | 408)), "{posted:?}");
    }

    /// Waits until all runs have ended well, then looks at what was done.
    pub async fn end(self) {
        let runs: Api<Run> = Api::default_namespaced(self.dev.clone());
        until("all runs have ended", async || {
            let Ok(list) = runs.list(&ListParams::default()).await else {
                return false;
            };
            let ended = list
                .iter()
                .filter(|run| phase(run) == RunPhase::Succeeded)
                .count();
            ended == self.runs
        })
        .await;
        if let Some(around) = &self.around {
            around.abort();
        }
        let approvals: Api<Approval> = Api::default_namespaced(self.admin.clone());
        let approvals = approvals.list(&ListParams::default()).await.unwrap().items;
        for number in 0..self.runs {
            let name = format!("r-{number}");
            let paid = self.asked("/pay", &name);
            let asked = approvals
                .iter()
                .any(|approval| approval.name_any().starts_with(&format!("{name}-pay-")));
            assert!(
                paid == 1 || (paid == 0 && asked),
                "{name} paid {paid} times; asked a person: {asked}"
            );
            for path in ["/quote", "/thank"] {
                assert!(self.asked(path, &name) >= 1, "{name}: {path}");
                let keys: BTreeSet<_> = self.of(path, &name).map(|asked| asked.idempotency_key).collect();
                assert_eq!(keys.len(), 1, "{name}: {path} is repeated under one key");
            }
        }
        self.every_decision_was_judged_once(&approvals).await;
    }

    async fn every_decision_was_judged_once(&self, approvals: &[Approval]) {
        let decisions: Api<Decision> = Api::default_namespaced(self.admin.clone());
        let judged = async || {
            let list = decisions.list(&ListParams::default()).await.unwrap().items;
            let all = list
                .iter()
                .all(|one| one.status.as_ref().is_some_and(|status| status.counted.is_some()));
            all.then_some(list)
        };
        until("every decision is judged", async || judged().await.is_some()).await;
        for decision in judged().await.unwrap() {
            let approval = approvals
                .iter()
                .find(|approval| approval.name_any() == decision.spec.approval)
                .unwrap();
            let counted = approval.status.as_ref().unwrap().counted.iter();
            let times = counted.filter(|one| one.decision == decision.name_any()).count();
            let expected = usize::from(decision.status.unwrap().counted.unwrap());
            assert_eq!(
                times,
                expected,
                "{} on {}",
                decision.metadata.name.unwrap(),
                decision.spec.approval
            );
        }
    }

    fn asked(&self, path: &str, run: &str) -> usize {
        self.of(path, run).count()
    }

    fn of(&self, path: &str, run: &str) -> impl Iterator<Item = crate::support::shop::Asked> {
        let run = run.to_owned();
        self.shop
            .asked(path)
            .into_iter()
            .filter(move |asked| asked.body["run"] == run)
    }
}

fn is(operator: &Operator, holder: &str) -> bool {
    holder
        .rsplit_once('_')
        .is_some_and(|(name, _)| name == operator.name)
}

fn phase(run: &Run) -> RunPhase {
    run.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(CAP, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

async fn make_live(dev: &Client, shop: &Shop) {
    let call = |name: &str| {
        json!({"name": name, "http": {"method": "POST", "url": shop.url(&format!("/{name}")),
            "body": {"run": "${inputs.run}", "url": "${callback('settled').url}"}}})
    };
    let mut pay = call("pay");
    pay["delivery"] = json!("AtMostOnce");
    let steps = json!([call("quote"), {"name": "review", "approval": {"title": "go?"}}, pay,
        {"name": "settled", "wait": {"callback": {}}}, call("thank")]);
    let inputs = json!({"type": "object", "required": ["run"], "properties": {"run": {"type": "string"}}});
    let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "f"},
        "spec": {"inputs": inputs, "steps": steps}});
    let flows: Api<Flow> = Api::default_namespaced(dev.clone());
    let flow = serde_json::from_value(flow).unwrap();
    flows.create(&PostParams::default(), &flow).await.unwrap();
    let draft = async || {
        let status = flows.get("f").await.ok()?.status?;
        Some(status.draft?.release)
    };
    until("the flow has a release", async || draft().await.is_some()).await;
    let live = json!({"spec": {"live": draft().await}});
    flows
        .patch("f", &PatchParams::default(), &Patch::Merge(live))
        .await
        .unwrap();
}

/// Alice answers what is asked, and the shop calls back when it was paid; both until it was taken.
async fn everybody(
    alice: Client,
    signature: Option<Signature>,
    shop: Shop,
    gateways: Arc<Mutex<Vec<SocketAddr>>>,
) {
    let mut decided = BTreeSet::new();
    let mut settled = BTreeSet::new();
    loop {
        decide(&alice, signature.as_ref(), &shop, &mut decided).await;
        for paid in shop.asked("/pay") {
            let url = paid.body["url"].as_str().unwrap().to_owned();
            if settled.contains(&url) {
                continue;
            }
            let known = gateways.lock().unwrap().clone();
            for gateway in known {
                if matches!(call_back(&url, gateway).await, Some(200..300)) {
                    settled.insert(url);
                    break;
                }
            }
        }
        // a payment that never reached the shop, as a person has said, is settled without it
        for url in unpaid(&alice, &shop).await {
            let known = gateways.lock().unwrap().clone();
            for gateway in known {
                if matches!(call_back(&url, gateway).await, Some(200..300)) {
                    break;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where to call back for runs that wait though the shop was not paid: the quote was told the same address.
async fn unpaid(alice: &Client, shop: &Shop) -> Vec<String> {
    let runs: Api<Run> = Api::default_namespaced(alice.clone());
    let Ok(list) = runs.list(&ListParams::default()).await else {
        return Vec::new();
    };
    let paid: BTreeSet<_> = shop
        .asked("/pay")
        .into_iter()
        .map(|asked| asked.body["run"].to_string())
        .collect();
    let waits = |run: &&Run| {
        let steps = run.status.iter().flat_map(|status| &status.steps);
        steps.filter(|step| step.name == "settled").count() > 0 && phase(run) == RunPhase::Waiting
    };
    let names = list
        .iter()
        .filter(waits)
        .map(|run| json!(run.name_any()).to_string());
    let unpaid: BTreeSet<_> = names.filter(|name| !paid.contains(name)).collect();
    let quotes = shop.asked("/quote").into_iter();
    quotes
        .filter(|asked| unpaid.contains(&asked.body["run"].to_string()))
        .map(|asked| asked.body["url"].as_str().unwrap().to_owned())
        .collect()
}

async fn decide(alice: &Client, signature: Option<&Signature>, shop: &Shop, decided: &mut BTreeSet<String>) {
    let approvals: Api<Approval> = Api::default_namespaced(alice.clone());
    let decisions: Api<Decision> = Api::default_namespaced(alice.clone());
    let Ok(list) = approvals.list(&ListParams::default()).await else {
        return;
    };
    for approval in list {
        let name = approval.name_any();
        let closed = approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_closed());
        if closed || decided.contains(&name) {
            continue;
        }
        let mut spec = json!({"approval": name, "digest": approval.spec.digest, "verdict": "Approve"});
        if let Some((run, _)) = name.split_once("-pay-") {
            let happened = shop.asked("/pay").iter().any(|asked| asked.body["run"] == run);
            spec["values"] = json!({"happened": happened, "output": "{}"});
        }
        // a name of its own, so that one whose answer was lost is not made twice
        let mut decision = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": {"name": name}, "spec": spec});
        if let Some(signature) = signature {
            signature.put(&mut decision);
        }
        let decision: Decision = serde_json::from_value(decision).unwrap();
        match decisions.create(&PostParams::default(), &decision).await {
            Ok(_) => drop(decided.insert(name)),
            Err(kube::Error::Api(status)) if status.code == 409 => drop(decided.insert(name)),
            Err(_) => {}
        }
    }
}

/// Calls back through this gateway, whichever the address names. Says what it answered.
async fn call_back(url: &str, gateway: SocketAddr) -> Option<u16> {
    let token = url.rsplit('/').next().unwrap();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let posted = client.post(format!("http://{gateway}/v1/callbacks/{token}"));
    let body: Value = json!({"receipt": 1});
    let posted = posted
        .header("content-type", "application/json")
        .body(body.to_string())
        .send();
    posted.await.ok().map(|answer| answer.status().as_u16())
}
