//! The operator on a real API server, with its service account's own token and no right but those of the chart.

use serde_json::{Value, json};
use signoff::cluster::leadership::Timing;
use signoff::gateway::ConnectionLimits;
use signoff::net::{AddressPolicy, Network};
use signoff::operator::{GatewayServer, GatewayServerOptions, Operator, OperatorOptions, Rivalry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{assert_says, install};
use crate::controlplane::{ControlPlane, Tool, audit};
use crate::support::{
    rig::eventually,
    shop::{Answer, Shop},
};

const ACCOUNTS: [&str; 2] = [
    "system:serviceaccount:team-signoff:signoff-controller",
    "system:serviceaccount:team-signoff:signoff-gateway",
];

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn field(kubectl: &Tool, what: &str, name: &str, path: &str) -> String {
    kubectl
        .run(&["get", what, name, "-o", &format!("jsonpath={{{path}}}")])
        .out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_asks_and_goes_on_with_the_rights_of_the_chart_for_some_namespaces() {
    let Some(plane) = ControlPlane::start("the operator with the rights of the chart") else {
        return;
    };
    team(&plane);
    let shop = Shop::open().await;
    shop.will_answer([Answer::Status(200, json!({"amount": 250}))]);
    let shutdown = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let operator = tokio::spawn(operator(&plane, url.clone(), shutdown.clone()).await);
    let gateway = tokio::spawn(gateway(&plane, listener, shutdown.clone()).await);

    let dev = plane.as_user("dev").within("team");
    a_live_flow(&plane, &dev, &shop);
    dev.create(&object(
        "Run",
        "refund-1",
        &json!({"flow": "refund", "inputs": {"order": "81"}}),
    ));
    let admin = plane.as_user("admin").within("team");
    let question = || {
        field(
            &admin,
            "run",
            "refund-1",
            ".status.steps[?(@.name==\"review\")].approval",
        )
    };
    plane.wait("the question", || {
        let question = question();
        !question.is_empty()
            && field(&admin, "approval", &question, ".spec.title") == "Refund 250 for order 81?"
    });
    let question = question();
    assert_eq!(field(&admin, "approval", &question, ".spec.requestedBy"), "dev");

    let digest = field(&admin, "approval", &question, ".spec.digest");
    let decision = |name: &str| {
        object(
            "Decision",
            name,
            &json!({"approval": question, "digest": digest, "verdict": "Approve"}),
        )
    };
    // the administrator has the verb but is no approver: recorded, not counted
    admin.create(&decision("admins"));
    plane.wait("the administrator's decision to be judged", || {
        field(&admin, "decision", "admins", ".status.reason") == "NotAnApprover"
    });
    plane.as_user("alice").within("team").create(&decision("alices"));
    eventually("the payment is asked for", || !shop.asked("/pay").is_empty()).await;
    let callback = shop.asked("/pay")[0].body["callback"]
        .as_str()
        .unwrap()
        .to_owned();
    let posted = reqwest::Client::new().post(callback).body(r#"{"receipt":1}"#);
    let posted = posted
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 202);
    plane.wait("the run to end", || {
        field(&admin, "run", "refund-1", ".status.phase") == "Succeeded"
    });
    a_push_is_passed_on(&plane, &url).await;
    a_run_of_the_other_team_ends(&plane);
    assert_eq!(field(&admin, "decision", "alices", ".status.reason"), "Counted");
    assert_eq!(
        field(&admin, "approval", &question, ".status.counted[*].by"),
        "alice"
    );
    assert_eq!(shop.asked("/pay").len(), 1);
    shutdown.cancel();
    operator.await.unwrap();
    gateway.await.unwrap();
    let log = plane.audit();
    let forged = |event: &Value| audit::is_dry_run(event) && event["responseStatus"]["code"] == 403;
    let tried = log
        .iter()
        .any(|event| audit::is_by(event, &ACCOUNTS) && forged(event));
    assert!(tried, "no forgery was tried");
    let refused = audit::refused(&log, &ACCOUNTS);
    assert!(refused.is_empty(), "the chart lacks a right: {refused:#?}");
    let events = admin
        .run(&["get", "events", "-o", "jsonpath={.items[*].reason}"])
        .out;
    assert_says(&events, "Succeeded");
}

/// Installs for the namespaces `team`, in which people have their roles and a Secret lies, and `other-team`.
fn team(plane: &ControlPlane) {
    let admin = plane.as_user("admin");
    for namespace in ["team", "other-team", "team-signoff"] {
        admin.run(&["create", "namespace", namespace]).expect_ok();
    }
    install(
        plane,
        "team-signoff",
        &[
            "--set=watchNamespaces={team,other-team}",
            "--set=gateway.secrets[0].namespace=team,gateway.secrets[0].names={forge}",
        ],
    );
    let admin = admin.within("team");
    for (role, group) in [("approver", "finance"), ("editor", "developers")] {
        let (role, to) = (
            format!("--clusterrole=signoff-{role}"),
            format!("--group={group}"),
        );
        admin
            .run(&["create", "rolebinding", group, &role, &to])
            .expect_ok();
    }
    let secret = [
        "create",
        "secret",
        "generic",
        "shop",
        "--from-literal=token=s3cret",
    ];
    admin.run(&secret).expect_ok();
    // of the rights of an editor, what the chart's role does not give: a Connection sends what its author may read
    for args in [
        [
            "create",
            "role",
            "shop",
            "--verb=get",
            "--resource=secrets",
            "--resource-name=shop",
        ]
        .as_slice(),
        &[
            "create",
            "rolebinding",
            "shop",
            "--role=shop",
            "--group=developers",
        ],
    ] {
        admin.run(args).expect_ok();
    }
    plane.wait("the policies", || {
        let run = object(
            "Run",
            "probe",
            &json!({"flow": "refund", "requestedBy": "nobody"}),
        );
        let answer = admin.feed(&["create", "--dry-run=server", "-f", "-"], &run.to_string());
        answer.err.contains("signoff-runs")
            || answer.err.contains("nobody can request a run in another's name")
    });
}

/// The second namespace is worked in too, by the same process.
fn a_run_of_the_other_team_ends(plane: &ControlPlane) {
    let admin = plane.as_user("admin").within("other-team");
    let spec = json!({"steps": [{"name": "one", "set": {"x": 1}}]});
    admin.create(&object("Flow", "quick", &spec));
    plane.wait("a release of the other team", || {
        !field(&admin, "flow", "quick", ".status.draft.release").is_empty()
    });
    let release = field(&admin, "flow", "quick", ".status.draft.release");
    admin.create(&object(
        "Run",
        "quick-1",
        &json!({"flow": "quick", "release": release}),
    ));
    plane.wait("the run of the other team to end", || {
        field(&admin, "run", "quick-1", ".status.phase") == "Succeeded"
    });
}

/// Somebody pushes, the forge says so, and whoever leads learns of it through the annotation.
async fn a_push_is_passed_on(plane: &ControlPlane, gateway: &str) {
    let admin = plane.as_user("admin").within("team");
    let secret = [
        "create",
        "secret",
        "generic",
        "forge",
        "--from-literal=hook=shared-with-the-forge",
    ];
    admin.run(&secret).expect_ok();
    admin.create(&object(
        "Repository",
        "flows",
        &json!({"url": "https://forge.example.com/flows.git", "interval": "24h", "suspend": true, "draft": {"ref": "main"},
            "webhook": {"secretRef": {"name": "forge", "key": "hook"}}}),
    ));
    let hook = reqwest::Client::new().post(format!("{gateway}/v1/hooks/git/team/flows"));
    let pushed = hook
        .header("x-gitlab-token", "shared-with-the-forge")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(pushed.status(), 202);
    let annotation = ".metadata.annotations.signoff\\.dev/requestedAt";
    assert!(!field(&admin, "repository", "flows", annotation).is_empty());
}

fn token(plane: &ControlPlane, account: &str) -> String {
    let token = ["create", "token", account, "--namespace=team-signoff"];
    plane
        .as_user("admin")
        .run(&token)
        .expect_ok()
        .out
        .trim()
        .to_owned()
}

/// The controllers as in the chart's pod, but in this process.
async fn operator(
    plane: &ControlPlane,
    gateway: String,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let cache = tempfile::tempdir().unwrap();
    let options = OperatorOptions {
        namespace: "team-signoff".to_owned(),
        watch_namespaces: ["team".to_owned(), "other-team".to_owned()].into(),
        network: Network::new(AddressPolicy::local()),
        rivalry: Some(Rivalry {
            identity: "the-only-one".to_owned(),
            timing: Timing::default(),
        }),
        ..OperatorOptions::new(gateway, cache.path())
    };
    let client = plane.client(&token(plane, "signoff-controller"));
    let operator = Operator::start(client, options).await.unwrap();
    async move {
        operator.run(None, shutdown).await.unwrap();
        drop(cache);
    }
}

/// The gateway as in the chart's other pod, but in this process.
async fn gateway(
    plane: &ControlPlane,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let options = GatewayServerOptions {
        namespace: "team-signoff".to_owned(),
        watch_namespaces: ["team".to_owned(), "other-team".to_owned()].into(),
        connections: ConnectionLimits::default(),
        store: None,
        agents: None,
    };
    let client = plane.client(&token(plane, "signoff-gateway"));
    let gateway = GatewayServer::start(client, options).await.unwrap();
    async move { gateway.run(listener, shutdown).await.unwrap() }
}

/// A flow whose first release is live, as somebody with kubectl makes it.
fn a_live_flow(plane: &ControlPlane, dev: &Tool, shop: &Shop) {
    let auth = json!({"bearer": {"name": "shop", "key": "token"}});
    dev.create(&object(
        "Connection",
        "shop",
        &json!({"http": {"baseURL": shop.url(""), "auth": auth}}),
    ));
    let post = |name: &str, path: &str| {
        json!({"name": name, "http": {"connection": "shop", "method": "POST", "path": path,
            "body": {"order": "${inputs.order}", "callback": "${callback('settled').url}"}}})
    };
    let spec = json!({
        "inputs": {"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}},
        "steps": [
            post("propose", "/quote"),
            {"name": "review", "approval": {
                "title": "Refund ${steps.propose.output.amount} for order ${inputs.order}?",
                "approvers": {"groups": ["finance"]},
            }},
            post("pay", "/pay"),
            {"name": "settled", "wait": {"callback": {}}},
        ],
    });
    let flow = object("Flow", "refund", &spec);
    assert_says(
        &dev.feed(&["apply", "-f", "-"], &flow.to_string()).expect_ok().out,
        "created",
    );
    plane.wait("a release", || {
        !field(dev, "flow", "refund", ".status.draft.release").is_empty()
    });
    let release = field(dev, "flow", "refund", ".status.draft.release");
    let live = json!({"spec": {"live": release}}).to_string();
    dev.run(&["patch", "flow", "refund", "--type=merge", "-p", &live])
        .expect_ok();
    plane.wait("the release to be live", || {
        field(dev, "flow", "refund", ".status.live.release") == release
    });
}
