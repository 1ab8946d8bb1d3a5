//! Who may lower a gate, and how it cannot be lowered by going around: Repositories, flows, Connections.

use serde_json::{Value, json};

use super::{Space, assert_says};
use crate::controlplane::{Answer, Tool};

pub(super) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
pub(super) fn repository(name: &str, more: Value) -> Value {
    let mut spec = json!({"url": "https://forge.example.com/acme/flows.git", "draft": {"ref": "main"}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    object("Repository", name, &spec)
}

pub(super) fn flow(steps: i64) -> Value {
    object(
        "Flow",
        "refund",
        &json!({"steps": [{"name": "one", "set": {"x": steps}}]}),
    )
}

pub(super) fn patch(who: &Tool, what: &[&str], patch: &Value) -> Answer {
    let patch = patch.to_string();
    who.run(&[&["patch", "--type=merge", "-p", &patch], what].concat())
}

fn annotation(who: &Tool, key: &str) -> String {
    let path = format!("jsonpath={{.metadata.annotations.signoff\\.dev/{key}}}");
    who.run(&["get", "flow", "refund", "-o", &path]).expect_ok().out
}

impl Space {
    /// Waits until this is refused, or allowed: policies and roles take effect a moment later.
    pub(super) fn until(&self, what: &str, ok: bool, ask: impl Fn() -> Answer) {
        self.plane.wait(what, || ask().ok == ok);
    }

    /// Gives bob the role by which releases may be deleted.
    pub(super) fn bob_is_an_operator(&self) {
        let bind = [
            "create",
            "rolebinding",
            "operators",
            "--clusterrole=signoff-operator",
            "--user=bob",
        ];
        self.user("admin").run(&bind).expect_ok();
        let editor = [
            "create",
            "rolebinding",
            "editors",
            "--clusterrole=signoff-editor",
            "--user=bob",
        ];
        self.user("admin").run(&editor).expect_ok();
        self.until("bob's rights", true, || {
            self.user("bob")
                .run(&["auth", "can-i", "delete", "releases.signoff.dev"])
        });
        self.until("bob's rights", true, || {
            self.user("bob")
                .run(&["auth", "can-i", "delete", "flows.signoff.dev"])
        });
    }
}

#[test]
fn the_gate_of_a_repository_is_lowered_only_by_who_says_who_decides() {
    let Some(space) = Space::new("gate-of-repository") else {
        return;
    };
    let (admin, dev) = (space.user("admin"), space.user("dev"));
    let gate = json!({"promotion": {"approval": {"quorum": 2, "approvers": {"groups": ["owners"]}}}});
    let why = "say who decides: \"dev\" lacks the verb identify on repositories.signoff.dev in namespace \"gate-of-repository\"";
    space.until("the policy", false, || {
        dev.feed(
            &["create", "--dry-run=server", "-f", "-"],
            &repository("probe", gate.clone()).to_string(),
        )
    });
    assert_says(&dev.refused(&repository("flows", gate.clone())), why);
    admin.create(&repository("flows", gate));
    let change = |spec: Value| patch(&dev, &["repository", "flows"], &json!({"spec": spec}));
    for spec in [
        json!({"promotion": null}),
        json!({"promotion": {"approval": {"quorum": 1}}}),
        // what is asked of another remote decides in its place
        json!({"url": "https://forge.example.com/mine/flows.git"}),
        json!({"connection": "mine"}),
    ] {
        assert_says(&change(spec).expect_refused(), why);
    }
    change(json!({"interval": "5m", "suspend": true})).expect_ok();
    assert_says(&dev.run(&["delete", "repository", "flows"]).expect_refused(), why);
    let collection = "/apis/signoff.dev/v1alpha1/namespaces/gate-of-repository/repositories";
    assert_says(&dev.run(&["delete", "--raw", collection]).expect_refused(), why);
    let owner = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}]}});
    assert_says(
        &patch(&dev, &["repository", "flows"], &owner).expect_refused(),
        "a Repository goes with its owners: adding to metadata.ownerReferences takes the verb identify",
    );
    // one that says nothing of who decides is an editor's
    dev.create(&repository("plain", json!({})));
    patch(
        &dev,
        &["repository", "plain"],
        &json!({"spec": {"url": "https://forge.example.com/mine/flows.git"}}),
    )
    .expect_ok();
    dev.run(&["delete", "repository", "plain"]).expect_ok();
    admin.run(&["delete", "repository", "flows"]).expect_ok();
}

#[test]
fn a_flow_that_is_live_behind_a_gate_is_not_deleted_and_made_anew_without_it() {
    let Some(space) = Space::new("gated") else { return };
    let (dev, operator) = (space.user("dev"), space.user("operator"));
    space.bob_is_an_operator();
    dev.create(&flow(1));
    let live = json!({"status": {"live": {"release": "refund-0000000000", "digest": format!("sha256:{}", "0".repeat(64))}, "gated": true}});
    patch(&operator, &["flow", "refund", "--subresource=status"], &live).expect_ok();
    let why = "flow \"refund\" has a release live behind a gate, which would be gone with it: \"dev\" lacks the verb delete on \
               releases.signoff.dev in namespace \"gated\"";
    space.until("the policy", false, || {
        dev.run(&["delete", "--dry-run=server", "flow", "refund"])
    });
    assert_says(&dev.run(&["delete", "flow", "refund"]).expect_refused(), why);
    let collection = "/apis/signoff.dev/v1alpha1/namespaces/gated/flows";
    assert_says(&dev.run(&["delete", "--raw", collection]).expect_refused(), why);
    let owner = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}]}});
    assert_says(
        &patch(&dev, &["flow", "refund"], &owner).expect_refused(),
        "a flow goes with its owners: adding to metadata.ownerReferences takes the verb delete on releases.signoff.dev",
    );
    space.user("bob").run(&["delete", "flow", "refund"]).expect_ok();
    dev.create(&flow(1));
    dev.run(&["delete", "flow", "refund"]).expect_ok();
}

#[test]
fn gates_do_not_go_with_the_repository_that_brought_their_flows_but_with_the_namespace() {
    let Some(space) = Space::new("gated-by-flows") else {
        return;
    };
    let (admin, dev, operator) = (space.user("admin"), space.user("dev"), space.user("operator"));
    dev.create(&repository("flows", json!({})));
    dev.create(&flow(1));
    let gated = json!({"status": {"gated": true}});
    for what in [["repository", "flows"], ["flow", "refund"]] {
        patch(
            &operator,
            &[&what[..], &["--subresource=status"]].concat(),
            &gated,
        )
        .expect_ok();
    }
    space.until("the policy", false, || {
        dev.run(&["delete", "--dry-run=server", "repository", "flows"])
    });
    assert_says(
        &dev.run(&["delete", "repository", "flows"]).expect_refused(),
        "flows of Repository \"flows\" have releases live behind gates, which would be gone with it: \"dev\" lacks the verb delete on",
    );
    if !space
        .plane
        .can_test("the chart: that gated flows go with their namespace")
    {
        return;
    }
    admin
        .run(&["delete", "namespace", "gated-by-flows", "--wait=false"])
        .expect_ok();
    space.plane.wait("the namespace to go", || {
        !admin.run(&["get", "namespace", "gated-by-flows"]).ok
    });
}

#[test]
fn a_flow_says_who_last_changed_it_and_who_promotes_it_and_nobody_says_otherwise() {
    let Some(space) = Space::new("changed-by") else {
        return;
    };
    let (dev, operator) = (space.user("dev"), space.user("operator"));
    space.bob_is_an_operator();
    let bob = space.user("bob");
    let wish = |who: &Tool, live: &str| patch(who, &["flow", "refund"], &json!({"spec": {"live": live}}));
    let claim = |key: &str, user: Value| {
        patch(
            &dev,
            &["flow", "refund"],
            &json!({"metadata": {"annotations": {format!("signoff.dev/{key}"): user}}}),
        )
    };
    if space.plane.stamps() {
        space.plane.wait("the stamps", || {
            let args = ["create", "--dry-run=server", "-f", "-", "-o", "json"];
            dev.feed(&args, &flow(1).to_string())
                .out
                .contains("signoff.dev/changed-by")
        });
        dev.create(&flow(1));
        assert_eq!(
            (annotation(&dev, "changed-by"), annotation(&dev, "promoted-by")),
            ("dev".to_owned(), String::new())
        );
        wish(&bob, "refund-1").expect_ok();
        assert_eq!(
            (annotation(&dev, "changed-by"), annotation(&dev, "promoted-by")),
            ("dev".to_owned(), "bob".to_owned())
        );
        // what is sent makes no difference
        claim("changed-by", json!("alice")).expect_ok();
        claim("promoted-by", Value::Null).expect_ok();
        assert_eq!(
            (annotation(&dev, "changed-by"), annotation(&dev, "promoted-by")),
            ("dev".to_owned(), "bob".to_owned())
        );
        patch(
            &bob,
            &["flow", "refund"],
            &json!({"spec": {"description": "better"}}),
        )
        .expect_ok();
        assert_eq!(annotation(&dev, "changed-by"), "bob");
        // what the operator brings from git is nobody's in the cluster
        patch(
            &operator,
            &["flow", "refund"],
            &json!({"spec": {"description": null, "live": null}}),
        )
        .expect_ok();
        assert_eq!(
            (annotation(&dev, "changed-by"), annotation(&dev, "promoted-by")),
            (String::new(), String::new())
        );
        let applied = ["apply", "--server-side", "-f", "-"];
        dev.feed(&applied, &object("Flow", "applied", &flow(2)["spec"]).to_string())
            .expect_ok();
        return;
    }
    dev.create(&flow(1));
    assert_eq!(annotation(&dev, "changed-by"), "");
    // whoever says it, says it of themselves
    space.until("the policy", false, || claim("changed-by", json!("alice")));
    assert_says(
        &claim("changed-by", json!("dev")).expect_refused(),
        "leave it as it is",
    );
    let changed = |user: &str| {
        let metadata = json!({"annotations": {"signoff.dev/changed-by": user}});
        patch(
            &dev,
            &["flow", "refund"],
            &json!({"metadata": metadata, "spec": {"description": user}}),
        )
    };
    assert_says(
        &changed("alice").expect_refused(),
        "write your own name there, \"dev\", or take it away",
    );
    changed("dev").expect_ok();
    assert_says(
        &patch(
            &bob,
            &["flow", "refund"],
            &json!({"spec": {"description": "his"}}),
        )
        .expect_refused(),
        "the annotation signoff.dev/changed-by says \"dev\", but it names whoever last changed the definition of a flow",
    );
    assert_says(
        &claim("changed-by", Value::Null).expect_refused(),
        "leave it as it is",
    );
    wish(&bob, "refund-1").expect_ok();
    assert_says(
        &claim("promoted-by", json!("bob")).expect_refused(),
        "says \"bob\", but it names whoever last changed spec.live",
    );
}

#[test]
fn the_command_line_tool_says_who_promotes() {
    let Some(space) = Space::new("promoted") else {
        return;
    };
    let dev = space.user("dev");
    dev.create(&flow(1));
    let release = json!({
        "flow": "refund",
        "definition": {"steps": [{"name": "one", "set": {"x": 1}}]},
        "digest": super::DIGEST,
        "source": {"appliedBy": "dev", "generation": 1},
    });
    let operator = space.user("operator");
    operator.create(&object("Release", "refund-0000000000", &release));
    let promote = |user: &str| {
        let args = [
            "promote",
            "refund",
            "refund-0000000000",
            "--namespace=promoted",
            "--timeout=1s",
            "--context",
            user,
        ];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_signoff"))
            .env("KUBECONFIG", space.plane.kubeconfig())
            .args(args)
            .output()
            .unwrap();
        // nobody makes it live, since no operator runs here
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(output.status.code(), Some(9));
        assert_says(&String::from_utf8(said).unwrap(), "is not judged yet");
    };
    promote("dev");
    assert_eq!(annotation(&dev, "promoted-by"), "dev");
    promote("admin");
    assert_eq!(
        annotation(&dev, "promoted-by"),
        "dev",
        "who wishes for the same changes nothing"
    );
}

#[test]
fn who_may_not_read_a_secret_does_not_have_it_sent() {
    let Some(space) = Space::new("deputy") else { return };
    let (admin, agent) = (space.user("admin"), space.user("agent"));
    // of what an editor may do, only what the chart gives
    for args in [
        [
            "create",
            "rolebinding",
            "agent",
            "--clusterrole=signoff-editor",
            "--serviceaccount=default:agent",
        ]
        .as_slice(),
        &[
            "create",
            "role",
            "shop",
            "--verb=get",
            "--resource=secrets",
            "--resource-name=shop",
        ],
        &[
            "create",
            "rolebinding",
            "shop",
            "--role=shop",
            "--serviceaccount=default:agent",
        ],
    ] {
        admin.run(args).expect_ok();
    }
    space.until("the agent's rights", true, || {
        agent.run(&["auth", "can-i", "get", "secrets/shop"])
    });
    let key = |name: &str| json!({"name": name, "key": "k"});
    let http = |auth: Value| {
        object(
            "Connection",
            "c",
            &json!({"http": {"baseURL": "https://mine.example.com", "auth": auth}}),
        )
    };
    let git = |field: &str| object("Connection", "c", &json!({"git": {field: key("other")}}));
    let ssh = |field: &str| {
        let mut ssh = json!({"host": "vm.example.com", "user": "u", "privateKey": key("shop"), "knownHosts": key("shop")});
        ssh[field] = key("other");
        object("Connection", "c", &json!({ "ssh": ssh }))
    };
    let why = "a Connection sends the Secrets that it names: \"system:serviceaccount:default:agent\" may not get the Secret \"other\" in \
               namespace \"deputy\"";
    space.until("the policy", false, || {
        agent.feed(
            &["create", "--dry-run=server", "-f", "-"],
            &git("password").to_string(),
        )
    });
    for connection in [
        http(json!({"bearer": key("other")})),
        http(json!({"basic": {"username": "u", "password": key("other")}})),
        http(json!({"header": {"name": "X-Key", "value": key("other")}})),
        git("password"),
        git("privateKey"),
        git("knownHosts"),
        git("signingKey"),
        ssh("privateKey"),
        ssh("passphrase"),
        ssh("knownHosts"),
    ] {
        assert_says(&agent.refused(&connection), why);
    }
    agent.create(&http(json!({"bearer": key("shop")})));
    let change = |spec: &Value| patch(&agent, &["connection", "c"], &json!({"spec": spec}));
    assert_says(
        &change(&json!({"http": {"auth": {"bearer": {"name": "other"}}}})).expect_refused(),
        why,
    );
    patch(
        &admin,
        &["connection", "c"],
        &json!({"spec": {"http": {"auth": {"bearer": {"name": "other"}}}}}),
    )
    .expect_ok();
    // nor is one that is named by somebody else sent elsewhere
    assert_says(
        &change(&json!({"http": {"baseURL": "https://other.example.com"}})).expect_refused(),
        why,
    );
    patch(
        &agent,
        &["connection", "c"],
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .expect_ok();
}

#[test]
fn attempts_on_gates_are_in_the_audit_log() {
    let Some(space) = Space::new("audited-gates") else {
        return;
    };
    let (admin, dev, gateway) = (space.user("admin"), space.user("dev"), space.user("gateway"));
    admin.create(&repository(
        "flows",
        json!({"promotion": {"approval": {"quorum": 2}}}),
    ));
    space.until("the policy", false, || {
        dev.run(&["delete", "--dry-run=server", "repository", "flows"])
    });
    dev.run(&["delete", "repository", "flows"]).expect_refused();
    let claim = json!({"metadata": {"annotations": {"signoff.dev/source": "{}"}}});
    dev.create(&flow(1));
    patch(&dev, &["flow", "refund"], &claim).expect_refused();
    patch(
        &gateway,
        &["repository", "flows"],
        &json!({"spec": {"suspend": true}}),
    )
    .expect_refused();
    let gateways = "system:serviceaccount:signoff-system:signoff-gateway";
    space.plane.wait("the attempts in the audit log", || {
        let found = |user: &str, policy: &str, attempt: String| {
            let refused = space.audit(user, 403);
            refused
                .iter()
                .any(|event| event["annotations"][format!("{policy}/attempt")] == attempt)
        };
        found(
            "dev",
            "signoff-repositories",
            "DELETE repositories audited-gates/flows by dev".to_owned(),
        ) && found(
            "dev",
            "signoff-flows",
            "UPDATE flows audited-gates/refund by dev".to_owned(),
        ) && found(
            gateways,
            "signoff-gateway",
            format!("UPDATE repositories audited-gates/flows by {gateways}"),
        )
    });
}
