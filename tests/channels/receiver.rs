//! What takes messages, as a process, and the Connections that lead to it.

use std::{
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};
use signoff_api::{Connection, Run, run::StepStatus};

use crate::support::rig::{Rig, Running};

/// Longest wait for the process.
const PATIENCE: Duration = Duration::from_secs(60);
static STARTING: Mutex<()> = Mutex::new(());

/// The process. It ends with the test.
pub struct Receiver {
    process: Child,
    dir: tempfile::TempDir,
    certificate: String,
    /// Of STARTTLS, TLS, no TLS, and HTTP.
    pub ports: [u16; 4],
}

impl Receiver {
    fn start(test: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = root.join("target/channels/current");
        if !packages.join("done").exists() {
            let missing = "nothing takes messages; fetch it with tests/channels/fetch.sh";
            assert!(
                std::env::var_os("SIGNOFF_REQUIRE_CHANNELS").is_none(),
                "{test}: {missing}"
            );
            // written past the test runner, which keeps what a passing test prints to itself
            let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {missing}");
            return None;
        }
        // one after the other: ports are free only until somebody takes them
        let _turn = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["mail.example.com".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        std::fs::write(dir.path().join("cert.pem"), &certificate).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap().port());
        drop(listeners);
        let process = Command::new("python3")
            .arg(root.join("tests/channels/receiver.py"))
            .arg(dir.path())
            .args(ports.map(|port| port.to_string()))
            .env("PYTHONPATH", packages)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut receiver = Self {
            process,
            dir,
            certificate,
            ports,
        };
        let until = Instant::now() + PATIENCE;
        while !receiver.path("ready").exists() {
            let ended = receiver.process.try_wait().unwrap();
            let log = std::fs::read_to_string(receiver.path("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(receiver)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What was taken so far.
    pub fn taken(&self) -> Vec<Value> {
        let lines = std::fs::read_to_string(self.path("taken")).unwrap_or_default();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// A Connection to the mail server at a port, with these fields beside the usual.
    pub async fn mail(&self, rig: &Rig, name: &str, port: usize, more: Value) {
        let mut smtp = json!({"host": "127.0.0.1", "port": self.ports[port], "username": "signoff",
            "password": {"name": "channels", "key": "password"}, "from": "Signoff <signoff@example.com>",
            "tls": {"ca": {"name": "channels", "key": "ca"}, "serverName": "mail.example.com"}});
        for (field, value) in more.as_object().unwrap() {
            if value.is_null() {
                smtp.as_object_mut().unwrap().remove(field);
            } else {
                smtp[field] = value.clone();
            }
        }
        connect(rig, name, json!({ "smtp": smtp })).await;
    }

    /// A Connection to the HTTP server.
    pub async fn http(&self, rig: &Rig, name: &str, spec: impl FnOnce(String) -> Value) {
        connect(rig, name, spec(format!("http://127.0.0.1:{}", self.ports[3]))).await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect(rig: &Rig, name: &str, spec: Value) {
    let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name}, "spec": spec});
    let connection: Connection = serde_json::from_value(connection).unwrap();
    let connections = rig.api::<Connection>();
    connections
        .create(&PostParams::default(), &connection)
        .await
        .unwrap();
}

/// A receiver, and an operator with a Secret `channels` that knows its secrets.
pub async fn stage(test: &str) -> Option<(Receiver, Rig, Running)> {
    let receiver = Receiver::start(test)?;
    let rig = Rig::open().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "channels"}, "stringData": {
        "password": "hunter2-password", "wrong": "hunter3-password", "ca": receiver.certificate,
        "token": "xoxb-secret-token", "webhook": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "other": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    }});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let secrets = rig.api::<Secret>();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let operator = rig.operator().await;
    Some((receiver, rig, operator))
}

/// Plays a flow of one step `tell` to its end, in a run of the same name.
pub async fn tell(rig: &Rig, name: &str, notify: Value, phase: &str) -> StepStatus {
    let steps = json!([{ "name": "tell", "notify": notify }]);
    rig.flow(name, json!({ "steps": steps })).await;
    rig.start(name, json!({ "flow": name })).await;
    let run: Run = rig.phase(name, phase).await;
    let steps = &run.status.as_ref().unwrap().steps;
    steps
        .iter()
        .rev()
        .find(|step| step.name == "tell")
        .unwrap()
        .clone()
}
