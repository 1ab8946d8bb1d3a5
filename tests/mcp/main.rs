//! Agents, with programs of others: the official conformance suite of MCP, and the clients in `examples/agents` with the frameworks that they
//! are for.
//!
//! `tests/mcp/fetch.sh` fetches them. Where they are missing these tests say so and do not run; with `SIGNOFF_REQUIRE_MCP` set they fail instead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod conformance;
mod guard;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each of the test programs uses a part of it"
)]
mod support;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// Where everything was fetched to.
fn fetched(test: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mcp/current");
    if folder.join("done").exists() {
        return Some(folder);
    }
    let missing = "no conformance suite and no frameworks; fetch them with tests/mcp/fetch.sh";
    assert!(
        std::env::var_os("SIGNOFF_REQUIRE_MCP").is_none(),
        "{test}: {missing}"
    );
    // written past the test runner, which keeps what a passing test prints to itself
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {missing}");
    None
}

/// The token of a user of `signoff dev`, and a file with its certificate authority.
fn credentials(kubeconfig: &Path, user: &str, folder: &Path) -> (String, String, PathBuf) {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let config: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let mut users = config["users"].as_array().unwrap().iter();
    let token = users.find(|known| known["name"] == user).unwrap()["user"]["token"].clone();
    let cluster = &config["clusters"][0]["cluster"];
    let authority = cluster["certificate-authority-data"].as_str().unwrap();
    let authority = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, authority).unwrap();
    let path = folder.join("ca.pem");
    std::fs::write(&path, authority).unwrap();
    let server = cluster["server"].as_str().unwrap().to_owned();
    (server, token.as_str().unwrap().to_owned(), path)
}
