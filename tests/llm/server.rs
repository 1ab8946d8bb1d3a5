//! A small model behind the API that most servers offer, as a process.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::json;
use signoff_api::Connection;

use crate::support::rig::Rig;

/// Longest wait for a server, which reads a model first.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the server takes as its key.
pub const KEY: &str = "the-key";

/// A server. It ends with the test.
pub struct Model {
    process: Child,
    _dir: tempfile::TempDir,
    port: u16,
}

impl Model {
    /// Starts one, if it was fetched.
    pub fn start(test: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/llm/current/python");
        if !python.exists() {
            let missing = "no language model; fetch it with tests/llm/fetch.sh";
            assert!(
                std::env::var_os("SIGNOFF_REQUIRE_LLM").is_none(),
                "{test}: {missing}"
            );
            // written past the test runner, which keeps what a passing test prints to itself
            let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {missing}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let log = dir.path().join("log");
        let process = Command::new("python3")
            .arg(root.join("tests/llm/serve.py"))
            .arg(port.to_string())
            .env("PYTHONPATH", python)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self {
            process,
            _dir: dir,
            port,
        };
        let until = Instant::now() + PATIENCE;
        while !is_ready(port) {
            let told = || std::fs::read_to_string(&log).unwrap_or_default();
            let ended = server.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < until,
                "it does not listen: {}",
                told()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// A Connection to it of this name, which sends this key.
    pub async fn connect(&self, rig: &Rig, name: &str, provider: &str, key: &str) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"key": key}});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        rig.api::<Secret>()
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        let reference = json!({"name": name, "key": "key"});
        let auth = if provider == "OpenAI" {
            json!({ "bearer": reference })
        } else {
            json!({"header": {"name": "x-api-key", "value": reference}})
        };
        let base_url = format!("http://127.0.0.1:{}/v1", self.port);
        let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name},
            "spec": {"llm": {"provider": provider, "baseURL": base_url, "auth": auth}}});
        let connection: Connection = serde_json::from_value(connection).unwrap();
        rig.api::<Connection>()
            .create(&PostParams::default(), &connection)
            .await
            .unwrap();
    }
}

/// Whether the model has been read.
fn is_ready(port: u16) -> bool {
    let ask = || {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask().unwrap_or_default();
    answer.lines().next().is_some_and(|line| line.contains(" 200"))
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
