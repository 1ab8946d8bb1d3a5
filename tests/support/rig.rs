//! A control plane with an operator, and short words for what people do with them.
//!
//! On a real API server the gateway is served beside the operator, in the account that the chart has for it.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Mutex, time::Duration};

use super::{faults::Fault, server::Server};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use signoff::{
    gateway::Listener,
    net::{AddressPolicy, Network},
    operator::{GatewayServer, GatewayServerOptions, Operator, OperatorOptions},
    store::{Settings, Store},
    telemetry::metrics::Metrics,
};
use signoff_api::{Approval, Decision, Flow, Run, approval::ApprovalPurpose};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use super::controlplane::PATIENCE;

/// Pause between two looks at what cannot be watched; a look without a pause would keep a core busy.
pub const PAUSE: Duration = Duration::from_millis(10);

/// A control plane and what stands around it.
pub struct Rig {
    pub server: Server,
    /// Where the gateway of the newest operator listens.
    gateway: Mutex<Option<SocketAddr>>,
    /// Where health and metrics of the newest operator are.
    admin: Mutex<Option<SocketAddr>>,
    /// Names of questions, by what tests call them.
    questions: Mutex<HashMap<String, String>>,
    dir: TempDir,
}

/// A running operator.
pub struct Running {
    metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Stops it in order, then looks at what it counted.
    pub async fn stop_and(self, look: impl FnOnce(&Metrics)) {
        let metrics = self.metrics.clone();
        self.stop().await;
        look(&metrics);
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Stops it as a crash would: whatever was under way is dropped where it stands.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.shutdown.cancel();
    }
}

impl Rig {
    pub async fn open() -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            // a second test of the same process finds it set up
            let _ = signoff::telemetry::logs::init(signoff::telemetry::logs::LogFormat::Text, "info");
        }
        let dir = tempfile::tempdir().unwrap();
        Self {
            server: Server::open(dir.path()).await,
            gateway: Mutex::default(),
            admin: Mutex::default(),
            questions: Mutex::default(),
            dir,
        }
    }

    pub fn client(&self, user: &str) -> Client {
        self.server.client(user)
    }

    pub fn operator_client(&self) -> Client {
        self.server.operator()
    }

    /// The object store of all operators, a folder.
    pub fn store(&self) -> Store {
        let settings = Settings::folder(&self.store_folder()).unwrap();
        Store::open(&settings, &Network::new(AddressPolicy::local())).unwrap()
    }

    pub fn store_folder(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Where the gateway of the newest operator listens.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway.lock().unwrap().expect("an operator was started")
    }

    /// What the newest operator says of its health, within this time.
    pub async fn health(&self, within: Duration) -> reqwest::Result<String> {
        let admin = self.admin.lock().unwrap().expect("an operator was started");
        let asked = reqwest::Client::new().get(format!("http://{admin}/healthz"));
        asked.timeout(within).send().await?.text().await
    }

    /// Whether the server writes down who asks and who changes what.
    pub fn stamps(&self) -> bool {
        self.server.stamps()
    }

    /// Whether somebody deletes what has lost its owner; says so where nobody does.
    pub fn collects(&self) -> bool {
        self.server.can_test("that what has lost its owner goes")
    }

    /// Where everything happens.
    pub fn namespace(&self) -> &str {
        self.server.namespace()
    }

    /// Starts an operator with the rights of its service account.
    pub async fn operator(&self) -> Running {
        self.operator_with(self.operator_client()).await.unwrap()
    }

    /// Starts an operator with this client.
    pub async fn operator_with(&self, client: Client) -> Result<Running, signoff::operator::OperatorError> {
        self.operator_as(client, |_| ()).await
    }

    /// Plays a story. The first operator may be cut off in it; a second one is there from then on, or from its end.
    /// Says whether the cut was reached.
    pub async fn play_over<T>(
        &self,
        fault: &Fault,
        first: Option<Running>,
        story: impl Future<Output = T>,
    ) -> (bool, Running) {
        tokio::pin!(story);
        let ended_first = tokio::select! {
            biased;
            _ = &mut story => true,
            () = fault.broken.cancelled() => false,
        };
        let reached = !ended_first || fault.broken.is_cancelled();
        if let Some(first) = first {
            first.kill().await;
        }
        let second = self.operator().await;
        if !ended_first {
            story.await;
        }
        (reached, second)
    }

    /// Starts an operator with this client and other options than usual.
    pub async fn operator_as(
        &self,
        client: Client,
        choose: impl FnOnce(&mut OperatorOptions),
    ) -> Result<Running, signoff::operator::OperatorError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let mut options = OperatorOptions {
            watch_namespaces: self.server.watched().into_iter().collect(),
            network: Network::new(AddressPolicy::local()),
            store: Some(self.store()),
            ..OperatorOptions::new(format!("http://{gateway}"), self.dir.path().join("git"))
        };
        choose(&mut options);
        *self.gateway.lock().unwrap() = Some(gateway);
        let of_gateway = GatewayServerOptions {
            namespace: options.namespace.clone(),
            watch_namespaces: options.watch_namespaces.clone(),
            connections: options.connections,
            store: options.store.clone(),
            agents: options.agents.clone(),
        };
        let shutdown = CancellationToken::new();
        let operator = Operator::start(client, options).await?;
        let alone = match self.server.gateway() {
            Some(client) => Some(GatewayServer::start(client, of_gateway).await.unwrap()),
            None => None,
        };
        let health = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *self.admin.lock().unwrap() = Some(health.local_addr().unwrap());
        let serving = Listener::admin(operator.metrics().clone());
        tokio::spawn(serving.serve(health, operator.admin(), shutdown.clone()));
        let token = shutdown.clone();
        let metrics = operator.metrics().clone();
        let task = tokio::spawn(async move {
            match alone {
                None => operator.run(Some(listener), token).await.unwrap(),
                Some(gateway) => {
                    let both =
                        tokio::try_join!(operator.run(None, token.clone()), gateway.run(listener, token));
                    both.map(drop).unwrap();
                }
            }
        });
        Ok(Running {
            metrics,
            shutdown,
            task,
        })
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        self.server.api()
    }

    /// A flow with this spec whose first release is live. Gives the release's name. An operator must be running.
    pub async fn flow(&self, name: &str, spec: Value) -> String {
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": name}, "spec": spec});
        let flow: Flow = serde_json::from_value(flow).unwrap();
        let flows = self.api::<Flow>();
        flows.create(&PostParams::default(), &flow).await.unwrap();
        let draft = |flow: &Flow| {
            flow.status
                .as_ref()?
                .draft
                .as_ref()
                .map(|draft| draft.release.clone())
        };
        let release = draft(&self.until(name, |flow| draft(flow).is_some()).await).unwrap();
        self.promote(name, &release).await;
        release
    }

    /// Changes a flow and promotes what comes of it. Gives the release's name.
    pub async fn next_release(&self, name: &str, spec: Value) -> String {
        let flows = self.api::<Flow>();
        let draft = |flow: &Flow| {
            flow.status
                .as_ref()?
                .draft
                .as_ref()
                .map(|draft| draft.release.clone())
        };
        let before = draft(&flows.get(name).await.unwrap());
        flows
            .patch(
                name,
                &PatchParams::default(),
                &Patch::Merge(json!({"spec": spec})),
            )
            .await
            .unwrap();
        let release = draft(&self.until(name, |flow| draft(flow) != before).await).unwrap();
        self.promote(name, &release).await;
        release
    }

    async fn promote(&self, name: &str, release: &str) {
        let patch = Patch::Merge(json!({"spec": {"live": release}}));
        self.api::<Flow>()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
        let live = |flow: &Flow| {
            flow.status
                .as_ref()
                .and_then(|status| status.live_release().map(str::to_owned))
        };
        self.until(name, |flow| live(flow).as_deref() == Some(release))
            .await;
    }

    /// A run started by `dev`.
    pub async fn start(&self, name: &str, spec: Value) -> Run {
        let mut run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": spec});
        self.server.sign("dev", &mut run);
        let run: Run = serde_json::from_value(run).unwrap();
        let api: Api<Run> = Api::namespaced(self.client("dev"), self.namespace());
        api.create(&PostParams::default(), &run).await.unwrap()
    }

    /// Name of a question that was put, which ends with a hash. Tests call it `<run>-<step>`, with `-<iteration>` from the second one on,
    /// `<run>-<step>[<item>]` of an item, and `<run>-<step>-outcome` where it asks what became of an effect. Any other name is one as it stands.
    pub async fn question(&self, called: &str) -> String {
        let find = async {
            loop {
                if let Some(name) = self.look_for(called).await {
                    return name;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, find).await;
        found.unwrap_or_else(|_| panic!("{called} is not asked"))
    }

    /// The newest question of that name that is there.
    async fn look_for(&self, called: &str) -> Option<String> {
        let approvals = self.api::<Approval>();
        if approvals.get_metadata_opt(called).await.unwrap().is_some() {
            return Some(called.to_owned());
        }
        // what others wrote there may be unreadable
        let ours = ListParams::default().labels("app.kubernetes.io/managed-by=signoff");
        let list = approvals.list(&ours).await.unwrap();
        let mut all: Vec<_> = list
            .items
            .into_iter()
            .filter(|approval| is_called(approval, called))
            .collect();
        all.sort_by_key(|approval| approval.metadata.creation_timestamp.clone());
        let name = all.pop()?.name_any();
        self.questions
            .lock()
            .unwrap()
            .insert(called.to_owned(), name.clone());
        Some(name)
    }

    /// Whether a question was put and is still there.
    pub async fn is_asked(&self, called: &str) -> bool {
        self.look_for(called).await.is_some()
    }

    /// A question that was put, as it is now.
    pub async fn asked(&self, called: &str) -> Approval {
        let name = self.question(called).await;
        self.api::<Approval>().get(&name).await.unwrap()
    }

    /// The same of a question that was looked for before.
    pub fn known(&self, called: &str) -> String {
        let questions = self.questions.lock().unwrap();
        questions
            .get(called)
            .map_or_else(|| called.to_owned(), Clone::clone)
    }

    /// The name of what a test calls like this.
    async fn name_of<K: kube::Resource<DynamicType = ()>>(&self, called: &str) -> String {
        if K::kind(&()) == "Approval" {
            self.question(called).await
        } else {
            called.to_owned()
        }
    }

    /// A decision by somebody on an approval, as it stands.
    pub async fn decide(&self, user: &str, approval: &str, verdict: &str) -> Decision {
        let approval = &self.question(approval).await;
        let digest = self.api::<Approval>().get(approval).await.unwrap().spec.digest;
        self.decide_with(
            user,
            json!({"approval": approval, "digest": digest, "verdict": verdict}),
        )
        .await
        .unwrap()
    }

    pub async fn decide_with(&self, user: &str, mut spec: Value) -> Result<Decision, kube::Error> {
        if let Some(approval) = spec["approval"].as_str() {
            spec["approval"] = json!(self.known(approval));
        }
        let metadata = json!({"generateName": format!("{user}-")});
        let mut decision = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": metadata, "spec": spec});
        self.server.sign(user, &mut decision);
        let decision: Decision = serde_json::from_value(decision).unwrap();
        let api: Api<Decision> = Api::namespaced(self.client(user), self.namespace());
        api.create(&PostParams::default(), &decision).await
    }

    /// Waits until an object is as wanted.
    pub async fn until<K>(&self, name: &str, wanted: impl Fn(&K) -> bool + Send) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + serde::Serialize
            + Send
            + 'static,
    {
        let api = self.api::<K>();
        let name = &self.name_of::<K>(name).await;
        let condition = |object: Option<&K>| object.is_some_and(&wanted);
        let waited = tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition)).await;
        if let Ok(found) = waited {
            return found.unwrap().unwrap();
        }
        let object = api.get_opt(name).await.unwrap();
        panic!(
            "{name} is not as wanted: {}",
            serde_json::to_string_pretty(&object).unwrap()
        );
    }

    /// Calls back to whichever operator's gateway listens now, until one has taken it.
    pub async fn call_back(&self, token: &str, body: &'static str) {
        let client = reqwest::Client::new();
        let post = async {
            loop {
                let gateway = *self.gateway.lock().unwrap();
                let url = format!("http://{}/v1/callbacks/{token}", gateway.unwrap());
                let sent = client
                    .post(url)
                    .header("content-type", "application/json")
                    .body(body)
                    .send()
                    .await;
                if sent.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, post)
            .await
            .expect("no gateway took the callback");
    }

    /// Waits for an object for as long as it takes.
    pub async fn until_ever<K>(&self, name: &str) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
    {
        loop {
            if K::kind(&()) != "Approval" || self.look_for(name).await.is_some() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let name = &self.known(name);
        await_condition(self.api::<K>(), name, |object: Option<&K>| object.is_some())
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits until an object is gone.
    pub async fn until_gone<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
    {
        let name = &self.known(name);
        let gone = await_condition(self.api::<K>(), name, |object: Option<&K>| object.is_none());
        let found = tokio::time::timeout(PATIENCE, gone).await;
        found.unwrap_or_else(|_| panic!("{name} is still there")).unwrap();
    }

    /// Waits until a run is in a phase.
    pub async fn phase(&self, run: &str, phase: &str) -> Run {
        self.until::<Run>(run, |run| {
            run.status
                .as_ref()
                .is_some_and(|status| status.phase.to_string() == phase)
        })
        .await
    }

    /// Waits until a decision was judged, and says how.
    pub async fn judged(&self, decision: &Decision) -> (bool, String, String) {
        let judged = self
            .until::<Decision>(&decision.name_any(), |decision| {
                decision
                    .status
                    .as_ref()
                    .is_some_and(|status| status.reason.is_some())
            })
            .await;
        let status = judged.status.unwrap();
        (
            status.counted.unwrap(),
            format!("{:?}", status.reason.unwrap()),
            status.message.unwrap_or_default(),
        )
    }

    /// The Events about an object.
    pub async fn events(&self, about: &str) -> Vec<Event> {
        let about = self.known(about);
        let all = self
            .api::<Event>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .into_iter();
        all.filter(|event| {
            event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(&*about)
        })
        .collect()
    }

    /// Waits until there is an Event with this reason about an object.
    pub async fn event(&self, about: &str, reason: &str) -> Event {
        let api: Api<Event> = self.api();
        let known = self.known(about);
        let find = async {
            loop {
                let list = api.list(&ListParams::default()).await.unwrap();
                let found = list.items.into_iter().find(|event| {
                    event.reason.as_deref() == Some(reason)
                        && event
                            .regarding
                            .as_ref()
                            .and_then(|object| object.name.as_deref())
                            .is_some_and(|name| name == known || is_hashed(name, about))
                });
                if let Some(event) = found {
                    return event;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, find).await;
        if found.is_err() {
            let list = api.list(&ListParams::default()).await.unwrap();
            let all: Vec<_> = list
                .items
                .into_iter()
                .map(|event| (event.regarding, event.reason, event.note))
                .collect();
            panic!("no event {reason} about {about} in {all:#?}");
        }
        found.unwrap()
    }

    /// Deletes a run as the API server itself does, which may be before it has ended.
    pub async fn delete_run(&self, name: &str) {
        self.server
            .collector::<Run>()
            .await
            .delete(name, &DeleteParams::background())
            .await
            .unwrap();
    }

    pub async fn patch_run(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api::<Run>()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
}

/// Whether a question is what a test calls like this.
fn is_called(approval: &Approval, called: &str) -> bool {
    let subject = &approval.spec.subject;
    let (Some(run), Some(step)) = (&subject.run, &subject.step) else {
        return is_hashed(&approval.name_any(), called);
    };
    // of a call of a tool
    if called.contains("-call-") && is_hashed(&approval.name_any(), called) {
        return true;
    }
    let is = match (approval.spec.purpose, subject.iteration) {
        (ApprovalPurpose::Outcome, _) => format!("{run}-{step}-outcome"),
        (ApprovalPurpose::Step | ApprovalPurpose::Promotion, None | Some(1)) => format!("{run}-{step}"),
        (ApprovalPurpose::Step | ApprovalPurpose::Promotion, Some(iteration)) => {
            format!("{run}-{step}-{iteration}")
        }
    };
    let item = subject.item.map(|item| format!("[{item}]")).unwrap_or_default();
    format!("{is}{item}") == called
}

/// Whether a name is this one and a hash.
fn is_hashed(name: &str, readable: &str) -> bool {
    let hash = name
        .strip_prefix(readable)
        .and_then(|rest| rest.strip_prefix('-'));
    hash.is_some_and(|hash| hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Waits until something holds that no object shows.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
