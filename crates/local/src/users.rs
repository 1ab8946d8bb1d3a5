//! Who calls: the user that authentication found.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Group of everybody who has a valid token.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody who has none.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group that RBAC binds to everything.
pub const MASTERS: &str = "system:masters";
/// User name of the operator itself: the service account it has in a cluster.
pub const OPERATOR: &str = "system:serviceaccount:signoff-system:signoff-controller";
/// User name of the gateway: the service account it has in a cluster.
pub const GATEWAY: &str = "system:serviceaccount:signoff-system:signoff-gateway";
/// User name of the agent: a service account, so that it never counts as a decider.
pub const AGENT: &str = "system:serviceaccount:default:agent";

/// An authenticated (or impersonated) caller, as `SelfSubjectReview` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User name; `system:serviceaccount:<namespace>:<name>` for a service account.
    pub name: String,
    /// Unique id; empty when impersonated.
    pub uid: String,
    /// Groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// Extra attributes, each with its values.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whether the user is in the group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The user as reviews and admission policies show it; what is empty is left out.
    pub fn info(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}
