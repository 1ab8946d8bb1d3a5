//! What anybody on the internet may send to the gateway.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::post};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ListParams, PostParams},
    runtime::wait::await_condition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use signoff::{
    net::{AddressPolicy, Network},
    operator::{Operator, OperatorOptions},
};
use signoff_api::{Flow, Repository, Run};
use signoff_local::{ControlPlane, Identity, Options};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};
use tokio_util::sync::CancellationToken;

/// A body for the callback of a waiting run. Whatever it is, it is answered by other than a failure of ours, and runs can still be read.
pub fn callback(input: &[u8]) -> bool {
    let stage = &*STAGE;
    stage.runtime.block_on(async {
        let mut address = stage.address.lock().await;
        let request = stage.client.post(address.as_str()).body(input.to_vec());
        let answer = request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(!status.is_server_error(), "{status}");
        if status.is_success() {
            let runs: Api<Run> =
                Api::default_namespaced(stage.plane.client(&Identity::Named("dev".to_owned())));
            runs.list(&ListParams::default()).await.unwrap();
            *address = stage.wait().await;
        }
        status.is_success()
    })
}

/// A request to the webhook of a Repository: its headers as `name: value` lines, then an empty line, then its body.
pub fn webhook(input: &[u8]) -> bool {
    let stage = &*STAGE;
    let end = input
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    let mut request = stage
        .client
        .post(format!("{}/v1/hooks/git/default/flows", stage.gateway))
        .body(body.to_vec());
    for line in head.split(|byte| *byte == b'\n') {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        let value = reqwest::header::HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        // what is no header cannot be sent, and how long the body is says the client
        if let (Ok(name), Ok(value)) = (reqwest::header::HeaderName::from_bytes(name), value)
            && ![
                "content-length",
                "transfer-encoding",
                "connection",
                "expect",
                "host",
                "upgrade",
            ]
            .contains(&name.as_str())
        {
            request = request.header(name, value);
        }
    }
    let status = stage.runtime.block_on(request.send()).unwrap().status();
    assert!(!status.is_server_error(), "{status}");
    if status.is_success() {
        let shown = input.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        assert!(shown, "somebody who does not know the secret is heard");
    }
    status.is_success()
}

/// What signs webhooks.
const SECRET: &str = "the secret of the webhook";

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::open);

/// An embedded control plane and an operator with its gateway, for as long as the process lives.
struct Stage {
    runtime: Runtime,
    plane: ControlPlane,
    client: reqwest::Client,
    gateway: String,
    /// The callback address of the newest run.
    address: Mutex<String>,
    told: Mutex<UnboundedReceiver<Value>>,
    runs: AtomicUsize,
}

impl Stage {
    fn open() -> Self {
        let runtime = Runtime::new().unwrap();
        let (plane, gateway, told) = runtime.block_on(start());
        let stage = Self {
            runtime,
            plane,
            client: reqwest::Client::new(),
            gateway,
            address: Mutex::default(),
            told: Mutex::new(told),
            runs: AtomicUsize::new(0),
        };
        stage
            .runtime
            .block_on(async { *stage.address.lock().await = stage.wait().await });
        stage
    }

    /// Starts a run that waits for a callback. Gives the address of it.
    async fn wait(&self) -> String {
        let name = format!("r{}", self.runs.fetch_add(1, Ordering::Relaxed));
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"flow": "f", "channel": "Draft"}});
        create::<Run>(&self.plane.client(&Identity::Named("dev".to_owned())), run).await;
        loop {
            let mut told = self.told.lock().await;
            let told = tokio::time::timeout(Duration::from_mins(5), told.recv()).await;
            let told = told.expect("a run that tells its address").unwrap();
            // a call that was repeated tells of a run that was there before
            if told["run"] == *name {
                return told["url"].as_str().unwrap().to_owned();
            }
        }
    }
}

/// A control plane with a flow that waits and a Repository that has a webhook, where its gateway is, and what its runs tell.
async fn start() -> (ControlPlane, String, UnboundedReceiver<Value>) {
    // it goes with the machine's other temporary files: what is static is never dropped
    let folder = tempfile::tempdir().unwrap().keep();
    let plane = ControlPlane::open(Options::new(folder.join("state")))
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = format!("http://{}", listener.local_addr().unwrap());
    let options = OperatorOptions {
        network: Network::new(AddressPolicy::local()),
        ..OperatorOptions::new(gateway.as_str(), folder.join("git"))
    };
    let operator = Operator::start(plane.client(&Identity::Operator), options)
        .await
        .unwrap();
    tokio::spawn(operator.run(Some(listener), CancellationToken::new()));
    let (tell, told) = unbounded_channel();
    let shop = serve(Router::new().route("/", post(note)).with_state(tell)).await;
    let admin = plane.client(&Identity::Named("admin".to_owned()));
    create::<Flow>(&admin, flow(&shop)).await;
    let released = await_condition(
        Api::<Flow>::default_namespaced(admin.clone()),
        "f",
        |flow: Option<&Flow>| {
            flow.and_then(|flow| flow.status.as_ref())
                .is_some_and(|status| status.draft.is_some())
        },
    );
    tokio::time::timeout(Duration::from_mins(5), released)
        .await
        .expect("a flow that can be released")
        .unwrap();
    let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "stringData": {"key": SECRET}});
    create::<Secret>(&admin, key).await;
    create::<Repository>(&admin, repository()).await;
    (plane, gateway, told)
}

fn flow(shop: &str) -> Value {
    let schema = json!({"type": "object", "additionalProperties": true, "properties": {"n": {"type": "integer", "maximum": 9}}});
    let accept =
        "${!has(body.n) || body.n > 1 || body.?l.orValue([]).exists(x, x == headers[?'x-kind'].orValue(''))}";
    let steps = json!([
        {"name": "tell", "http": {"method": "POST", "url": shop, "body": {"run": "${run.name}", "url": "${callback('settled').url}"}}},
        {"name": "settled", "wait": {"callback": {"schema": schema, "accept": accept}}},
        {"name": "keep", "set": {"got": "${steps.settled.output}"}},
    ]);
    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "f"}, "spec": {"steps": steps}})
}

fn repository() -> Value {
    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"}, "spec": {
        "url": "https://127.0.0.1:1/flows.git", "interval": "24h", "draft": {"ref": "main"},
        "webhook": {"secretRef": {"name": "hook", "key": "key"}}}})
}

async fn note(State(tell): State<UnboundedSender<Value>>, Json(body): Json<Value>) -> Json<Value> {
    let _ = tell.send(body);
    Json(json!({}))
}

async fn create<K>(client: &kube::Client, object: Value)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    let api: Api<K> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Serves on loopback. Gives the address.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
