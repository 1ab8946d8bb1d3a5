use axum::body::to_bytes;
use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt as _;
use serde_json::Value;

use super::*;
use crate::{
    cluster::{
        fake_api::{FakeApi, Fault, NAMESPACE},
        releases::Releases,
    },
    gateway::{Bodies, Pushes, Resources, Turns, WeakSecrets},
};
use signoff_api::{Definition, Release, canonical, names};
use signoff_engine::callback_token::CallbackKeys;

const WRITE: &str = "PATCH runs/r/status";

/// A gateway, and a run `r` that waits at `settled` with a heartbeat of ten minutes, and at `quiet` without one.
struct Rig {
    api: FakeApi,
    gateway: Gateway,
}

impl Rig {
    fn new() -> Self {
        let api = FakeApi::new();
        let context = api.context();
        let steps = json!([
            {"name": "settled", "needs": [], "wait": {"callback": {"heartbeat": "10m"}}},
            {"name": "quiet", "needs": [], "wait": {"callback": {}}},
            {"name": "later", "needs": ["quiet"], "wait": {"callback": {"heartbeat": "10m"}}},
        ]);
        let definition: Definition = serde_json::from_value(json!({"steps": steps})).unwrap();
        let digest = canonical::digest(&definition).unwrap();
        let name = names::release_name("f", &digest);
        let release = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Release", "metadata": {"name": name},
            "spec": {"flow": "f", "definition": definition, "digest": digest, "source": {}}});
        api.put::<Release>(&serde_json::from_value(release).unwrap());
        let entry = |name: &str| {
            json!({"name": name, "iteration": 1, "phase": "Waiting", "attempt": 0,
                "startedAt": MicroTime(context.now())})
        };
        let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"}, "spec": {"flow": "f"},
            "status": {"phase": "Waiting", "release": {"name": name, "digest": digest}, "callbacks": {},
                "steps": [entry("settled"), entry("quiet")]}});
        api.put::<Run>(&serde_json::from_value(run).unwrap());
        let keys = [("k".to_owned(), vec![1; 32])].into();
        let gateway = Gateway {
            releases: Arc::new(Releases::new(Arc::clone(&context))),
            context,
            keys: CallbackKeys::new("k", keys).unwrap(),
            namespaces: [].into(),
            pushes: Pushes::default(),
            bodies: Bodies::default(),
            request_timeout: std::time::Duration::from_secs(10),
            turns: Turns::default(),
            resources: Resources::of(None),
            agents: None,
            weak: WeakSecrets::default(),
        };
        Self { api, gateway }
    }

    fn token(&self, step: &str) -> String {
        let run: Run = self.api.get("runs/r");
        self.gateway.keys.token(&CallbackAddress {
            namespace: NAMESPACE.to_owned(),
            run: "r".to_owned(),
            uid: run.uid().unwrap(),
            step: step.to_owned(),
            iteration: 1,
            item: None,
        })
    }

    /// Sends a heartbeat. Gives the code of the answer and what it says.
    async fn send(&self, step: &str) -> (u16, Value) {
        self.send_with(self.token(step)).await
    }

    async fn send_with(&self, token: String) -> (u16, Value) {
        let answer = receive(State(Arc::new(self.gateway.clone())), Path(token)).await;
        let response = answer.unwrap_or_else(Problem::into_response);
        let code = response.status().as_u16();
        let said = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (code, serde_json::from_slice(&said).unwrap())
    }

    fn in_minutes(&self, minutes: i64) -> String {
        let at = self.gateway.context.now() + SignedDuration::from_mins(minutes);
        at.to_string()
    }
}

async fn pass(minutes: u64) {
    tokio::time::advance(std::time::Duration::from_mins(minutes)).await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_written_at_most_twice_in_its_time_and_answered_with_when_the_next_is_due() {
    let rig = Rig::new();
    // the wait itself began just now
    assert_eq!(
        rig.send("settled").await,
        (202, json!({"expiresAt": rig.in_minutes(10)}))
    );
    for minute in 0..30 {
        pass(1).await;
        let (code, said) = rig.send("settled").await;
        assert_eq!(code, 202, "{minute}: {said}");
        assert!(said["expiresAt"].as_str().unwrap() > &*rig.in_minutes(5));
    }
    assert_eq!(rig.api.writes(), vec![WRITE; 6]);
    let run: Run = rig.api.get("runs/r");
    let heartbeats = run.status.unwrap().heartbeats;
    assert_eq!(heartbeats.keys().collect::<Vec<_>>(), ["settled.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_before_the_wait_is_taken_and_writes_nothing() {
    let rig = Rig::new();
    let (code, said) = rig.send("later").await;
    assert_eq!((code, &said["expiresAt"]), (202, &Value::Null));
    assert!(rig.api.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_nothing_waits_for_is_refused_with_the_reason() {
    let rig = Rig::new();
    assert_eq!(rig.send("quiet").await.0, 409);
    assert_eq!(rig.send("nowhere").await.0, 404);
    assert_eq!(rig.send_with("forged".to_owned()).await.0, 404);
    let record = json!({"receivedAt": "2026-01-01T00:00:00.000000Z", "sha256": signoff_api::Digest::of(b"a"), "body": 1});
    rig.api
        .edit("runs/r", |run| run["status"]["callbacks"]["settled.1"] = record);
    assert_eq!(rig.send("settled").await.0, 410);
    let rig = Rig::new();
    rig.api.edit("runs/r", |run| {
        run["status"]["steps"][0]["phase"] = json!("Succeeded");
    });
    assert_eq!(rig.send("settled").await.0, 410);
    rig.api.remove("runs/r");
    assert!(rig.api.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_before_the_heartbeat_is_written_gets_none() {
    let rig = Rig::new();
    pass(6).await;
    let end = |api: &FakeApi| {
        api.edit("runs/r", |run| {
            run["status"]["steps"][0]["phase"] = json!("Failed");
        });
    };
    rig.api.fault(WRITE, Fault::After(Box::new(end)));
    assert_eq!(rig.send("settled").await.0, 410);
    let run: Run = rig.api.get("runs/r");
    assert!(run.status.unwrap().heartbeats.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_meets_writes_of_others_and_is_written_after_them() {
    let rig = Rig::new();
    pass(6).await;
    let beside = |api: &FakeApi| {
        let other = json!({"other.1": {"receivedAt": "2026-01-01T00:00:00.000000Z"}});
        api.edit("runs/r", |run| run["status"]["heartbeats"] = other);
    };
    rig.api.fault(WRITE, Fault::After(Box::new(beside)));
    assert_eq!(rig.send("settled").await.0, 202);
    let run: Run = rig.api.get("runs/r");
    assert_eq!(run.status.unwrap().heartbeats.len(), 2);
}
