//! Where the load goes: a namespace, flows in it, and a service that steps call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, extract::Path, routing::post};
use k8s_openapi::api::{authentication::v1::SelfSubjectReview, core::v1::Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use signoff_api::{Approval, Decision, Flow, Run, names};
use tokio::sync::oneshot;

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(120);

/// Where the load goes.
pub struct Target {
    pub client: Client,
    pub namespace: String,
    /// Where nothing of Signoff's reacts: its flow does not exist, and its runs are marked as finished.
    pub raw: String,
    /// Who this is, for servers that do not fill it in.
    pub user: String,
    pub calls: Calls,
}

/// Tells when a run's step called.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<HashMap<String, oneshot::Sender<Call>>>>);

/// When a step called, and what it said.
pub type Call = (Instant, Value);

impl Calls {
    /// Resolves with the time at which this run's step calls, and with what it says.
    pub fn expect(&self, run: &str) -> oneshot::Receiver<Call> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap().insert(run.to_owned(), sender);
        receiver
    }

    fn called(&self, run: &str, body: Value) {
        let at = Instant::now();
        let waiting = self.0.lock().unwrap().remove(run);
        if let Some(waiting) = waiting {
            let _ = waiting.send((at, body));
        }
    }
}

impl Target {
    /// Makes the namespaces and starts the service.
    pub async fn prepare(server: &Server) -> Self {
        let client = server.client();
        let stamp = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let names = ["bench", "bench-raw"].map(|name| format!("{name}-{stamp}"));
        for name in &names {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            namespaces
                .create(&PostParams::default(), &namespace)
                .await
                .unwrap();
        }
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let me = reviews
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await
            .unwrap();
        let user = me.status.unwrap().user_info.unwrap().username.unwrap();
        let [namespace, raw] = names;
        let calls = Calls::default();
        Self {
            client,
            namespace,
            raw,
            user,
            calls,
        }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The service: `POST /<run>` is a call of that run's step.
    pub async fn serve(&self) -> String {
        let calls = self.calls.clone();
        let call = move |Path(run): Path<String>, body: axum::Json<Value>| {
            let calls = calls.clone();
            async move { calls.called(&run, body.0) }
        };
        let router = Router::new().route("/{run}", post(call));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// Puts a flow there that takes the run's name, and makes it live.
    pub async fn flow(&self, name: &str, mut spec: Value) {
        spec["inputs"] =
            json!({"type": "object", "required": ["run"], "properties": {"run": {"type": "string"}}});
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": name}, "spec": spec});
        let flows = self.api::<Flow>();
        flows
            .create(&PostParams::default(), &serde_json::from_value(flow).unwrap())
            .await
            .unwrap();
        let draft = |flow: &Flow| Some(flow.status.as_ref()?.draft.as_ref()?.release.clone());
        let drafted = until("a draft", async || draft(&flows.get(name).await.unwrap())).await;
        let live = Patch::Merge(json!({"spec": {"live": drafted}}));
        flows.patch(name, &PatchParams::default(), &live).await.unwrap();
        until("a live release", async || {
            let flow = flows.get(name).await.unwrap();
            flow.status.and_then(|status| status.live).map(drop)
        })
        .await;
    }

    pub fn run(&self, name: &str, flow: &str) -> Run {
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name},
            "spec": {"flow": flow, "inputs": {"run": name}, "requestedBy": self.user}});
        serde_json::from_value(run).unwrap()
    }

    /// Approves, and says when the API server had accepted it.
    pub async fn approve(&self, approval: &Approval) -> Instant {
        let name = approval.metadata.name.as_ref().unwrap();
        let spec =
            json!({"approval": name, "digest": approval.spec.digest, "verdict": "Approve", "by": self.user});
        let decision = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": {"name": name}, "spec": spec});
        let decision: Decision = serde_json::from_value(decision).unwrap();
        self.api()
            .create(&PostParams::default(), &decision)
            .await
            .unwrap();
        Instant::now()
    }

    /// The question that a run puts, as soon as it is there.
    pub async fn question(&self, run: &str) -> Approval {
        let approvals = self.api::<Approval>();
        let uid = self.api::<Run>().get(run).await.unwrap().metadata.uid.unwrap();
        let name = names::approval_name(run, &uid, "review", 1, None);
        until("the question", async || approvals.get_opt(&name).await.unwrap()).await
    }
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}
