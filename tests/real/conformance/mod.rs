//! One suite, two servers: the same requests to the embedded control plane and to a real API server.
//!
//! What the real one answers is kept in `tests/golden/conformance`, one file a scenario, so that the embedded one is held
//! to it where there is no real one. All supported versions of the real one answer alike: the newest and the oldest are both held to these
//! files. `SIGNOFF_UPDATE_CONFORMANCE=1` with a real one at hand writes them anew.

mod core;
mod documents;
mod expired;
mod kind;
mod kubectl;
mod mask;
mod objects;
mod patches;
mod reads;
mod rules;
mod session;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kube::Client;
use serde_json::{Value, json};
use session::Session;
use signoff_local::{ControlPlane as Embedded, Identity, Options};

use crate::controlplane::ControlPlane;

/// One real server for all scenarios, each in a namespace of its own.
static REAL: LazyLock<Option<ControlPlane>> =
    LazyLock::new(|| ControlPlane::start_shared("conformance with a real API server"));

/// Where the known differences are listed.
const DOCUMENTED: &str = include_str!("../../../docs/embedded.md");
const REAL_SERVER: &str = "the real API server";

/// Plays the scenario on both servers and compares each with what the real one is known to answer.
async fn hold(name: &str, scenario: impl AsyncFn(&mut Session)) {
    hold_where(|_| true, name, scenario).await;
}

/// The same for a scenario that on the real server takes the controller manager.
async fn hold_with_manager(name: &str, scenario: impl AsyncFn(&mut Session)) {
    let can = |real: &ControlPlane| real.can_test(&format!("conformance: {name}"));
    hold_where(can, name, scenario).await;
}

async fn hold_where(can: impl Fn(&ControlPlane) -> bool, name: &str, scenario: impl AsyncFn(&mut Session)) {
    let real = tokio::task::spawn_blocking(|| REAL.as_ref()).await.unwrap();
    if let Some(real) = real.filter(|real| can(real)) {
        let told = play(name, &|user| real.client(user), &scenario).await;
        compare(name, REAL_SERVER, &told, &golden(name, &told));
    }
    let data = tempfile::tempdir().unwrap();
    let mut options = Options::new(data.path());
    options.definitions.push(kind::gadget());
    let local = Embedded::open(options).await.unwrap();
    let client = |user: &str| local.client(&Identity::Named(user.to_owned()));
    let told = play(name, &client, &scenario).await;
    local.shutdown().await;
    compare(
        name,
        "the embedded control plane",
        &told,
        &golden(name, &Value::Null),
    );
}

/// Where it is kept what the real one answers; `told` by a real one it replaces that where this is asked for.
fn golden(name: &str, told: &Value) -> PathBuf {
    let golden = Path::new("tests/golden/conformance").join(format!("{name}.json"));
    if !told.is_null() && std::env::var_os("SIGNOFF_UPDATE_CONFORMANCE").is_some() {
        let text = serde_json::to_string_pretty(told).unwrap() + "\n";
        std::fs::write(&golden, text).unwrap();
    }
    golden
}

async fn play(name: &str, client: &dyn Fn(&str) -> Client, scenario: &impl AsyncFn(&mut Session)) -> Value {
    let mut session = Session::open(name, client).await;
    scenario(&mut session).await;
    json!(session.transcript)
}

/// Fails with the answers that differ, each with its request.
fn compare(name: &str, server: &str, told: &Value, golden: &Path) {
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    let expected: Value = serde_json::from_str(&expected).unwrap_or_default();
    let entries = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (told, expected) = (entries(told), entries(&expected));
    let pretty = |entry: Option<&Value>| serde_json::to_string_pretty(&entry).unwrap();
    let mut problems = String::new();
    for i in 0..told.len().max(expected.len()) {
        let (expected, told) = (expected.get(i), told.get(i));
        let known = told
            .and_then(|entry| entry["differs"].as_str())
            .filter(|_| server != REAL_SERVER);
        match known {
            None if expected == told => {}
            Some(how) if expected == told => {
                let _ = writeln!(
                    problems,
                    "no longer differs, take it from docs/embedded.md and from here: {how}"
                );
            }
            Some(how) if DOCUMENTED.contains(how) => {}
            Some(how) => {
                let _ = writeln!(problems, "not in docs/embedded.md: {how}");
            }
            None => {
                let (expected, told) = (pretty(expected), pretty(told));
                let difference = similar::TextDiff::from_lines(&expected, &told)
                    .unified_diff()
                    .context_radius(6)
                    .header("known of the real one", server)
                    .to_string();
                problems.push_str(&difference);
            }
        }
    }
    assert!(
        problems.is_empty(),
        "{name}: {server} answers otherwise than {}:\n{problems}",
        golden.display()
    );
}
