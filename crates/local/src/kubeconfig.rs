//! The kubeconfig: one context per account.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::accounts::Accounts;

const CLUSTER: &str = "signoff";

/// Renders the kubeconfig for a server; the current context is `admin`.
pub fn render(server: SocketAddr, authority: &str, accounts: &Accounts) -> String {
    let users: Vec<Value> = accounts
        .tokens()
        .map(|(name, token)| json!({"name": name, "user": {"token": token}}))
        .collect();
    let contexts: Vec<Value> = accounts
        .tokens()
        .map(|(name, _)| json!({"name": name, "context": {"cluster": CLUSTER, "user": name, "namespace": "default"}}))
        .collect();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CLUSTER, "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": users,
        "contexts": contexts,
        "current-context": "admin",
    });
    // JSON is YAML; the pretty form is for people who look.
    serde_yaml::to_string(&config).unwrap_or_else(|_| config.to_string())
}
