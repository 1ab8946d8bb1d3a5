//! What is there from the first start on: namespaces, service accounts, roles and bindings, definitions.

use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};

use super::handlers::bootstrap;
use super::plane::Plane;
use super::status::ApiError;
use super::users::{AUTHENTICATED, MASTERS};

const RBAC: &str = "rbac.authorization.k8s.io";
const READ: &[&str] = &["get", "list", "watch"];
const CHANGE: &[&str] = &["create", "update", "patch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

/// Writes what is missing. Definitions are also brought up to date.
pub async fn seed(plane: &Arc<Plane>) -> Result<(), ApiError> {
    let namespaces =
        ["default", "kube-system", "signoff-system"].map(|name| object("v1", "Namespace", None, name));
    let accounts = [("default", "agent"), ("signoff-system", "signoff-controller")]
        .map(|(namespace, name)| object("v1", "ServiceAccount", Some(namespace), name));
    let definitions = plane
        .registry
        .iter()
        .filter_map(|kind| kind.crd.as_ref())
        .map(|definition| serde_json::to_value(&**definition).map(established))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| ApiError::internal(&e))?;
    let kept = namespaces
        .into_iter()
        .chain(accounts)
        .chain(roles())
        .chain(bindings());
    // All at once: they are written in one transaction.
    let kept = kept.map(|object| bootstrap(plane, object, false));
    let renewed = definitions
        .into_iter()
        .map(|object| bootstrap(plane, object, true));
    try_join(try_join_all(kept), try_join_all(renewed)).await?;
    Ok(())
}

fn object(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

fn established(mut definition: Value) -> Value {
    let condition = |kind: &str, reason: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": "served by this control plane",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        })
    };
    let stored: Vec<Value> = definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    definition["status"] = json!({
        "acceptedNames": definition["spec"]["names"],
        "storedVersions": stored,
        "conditions": [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")],
    });
    definition
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&[&str]]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs.concat()})
}

fn role(name: &str, rules: &[Value]) -> Value {
    let mut role = object(&format!("{RBAC}/v1"), "ClusterRole", None, name);
    role["rules"] = json!(rules);
    role
}

fn roles() -> Vec<Value> {
    const OURS: &[&str] = &["signoff.dev"];
    const EDITED: &[&str] = &["flows", "repositories", "connections"];
    const OWNED: &[&str] = &[
        "repositories",
        "flows",
        "releases",
        "runs",
        "approvals",
        "decisions",
        "workitems",
        "connections",
    ];
    const STATUS: &[&str] = &[
        "repositories/status",
        "flows/status",
        "releases/status",
        "runs/status",
        "approvals/status",
        "decisions/status",
        "workitems/status",
    ];
    let paths = |paths: &[&str]| json!({"nonResourceURLs": paths, "verbs": ["get"]});
    vec![
        role(
            "cluster-admin",
            &[
                rule(&["*"], &["*"], &[&["*"]]),
                json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
            ],
        ),
        role(
            "system:discovery",
            &[paths(&[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ])],
        ),
        role(
            "system:basic-user",
            &[
                rule(
                    &["authorization.k8s.io"],
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    &[&["create"]],
                ),
                rule(
                    &["authentication.k8s.io"],
                    &["selfsubjectreviews"],
                    &[&["create"]],
                ),
            ],
        ),
        role(
            "signoff-viewer",
            &[
                rule(OURS, &["*"], &[READ]),
                rule(&["", "events.k8s.io"], &["events"], &[READ]),
                rule(
                    &[""],
                    &["namespaces", "configmaps", "serviceaccounts", "pods"],
                    &[READ],
                ),
                rule(&["batch"], &["jobs"], &[READ]),
                rule(&["coordination.k8s.io"], &["leases"], &[READ]),
                rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"], &[READ]),
            ],
        ),
        role(
            "signoff-editor",
            &[
                rule(OURS, EDITED, &[READ, WRITE]),
                // approvals go with their run, and a gate with its release
                rule(OURS, &["runs"], &[READ, CHANGE]),
                rule(OURS, &["flows/values"], &[&["get", "update"]]),
                rule(&[""], &["secrets", "configmaps"], &[READ, WRITE]),
            ],
        ),
        role(
            "signoff-approver",
            &[
                rule(OURS, &["decisions"], &[READ, &["create"]]),
                rule(OURS, &["approvals"], &[READ, &["approve"]]),
            ],
        ),
        role(
            "signoff-worker",
            &[
                rule(OURS, &["workitems"], &[READ]),
                rule(OURS, &["workitems/status"], &[&["get", "update", "patch"]]),
                rule(OURS, &["queues"], &[&["work"]]),
            ],
        ),
        role(
            "signoff-agent",
            &[
                rule(OURS, &["runs"], &[&["create"]]),
                rule(OURS, &["decisions"], &[&["create"]]),
            ],
        ),
        role(
            "signoff-operator",
            &[
                rule(OURS, OWNED, &[READ, WRITE]),
                rule(OURS, STATUS, &[&["get", "update", "patch"]]),
                rule(OURS, &["approvals"], &[&["approve"]]),
                rule(
                    &["", "events.k8s.io"],
                    &["events"],
                    &[READ, &["create", "update", "patch"]],
                ),
                rule(&[""], &["secrets", "configmaps"], &[READ, WRITE]),
                rule(&[""], &["namespaces", "serviceaccounts", "pods"], &[READ]),
                rule(&["batch"], &["jobs"], &[READ, WRITE]),
                rule(&["coordination.k8s.io"], &["leases"], &[READ, WRITE]),
                rule(
                    &["authorization.k8s.io"],
                    &["subjectaccessreviews", "localsubjectaccessreviews"],
                    &[&["create"]],
                ),
                rule(&["authentication.k8s.io"], &["tokenreviews"], &[&["create"]]),
                rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"], &[READ]),
            ],
        ),
    ]
}

fn bindings() -> Vec<Value> {
    let user = |name: &str| json!({"kind": "User", "name": name, "apiGroup": RBAC});
    let group = |name: &str| json!({"kind": "Group", "name": name, "apiGroup": RBAC});
    let account =
        |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    let people = [user("dev"), user("alice"), user("bob")];
    let mut viewers = people.to_vec();
    viewers.push(account("default", "agent"));
    let everyone = [group(AUTHENTICATED)];
    vec![
        binding("cluster-admin", "cluster-admin", &[group(MASTERS)]),
        binding("system:discovery", "system:discovery", &everyone),
        binding("system:basic-user", "system:basic-user", &everyone),
        binding("signoff-viewers", "signoff-viewer", &viewers),
        binding("signoff-editors", "signoff-editor", &people),
        binding("signoff-approvers", "signoff-approver", &people),
        binding("signoff-workers", "signoff-worker", &viewers),
        binding("signoff-agents", "signoff-agent", &[account("default", "agent")]),
        binding(
            "signoff-operator",
            "signoff-operator",
            &[account("signoff-system", "signoff-controller")],
        ),
    ]
}

fn binding(name: &str, role: &str, subjects: &[Value]) -> Value {
    let mut binding = object(&format!("{RBAC}/v1"), "ClusterRoleBinding", None, name);
    binding["roleRef"] = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": role});
    binding["subjects"] = json!(subjects);
    binding
}
