//! A real control plane that all rigs of a test run share, with the charts installed.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use crate::controlplane::ControlPlane;

/// Who may do what everywhere, as the embedded control plane has it from the start.
const BINDINGS: &[(&str, &str)] = &[
    ("dev", "signoff-editor"),
    ("dev", "signoff-approver"),
    ("alice", "signoff-editor"),
    ("alice", "signoff-approver"),
    ("bob", "signoff-editor"),
    ("bob", "signoff-approver"),
    ("system:serviceaccount:default:agent", "signoff-editor"),
];

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let plane = ControlPlane::start("the scenarios on a real API server")
        .expect("SIGNOFF_TEST_SERVER=real needs a real control plane");
    prepare(&plane);
    Shared {
        plane,
        namespaces: AtomicUsize::new(0),
    }
});

/// The real control plane.
pub struct Shared {
    plane: ControlPlane,
    namespaces: AtomicUsize,
}

/// Whether scenarios run on a real control plane.
pub fn is_wanted() -> bool {
    std::env::var("SIGNOFF_TEST_SERVER").is_ok_and(|server| server == "real")
}

/// The real control plane, started by the first who asks. Blocks.
pub fn shared() -> &'static Shared {
    &SHARED
}

impl Shared {
    pub fn client(&self, user: &str) -> Client {
        self.plane.client(user)
    }

    /// Puts under a decision or a run who sends it, where the server does not.
    pub fn sign(&self, user: &str, object: &mut Value) {
        self.plane.sign(user, object);
    }

    /// Whether the server writes down who asks and who changes what.
    pub fn stamps(&self) -> bool {
        self.plane.stamps()
    }

    /// Whether somebody deletes what has lost its owner; says so where nobody does.
    pub fn collects(&self) -> bool {
        self.plane.can_test("that what has lost its owner goes")
    }

    /// A namespace of one's own, ready to be used.
    pub async fn namespace(&self) -> String {
        let name = format!("rig-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client("admin"));
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        name
    }
}

/// Installs the charts, lets people do what they may, and waits until all of it is in force.
pub fn prepare(plane: &ControlPlane) {
    for args in [
        ["upgrade", "--install", "signoff-crds", "charts/signoff-crds"].as_slice(),
        &[
            "upgrade",
            "--install",
            "signoff",
            "charts/signoff",
            "--create-namespace",
            "-n",
            "signoff-system",
        ],
    ] {
        plane.helm().run(args).expect_ok();
    }
    let admin = plane.as_user("admin");
    for (number, (user, role)) in BINDINGS.iter().enumerate() {
        let (name, role, user) = (
            format!("binding-{number}"),
            format!("--clusterrole={role}"),
            format!("--user={user}"),
        );
        admin
            .run(&["create", "clusterrolebinding", &name, &role, &user])
            .expect_ok();
    }
    for (user, verb, what) in [
        ("dev", "create", "runs.signoff.dev"),
        ("alice", "create", "decisions.signoff.dev"),
        ("operator", "create", "approvals.signoff.dev"),
    ] {
        plane.wait("the roles", || {
            plane.as_user(user).run(&["auth", "can-i", verb, what]).ok
        });
    }
    // a policy is in force a moment after it is there
    let forged = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "probe"},
        "spec": {"flow": "f", "requestedBy": "nobody"}});
    let honest = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "probe"}, "spec": {"flow": "f"}});
    let dry_run = ["create", "--dry-run=server", "-f", "-", "-o", "json"];
    plane.wait("the policies", || {
        let forged = admin.feed(&dry_run, &forged.to_string());
        let honest = admin.feed(&dry_run, &honest.to_string());
        std::thread::sleep(Duration::from_millis(50));
        forged.err.contains("nobody can request a run in another's name")
            && (!plane.stamps() || honest.out.contains("\"requestedBy\""))
    });
}
