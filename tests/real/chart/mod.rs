//! The charts: what they render, and what their policies and roles mean on a real API server.

mod decisions;
mod forges;
mod gates;
mod install;
mod jobs;
mod operates;
mod owners;
mod pods;
mod proof;
mod records;
mod render;
mod secrets;

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::{
    controlplane::{ControlPlane, Tool},
    support::real,
};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// One control plane with the charts installed, for all tests that only need a namespace of it.
static SHARED: LazyLock<Option<ControlPlane>> = LazyLock::new(|| {
    let plane = ControlPlane::start_shared("charts on a real API server")?;
    // where pods with more rights than they need are refused
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    plane.as_user("admin").create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "signoff-system", "labels": restricted}}));
    install(&plane, "signoff-system", &["--set=jobs.enabled=true"]);
    Some(plane)
});

/// Installs both charts as a newcomer would.
fn install(plane: &ControlPlane, namespace: &str, values: &[&str]) {
    real::install_kinds(plane);
    let mut args = vec![
        "upgrade",
        "--install",
        "signoff",
        "charts/signoff",
        "--set=image.repository=registry.example/signoff",
        "--create-namespace",
        "-n",
        namespace,
    ];
    args.extend(values);
    plane.helm().run(&args).expect_ok();
    real::until_policies_hold(plane);
}

/// A namespace with the bindings a team would make, in which the operator has asked for an approval.
struct Space {
    plane: &'static ControlPlane,
    name: String,
}

impl Space {
    /// `None` where there is no control plane.
    fn new(name: &str) -> Option<Self> {
        let plane = SHARED.as_ref()?;
        let space = Self {
            plane,
            name: name.to_owned(),
        };
        prepare(plane, name);
        // policies take effect a moment after they are created
        plane.wait("the policies", || {
            let admin = space.user("admin");
            let send = |fields: &Value| {
                let args = ["create", "--dry-run=server", "-f", "-", "-o", "json"];
                admin.feed(&args, &decision(fields).to_string())
            };
            send(&json!({"by": "nobody"}))
                .err
                .contains("nobody can decide in another's name")
                && (!plane.stamps() || send(&json!({})).out.contains("\"by\""))
        });
        Some(space)
    }

    /// kubectl as this user, in this namespace.
    fn user(&self, user: &str) -> Tool {
        self.plane.as_user(user).within(&self.name)
    }

    /// The annotations that the audit log has for this user's requests here that were answered with this code.
    fn audit(&self, user: &str, code: u64) -> Vec<Value> {
        let mut log = self.plane.audit();
        log.retain(|event| {
            event["user"]["username"] == user
                && event["objectRef"]["namespace"] == self.name
                && event["responseStatus"]["code"] == code
        });
        log
    }
}

/// Makes the namespace, binds people to roles, and puts the question.
fn prepare(plane: &ControlPlane, namespace: &str) {
    let admin = plane.as_user("admin");
    admin.run(&["create", "namespace", namespace]).expect_ok();
    let admin = admin.within(namespace);
    // the roles of Kubernetes contain those of the chart as soon as the manager has put them together
    let (editor, viewer) = if plane.has_manager() {
        ("edit", "view")
    } else {
        ("signoff-editor", "signoff-viewer")
    };
    for (role, group) in [
        ("signoff-approver", "finance"),
        (editor, "developers"),
        (viewer, "support"),
    ] {
        let (role_arg, group_arg) = (format!("--clusterrole={role}"), format!("--group={group}"));
        admin
            .run(&["create", "rolebinding", group, &role_arg, &group_arg])
            .expect_ok();
    }
    plane.wait("the roles", || {
        plane
            .as_user("dev")
            .within(namespace)
            .run(&["auth", "can-i", "create", "runs.signoff.dev"])
            .ok
            && plane
                .as_user("carol")
                .within(namespace)
                .run(&["auth", "can-i", "list", "runs.signoff.dev"])
                .ok
    });
    plane.as_user("operator").within(namespace).create(&approval());
}

fn approval() -> Value {
    json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Approval",
        "metadata": {"name": "refund-1-review"},
        "spec": {
            "subject": {"run": "refund-1", "step": "review", "iteration": 1},
            "purpose": "Step",
            "digest": DIGEST,
            "title": "Refund 250 for order 81",
            "quorum": 2,
            "selfApproval": false,
            "verdicts": ["Approve", "Reject"],
        },
    })
}

/// A decision on [`approval`] with these fields beside the necessary ones.
fn decision(fields: &Value) -> Value {
    let mut decision = json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Decision",
        "metadata": {"generateName": "decision-"},
        "spec": {"approval": "refund-1-review", "digest": DIGEST, "verdict": "Approve"},
    });
    for (key, value) in fields.as_object().unwrap() {
        decision["spec"][key] = value.clone();
    }
    decision
}

fn run(fields: &Value) -> Value {
    let mut run = json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Run",
        "metadata": {"generateName": "refund-"},
        "spec": {"flow": "refund"},
    });
    for (key, value) in fields.as_object().unwrap() {
        run["spec"][key] = value.clone();
    }
    run
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

#[track_caller]
fn assert_says(message: &str, expected: &str) {
    assert!(
        message.contains(expected),
        "expected: {expected}\nread: {message}"
    );
}
