//! Decisions count only while every policy is in force that proves who decides.

use kube::Client;
use serde_json::{Value, json};
use signoff::operator::{Operator, OperatorOptions, Policies};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{install, name};
use crate::controlplane::{ControlPlane, Tool};

/// Said aloud, since Helm otherwise keeps what an earlier installation said.
const POLICIES: &[&str] = &["--set=policies.enabled=true"];

/// An operator that watches the policies of the installation `signoff`.
async fn operator(client: Client, policies: Policies) -> DropGuard {
    let cache = tempfile::tempdir().unwrap();
    let options = OperatorOptions {
        policies: Some(policies),
        ..OperatorOptions::new("http://127.0.0.1:1", cache.path())
    };
    let operator = Operator::start(client, options).await.unwrap();
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        let _cache = cache;
        operator.run(None, token).await.unwrap();
    });
    shutdown.drop_guard()
}

/// What an administrator and people do about one question that takes two.
struct Stage<'a> {
    plane: &'a ControlPlane,
    admin: Tool,
}

impl Stage<'_> {
    fn field(&self, what: &str, name: &str, path: &str) -> String {
        let path = format!("jsonpath={{{path}}}");
        self.admin.run(&["get", what, name, "-o", &path]).out
    }

    fn install(&self, values: &[&str]) {
        install(self.plane, "signoff-system", values);
    }

    /// Name of the question, once there is one.
    fn question(&self) -> String {
        self.field("run", "r", ".status.steps[0].approval")
    }

    /// Waits until the question says whether decisions would count.
    fn stands(&self, reason: &str) {
        self.plane.wait(&format!("the question to be {reason}"), || {
            let path = ".status.conditions[?(@.type==\"Decided\")].reason";
            self.field("approval", &self.question(), path) == reason
        });
    }

    /// What a decision on the question is, said by this person or in this person's name.
    fn decision(&self, by: &str) -> Value {
        let question = self.question();
        let digest = self.field("approval", &question, ".spec.digest");
        let groups = match by {
            "bob" => json!(["finance", "finance-leads", "owners", "system:authenticated"]),
            _ => json!(["finance", "owners", "system:authenticated"]),
        };
        let spec =
            json!({"approval": question, "digest": digest, "verdict": "Approve", "by": by, "groups": groups});
        json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": {"generateName": "d-"}, "spec": spec})
    }

    /// Somebody decides; gives what becomes of it.
    fn decides(&self, by: &str) -> (String, String) {
        let created = self
            .plane
            .as_user(by)
            .within("default")
            .create(&self.decision(by));
        (name(&created).to_owned(), self.judged(name(&created)))
    }

    /// Decides until it is after the policies came, as the refusal says.
    fn decides_again(&self, by: &str) {
        self.plane.wait(&format!("a decision of {by} to count"), || {
            self.decides(by).1 == "Counted"
        });
    }

    /// An administrator decides in somebody's name, which works as soon as the API server sees that the policy is missing.
    fn forges(&self, by: &str) -> String {
        let forgery = self.decision(by).to_string();
        let create = |more: &[&str]| {
            let args = [&["create", "-f", "-", "-o", "name"], more].concat();
            self.admin.feed(&args, &forgery)
        };
        self.plane
            .wait("a forgery to be taken", || create(&["--dry-run=server"]).ok);
        let created = create(&[]).expect_ok().out;
        created.trim().rsplit('/').next().unwrap_or_default().to_owned()
    }

    fn judged(&self, decision: &str) -> String {
        self.plane.wait("the decision to be judged", || {
            !self.field("decision", decision, ".status.reason").is_empty()
        });
        self.field("decision", decision, ".status.reason")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_while_a_policy_is_missing_never_counts() {
    let Some(plane) = ControlPlane::start("proof of who decides by admission policies") else {
        return;
    };
    let stage = Stage {
        plane: &plane,
        admin: plane.as_user("admin").within("default"),
    };
    stage.install(&["--set=policies.enabled=false"]);
    let _running = operator(plane.client("operator"), Policies::named("signoff")).await;
    ask(&stage);
    stage.stands("IdentityUnverified");
    let forged = stage.forges("alice");

    // once they are there, those who are asked decide, and what came before is proven by nobody
    stage.install(POLICIES);
    stage.stands("Pending");
    assert_eq!(stage.judged(&forged), "IdentityUnverified");
    stage.decides_again("alice");
    assert_eq!(
        stage.field("approval", &stage.question(), ".status.counted[*].by"),
        "alice"
    );

    // the quiet way to forge: take the binding away for a moment
    let gone = ["delete", "validatingadmissionpolicybinding", "signoff-decisions"];
    stage.admin.run(&gone).expect_ok();
    stage.stands("IdentityUnverified");
    let forged = stage.forges("bob");
    stage.install(POLICIES);
    stage.stands("Pending");
    assert_eq!(stage.judged(&forged), "IdentityUnverified");
    assert_eq!(
        stage.field("approval", &stage.question(), ".status.phase"),
        "Pending"
    );

    // one that the forgery does not try is missed as well
    stage
        .admin
        .run(&["delete", "validatingadmissionpolicy", "signoff-runs"])
        .expect_ok();
    stage.stands("IdentityUnverified");
    stage.install(POLICIES);
    stage.stands("Pending");
    for person in ["alice", "bob"] {
        stage.decides_again(person);
    }
    plane.wait("the answer", || {
        stage.field("approval", &stage.question(), ".status.phase") == "Approved"
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_while_a_policy_says_something_else_than_the_chart_never_counts() {
    let Some(plane) = ControlPlane::start("proof of who decides by what the policies say") else {
        return;
    };
    let stage = Stage {
        plane: &plane,
        admin: plane.as_user("admin").within("default"),
    };
    stage.install(POLICIES);
    let system = plane.as_user("admin").within("signoff-system");
    let said = [
        "get",
        "configmap",
        "signoff-policies",
        "-o",
        "jsonpath={.data.policies\\.yaml}",
    ];
    let rendered = system.run(&said).expect_ok().out;
    let policies = Policies::named("signoff").rendered_as(&rendered).unwrap();
    let _running = operator(plane.client("operator"), policies).await;
    ask(&stage);
    stage.stands("Pending");
    stage.decides_again("alice");

    // none of these is noticed by the forgery that the operator tries in its own namespace
    let binding = "validatingadmissionpolicybinding/signoff-decisions";
    let but_here = json!([{"op": "add", "path": "/spec/matchResources/namespaceSelector",
        "value": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]}]}}]);
    let everywhere =
        json!([{"op": "replace", "path": "/spec/matchResources/namespaceSelector", "value": {}}]);
    let policy = "validatingadmissionpolicy/signoff-decisions";
    let validations = stage.field(
        "validatingadmissionpolicy",
        "signoff-decisions",
        ".spec.validations",
    );
    let rules = |rules: &Value| json!([{"op": "replace", "path": "/spec/validations", "value": rules}]);
    let all = serde_json::from_str(&validations).unwrap();
    let none = json!([{"expression": "true"}]);
    let patch = |what: &str, change: &Value| {
        let change = change.to_string();
        let args = ["patch", what, "--type=json", "-p", &change];
        stage.admin.run(&args).expect_ok();
    };
    let begin = json!([{"op": "add", "path": "/spec/matchResources", "value": {}}]);
    patch(binding, &begin);
    for (what, weaker, restored) in [
        (binding, but_here, everywhere),
        (policy, rules(&none), rules(&all)),
    ] {
        patch(what, &weaker);
        stage.stands("IdentityUnverified");
        let forged = stage.forges("bob");
        patch(what, &restored);
        stage.stands("Pending");
        assert_eq!(stage.judged(&forged), "IdentityUnverified");
    }
    for person in ["alice", "bob"] {
        stage.decides_again(person);
    }
    plane.wait("the answer", || {
        stage.field("approval", &stage.question(), ".status.phase") == "Approved"
    });
}

/// Lets `dev` start a run that asks two of the group `finance`.
fn ask(stage: &Stage<'_>) {
    for (role, group) in [("signoff-approver", "finance"), ("signoff-editor", "developers")] {
        let (role, to) = (format!("--clusterrole={role}"), format!("--group={group}"));
        let bind = ["create", "rolebinding", group, &role, &to];
        stage.admin.run(&bind).expect_ok();
    }
    let review = json!({"title": "May it?", "approvers": {"groups": ["finance"]}, "quorum": 2});
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "signoff.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let steps = json!({"steps": [{"name": "review", "approval": review}]});
    stage.admin.create(&object("Flow", "f", steps));
    stage.plane.wait("a release", || {
        !stage.field("flow", "f", ".status.draft.release").is_empty()
    });
    let run = json!({"flow": "f", "channel": "Draft", "requestedBy": "dev"});
    stage
        .plane
        .as_user("dev")
        .within("default")
        .create(&object("Run", "r", run));
    stage.plane.wait("the question", || {
        let question = stage.question();
        !question.is_empty() && !stage.field("approval", &question, ".spec.digest").is_empty()
    });
}
