//! kubectl on both servers: the same commands, what they print, and how they end.
//!
//! What people read is kept as well, so here the wording counts too. It is kubectl's as much as the server's: with a kubectl of
//! another minor version than the recorded one the servers are compared with each other.

mod read;
mod text;
mod write;

use std::path::Path;

use serde_json::{Value, json};
use signoff_local::{ControlPlane as Embedded, Identity, Options};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::{REAL, REAL_SERVER, compare, kind};
use crate::controlplane::{ControlPlane, Tool, kubectl, not_run};

/// A session of kubectl under way on one server.
pub struct Terminal {
    tool: Tool,
    differs: Option<&'static str>,
    transcript: Vec<Value>,
}

impl Terminal {
    /// Says of the next command that the embedded control plane is known to answer it otherwise, in the words of `docs/embedded.md`.
    fn differs(&mut self, how: &'static str) -> &mut Self {
        self.differs = Some(how);
        self
    }

    /// Runs a command; its arguments have no spaces.
    fn run(&mut self, command: &str) -> String {
        self.note(command, "")
    }

    /// Runs a command that reads this object.
    fn feed(&mut self, command: &str, object: &Value) -> String {
        self.note(command, &object.to_string())
    }

    fn note(&mut self, command: &str, input: &str) -> String {
        let args: Vec<&str> = command.split_whitespace().collect();
        let answer = tokio::task::block_in_place(|| self.tool.feed(&args, input));
        let mut entry = json!({"kubectl": command, "ok": answer.ok});
        for (name, text) in [
            ("out", &answer.out),
            ("err", &answer.err),
            ("in", &input.to_owned()),
        ] {
            if !text.is_empty() {
                entry[name] = json!(text::masked(text));
            }
        }
        if let Some(how) = self.differs.take() {
            entry["differs"] = json!(how);
        }
        self.transcript.push(entry);
        answer.out
    }
}

/// Runs the session on both servers and compares each with what is recorded.
async fn hold(name: &str, session: impl Fn(&mut Terminal)) {
    let name = format!("kubectl_{name}");
    let suite = format!("conformance: {name}");
    let dir = tempfile::tempdir().unwrap();
    let Some(tool) = kubectl(&suite, &dir.path().join("kubeconfig")) else {
        return;
    };
    let version = minor(&tool);
    let mut golden = Path::new("tests/golden/conformance").join(format!("{name}.json"));
    let recorded = std::fs::read_to_string(&golden).unwrap_or_default();
    let recorded: Value = serde_json::from_str(&recorded).unwrap_or_default();
    let real = tokio::task::spawn_blocking(|| REAL.as_ref()).await.unwrap();
    if let Some(real) = real.filter(|real| real.can_test(&suite)) {
        let told = on_real(real, &name, &version, &session).await;
        let updates = std::env::var_os("SIGNOFF_UPDATE_CONFORMANCE").is_some();
        if recorded[0]["version"] != *version && !updates {
            golden = dir.path().join("golden.json");
        }
        if updates || !golden.exists() {
            std::fs::write(&golden, serde_json::to_string_pretty(&told).unwrap() + "\n").unwrap();
        }
        compare(&name, REAL_SERVER, &told, &golden);
    } else if recorded[0]["version"] != *version {
        let missing = format!("it is recorded with another kubectl than {version}, and there is no real one");
        not_run::<()>(&suite, &missing);
        return;
    }
    let told = on_embedded(dir.path(), tool, &name, &version, &session).await;
    compare(&name, "the embedded control plane", &told, &golden);
}

/// Its version without the patch.
fn minor(tool: &Tool) -> String {
    let out = tool
        .run(&["version", "--client", "--output=json"])
        .expect_ok()
        .out;
    let version: Value = serde_json::from_str(&out).unwrap();
    let version = &version["clientVersion"];
    let part = |name: &str| version[name].as_str().unwrap().to_owned();
    format!("{}.{}", part("major"), part("minor"))
}

async fn on_real(real: &ControlPlane, name: &str, version: &str, session: &impl Fn(&mut Terminal)) -> Value {
    let set_up = Session::open(name, &|user| real.client(user)).await;
    let tool = real.as_user("admin").within(set_up.namespace());
    play(tool, version, session)
}

async fn on_embedded(
    dir: &Path,
    tool: Tool,
    name: &str,
    version: &str,
    session: &impl Fn(&mut Terminal),
) -> Value {
    let mut options = Options::new(dir.join("data"));
    options.definitions.push(kind::gadget());
    let local = Embedded::open(options).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = local.kubeconfig(listener.local_addr().unwrap());
    std::fs::write(dir.join("kubeconfig"), kubeconfig).unwrap();
    let stop = CancellationToken::new();
    let (serving, stopped) = (local.clone(), stop.clone());
    let server = tokio::spawn(async move { serving.serve(listener, stopped).await });
    let client = |user: &str| local.client(&Identity::Named(user.to_owned()));
    let set_up = Session::open(name, &client).await;
    let told = play(tool.within(set_up.namespace()), version, session);
    drop(set_up);
    stop.cancel();
    server.await.unwrap().unwrap();
    local.shutdown().await;
    told
}

fn play(tool: Tool, version: &str, session: &impl Fn(&mut Terminal)) -> Value {
    let mut terminal = Terminal {
        tool,
        differs: None,
        transcript: vec![json!({"version": version})],
    };
    session(&mut terminal);
    json!(terminal.transcript)
}
