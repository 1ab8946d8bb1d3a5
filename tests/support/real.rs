//! A real control plane that all tests of a process share, with the charts installed.

use std::{
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authorization::v1::SelfSubjectAccessReview,
        core::v1::Namespace,
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Client, CustomResourceExt as _, Resource,
    api::{ObjectMeta, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use signoff_api::{Approval, Connection, Decision, Flow, Release, Repository, Run};

use super::controlplane::{ControlPlane, PATIENCE, audit};

/// Who may do what everywhere, as the embedded control plane has it from the start.
const BINDINGS: &[(&str, &str)] = &[
    ("dev", "signoff-editor"),
    ("dev", "signoff-approver"),
    ("alice", "signoff-editor"),
    ("alice", "signoff-approver"),
    ("bob", "signoff-editor"),
    ("bob", "signoff-approver"),
    ("dev", "signoff-worker"),
    ("alice", "signoff-worker"),
    ("bob", "signoff-worker"),
    ("system:serviceaccount:default:agent", "signoff-operator"),
    ("system:serviceaccount:default:agent", "signoff-worker"),
];

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let plane = ControlPlane::start_shared("the scenarios on a real API server")
        .expect("SIGNOFF_TEST_SERVER=real needs a real control plane");
    prepare(&plane);
    Shared {
        plane,
        namespaces: AtomicUsize::new(0),
    }
});

/// Where the chart is installed.
const OWN_NAMESPACE: &str = "signoff-system";
/// What the operator may do there, and its binding.
const OWN_ROLE: &str = "signoff-keys";
/// The accounts of the chart.
pub const ACCOUNTS: [&str; 2] = [
    "system:serviceaccount:signoff-system:signoff-controller",
    "system:serviceaccount:signoff-system:signoff-gateway",
];

/// The real control plane.
pub struct Shared {
    plane: ControlPlane,
    namespaces: AtomicUsize,
}

/// Whether scenarios run on a real control plane.
pub fn is_wanted() -> bool {
    let server = std::env::var("SIGNOFF_TEST_SERVER").unwrap_or_default();
    assert!(
        ["", "real"].contains(&server.as_str()),
        "SIGNOFF_TEST_SERVER is either `real` or not set"
    );
    server == "real"
}

/// The real control plane, started by the first who asks. Blocks.
pub fn shared() -> &'static Shared {
    &SHARED
}

impl Shared {
    /// A namespace of one's own, ready to be used.
    pub async fn room(&'static self) -> Room {
        let name = format!("rig-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(self.plane.client("admin"));
        let logged = self.plane.audit_length();
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        Room {
            plane: &self.plane,
            name,
            logged,
        }
    }
}

/// A namespace of the real control plane, for one test.
pub struct Room {
    plane: &'static ControlPlane,
    name: String,
    /// How long the audit log was when it was made.
    logged: u64,
}

impl Room {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn client(&self, user: &str) -> Client {
        self.plane.client(user)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    /// Puts under a decision or a run who sends it, where the server does not.
    pub fn sign(&self, user: &str, object: &mut Value) {
        self.plane.sign(user, object);
    }

    /// Whether the server writes down who asks and who changes what.
    pub fn stamps(&self) -> bool {
        self.plane.stamps()
    }

    /// Whether `what` can be tested, which takes the manager; says so where it cannot.
    pub fn can_test(&self, what: &str) -> bool {
        self.plane.can_test(what)
    }

    /// What the audit log has of this namespace.
    pub fn audit(&self) -> Vec<Value> {
        let mut log = self.plane.audit_of(&self.name, self.logged);
        log.retain(|event| event["objectRef"]["namespace"] == *self.name);
        log
    }

    /// Gives the operator the rights here that the chart gives it in its own namespace.
    pub async fn house_operator(&self) {
        self.copy::<Role>(OWN_ROLE).await;
        self.copy::<RoleBinding>(OWN_ROLE).await;
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client("operator"));
        let review: SelfSubjectAccessReview = serde_json::from_value(json!({"spec": {"resourceAttributes":
            {"namespace": self.name, "group": "coordination.k8s.io", "resource": "leases", "verb": "create"}}}))
        .unwrap();
        let allowed = async {
            loop {
                let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
                if answer.status.is_some_and(|status| status.allowed) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let allowed = tokio::time::timeout(PATIENCE, allowed).await;
        allowed.expect("the operator has its rights");
    }

    async fn copy<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let there: Api<K> = Api::namespaced(self.client("admin"), OWN_NAMESPACE);
        let here: Api<K> = Api::namespaced(self.client("admin"), &self.name);
        let mut object = there.get(name).await.unwrap();
        *object.meta_mut() = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        here.create(&PostParams::default(), &object).await.unwrap();
    }
}

impl Drop for Room {
    /// Whatever a test is about, the chart has to give every right that it took.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let refused = audit::refused(&self.audit(), &ACCOUNTS);
            assert!(refused.is_empty(), "the chart lacks a right: {refused:#?}");
        }
    }
}

/// Installs the kinds as the docs say, and waits until the server serves each and kubectl can find it: the server takes a moment longer to
/// publish what it has established.
pub fn install_kinds(plane: &ControlPlane) {
    let kinds = [
        "upgrade",
        "--install",
        "signoff-crds",
        "charts/signoff-crds",
        "--wait",
    ];
    plane.helm().run(&kinds).expect_ok();
    let names = [
        Flow::crd_name(),
        Release::crd_name(),
        Run::crd_name(),
        Approval::crd_name(),
        Decision::crd_name(),
        Repository::crd_name(),
        Connection::crd_name(),
    ];
    let get = ["get", &names.join(","), "--all-namespaces"];
    plane.wait("the kinds to be served", || plane.as_user("admin").run(&get).ok);
}

/// Installs the charts, or upgrades them, with these values.
pub fn install(plane: &ControlPlane, values: &[&str]) {
    install_kinds(plane);
    let operator = ["upgrade", "--install", "signoff", "charts/signoff"];
    // each test signs callbacks and webhooks with Secrets in a namespace of its own
    let into = [
        "--create-namespace",
        "-n",
        OWN_NAMESPACE,
        "--set=rbac.gatewaySecrets=true",
        "--set=image.repository=registry.example/signoff",
    ];
    let args = [&operator[..], &into, values].concat();
    plane.helm().run(&args).expect_ok();
    until_policies_hold(plane);
}

/// Waits until every admission policy that is there is in force, some time after it was created. The server takes them up in their order and
/// puts all of them in force together, so one that comes last shows it: it labels and refuses a `ConfigMap`.
pub fn until_policies_hold(plane: &ControlPlane) {
    static PROBES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("probe-{}", PROBES.fetch_add(1, Ordering::Relaxed));
    let admin = plane.as_user("admin");
    let maps = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["configmaps"], "resourceNames": [name]}]});
    let probe = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let refusal = "has(object.metadata.labels) ? 'labelled and refused' : 'refused'";
    let validations = json!([{"expression": "false", "messageExpression": refusal}]);
    let mut probes = vec![
        probe(
            "ValidatingAdmissionPolicy",
            json!({"matchConstraints": maps, "validations": validations}),
        ),
        probe(
            "ValidatingAdmissionPolicyBinding",
            json!({"policyName": name, "validationActions": ["Deny"]}),
        ),
    ];
    if plane.stamps() {
        let label = r#"Object{metadata: Object.metadata{labels: {"probe": "here"}}}"#;
        let mutations =
            json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": label}}]);
        let policy = json!({"matchConstraints": maps, "reinvocationPolicy": "Never", "mutations": mutations});
        probes.push(probe("MutatingAdmissionPolicy", policy));
        probes.push(probe(
            "MutatingAdmissionPolicyBinding",
            json!({"policyName": name}),
        ));
    }
    let probes = json!({"apiVersion": "v1", "kind": "List", "items": probes}).to_string();
    admin.feed(&["create", "-f", "-"], &probes).expect_ok();
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}})
            .to_string();
    let sign = if plane.stamps() {
        "labelled and refused"
    } else {
        "refused"
    };
    plane.wait("the policies", || {
        let answer = admin.feed(&["create", "--dry-run=server", "-f", "-"], &map);
        answer.err.contains(sign)
    });
    admin.feed(&["delete", "-f", "-"], &probes).expect_ok();
}

/// Installs the charts, lets people do what they may, and waits until all of it is in force.
pub fn prepare(plane: &ControlPlane) {
    // the store of the tests is a folder of their own; the chart has only to give the rights
    install(
        plane,
        &[
            "--set=store.url=s3://bucket/prefix",
            "--set=store.recordKeys=signoff-record-keys",
        ],
    );
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
