//! Who can call, and what they write where the server does not write it for them.

use std::path::Path;

use serde_json::{Value, json};

/// Who can call: name of the context, user name, groups; those that the embedded control plane has are the same here. The
/// token is the context's name.
const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("alice", "alice", "finance,owners"),
    ("bob", "bob", "finance,finance-leads,owners"),
    ("carol", "carol", "support"),
    ("dev", "dev", "developers"),
    (
        "operator",
        "system:serviceaccount:signoff-system:signoff-controller",
        "system:serviceaccounts,system:serviceaccounts:signoff-system",
    ),
    (
        "gateway",
        "system:serviceaccount:signoff-system:signoff-gateway",
        "system:serviceaccounts,system:serviceaccounts:signoff-system",
    ),
    (
        "agent",
        "system:serviceaccount:default:agent",
        "system:serviceaccounts,system:serviceaccounts:default",
    ),
    ("manager", "system:kube-controller-manager", ""),
];

/// The group that the API server puts everybody in who has a token.
const EVERYBODY: &str = "system:authenticated";

/// A person, or an agent, who says who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    by: String,
    groups: Vec<String>,
}

impl Signature {
    /// Of this user of [`USERS`]; `None` of the operator, which says for whom it writes.
    pub(super) fn of(context: &str) -> Option<Self> {
        let (_, user, groups) = USERS.iter().find(|(name, _, _)| *name == context)?;
        (!["operator", "gateway"].contains(&context)).then(|| Self {
            by: (*user).to_owned(),
            groups: groups.split(',').chain([EVERYBODY]).map(str::to_owned).collect(),
        })
    }

    /// Puts it under a decision or a run in which nothing is said of it.
    pub fn put(&self, object: &mut Value) {
        let fields = match object["kind"].as_str() {
            Some("Decision") => [("by", json!(self.by)), ("groups", json!(self.groups))].to_vec(),
            Some("Run") => [("requestedBy", json!(self.by))].to_vec(),
            _ => return,
        };
        for (name, value) in fields {
            let field = &mut object["spec"][name];
            if field.is_null() {
                *field = value;
            }
        }
    }
}

pub(super) fn write(dir: &Path, port: u16) {
    let tokens: Vec<_> = USERS
        .iter()
        .map(|(context, user, groups)| format!("{context},{user},{context}-uid,\"{groups}\"\n"))
        .collect();
    std::fs::write(dir.join("tokens.csv"), tokens.concat()).unwrap();
    let kubeconfig = |current: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true}}],
            "users": USERS.iter().map(|u| json!({"name": u.0, "user": {"token": u.0}})).collect::<Vec<_>>(),
            "contexts": USERS.iter().map(|u| json!({"name": u.0, "context": {"cluster": "c", "user": u.0}})).collect::<Vec<_>>(),
            "current-context": current,
        })
        .to_string()
    };
    std::fs::write(dir.join("kubeconfig"), kubeconfig("admin")).unwrap();
    std::fs::write(dir.join("manager.kubeconfig"), kubeconfig("manager")).unwrap();
}
