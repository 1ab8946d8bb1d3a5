//! Who decides is who asks: the policies on Decisions and on the requester of a Run.

use std::process::Command;

use serde_json::{Value, json};

use super::{Space, assert_says, decision, run};

#[test]
fn a_decision_without_a_name_is_given_it_or_the_decider_is_told_what_to_write() {
    let Some(space) = Space::new("unnamed") else {
        return;
    };
    let groups = json!(["finance", "finance-leads", "owners", "system:authenticated"]);
    for fields in [json!({}), json!({"by": null, "groups": null})] {
        let args = ["create", "-f", "-", "-o", "json"];
        let answer = space.user("bob").feed(&args, &decision(&fields).to_string());
        if space.plane.stamps() {
            let stored: Value = serde_json::from_str(&answer.expect_ok().out).unwrap();
            assert_eq!(stored["spec"]["by"], "bob");
            assert_eq!(stored["spec"]["groups"], groups);
        } else {
            let message = answer.expect_refused();
            assert_says(
                &message,
                "spec.by is missing, and this API server does not fill it in (that takes Kubernetes 1.36): add `by: bob` and `groups: [finance, \
                 finance-leads, owners, system:authenticated]` under spec, or use `signoff approve refund-1-review`, which does",
            );
            assert!(!message.contains("no such key"), "{message}");
        }
    }
    let written = decision(&json!({"by": "bob", "groups": groups}));
    assert_eq!(space.user("bob").create(&written)["spec"]["groups"], groups);
}

#[test]
fn the_command_line_tool_says_who_decides_and_who_requests_where_the_server_does_not() {
    let Some(space) = Space::new("typed-less") else {
        return;
    };
    let signoff = |user: &str, args: &[&str], code: i32| {
        let output = Command::new(env!("CARGO_BIN_EXE_signoff"))
            .env("KUBECONFIG", space.plane.kubeconfig())
            .args(args)
            .args(["--namespace=typed-less", "--timeout=1s", "--context", user])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    };
    // no operator runs that would judge it
    signoff("alice", &["approve", "refund-1-review", "--yes"], 9);
    space.user("dev").create(&super::gates::flow(1));
    let release = json!({
        "flow": "refund",
        "definition": {"steps": [{"name": "one", "set": {"x": 1}}]},
        "digest": super::DIGEST,
        "source": {"appliedBy": "dev", "generation": 1},
    });
    let release = super::gates::object("Release", "refund-0000000000", &release);
    space.user("operator").create(&release);
    signoff("dev", &["run", "refund", "--release", "refund-0000000000"], 0);
    let first = |what: &str, path: &str| {
        let path = format!("jsonpath={{.items[0].spec.{path}}}");
        space
            .user("admin")
            .run(&["get", what, "-o", &path])
            .expect_ok()
            .out
    };
    assert_eq!(first("decisions", "by"), "alice");
    assert_eq!(
        first("decisions", "groups"),
        r#"["finance","owners","system:authenticated"]"#
    );
    assert_eq!(first("runs", "requestedBy"), "dev");
}

#[test]
fn a_decider_may_write_what_is_true_and_keeps_no_group_back() {
    let Some(space) = Space::new("written") else {
        return;
    };
    let stored = space.user("alice").create(&decision(
        &json!({"by": "alice", "groups": ["system:authenticated", "owners", "finance"]}),
    ));
    assert_eq!(
        stored["spec"]["groups"],
        json!(["system:authenticated", "owners", "finance"])
    );
    let message = space
        .user("alice")
        .refused(&decision(&json!({"by": "alice", "groups": ["finance"]})));
    assert_says(
        &message,
        "spec.groups leaves out owners, system:authenticated, and you are in that group",
    );
}

#[test]
fn nobody_decides_in_anothers_name_not_even_a_cluster_administrator() {
    let Some(space) = Space::new("forged-by") else {
        return;
    };
    for user in ["alice", "admin"] {
        let message = space.user(user).refused(&decision(&json!({"by": "bob"})));
        assert_says(
            &message,
            &format!("spec.by says \"bob\", but you are \"{user}\": nobody can decide in another's name"),
        );
    }
}

#[test]
fn nobody_claims_a_group() {
    let Some(space) = Space::new("forged-groups") else {
        return;
    };
    let message = space
        .user("alice")
        .refused(&decision(&json!({"groups": ["finance", "legal", "board"]})));
    assert_says(
        &message,
        "spec.groups names legal, board, and you are not in that group",
    );
}

#[test]
fn only_the_operator_says_via() {
    let Some(space) = Space::new("via") else { return };
    for user in ["alice", "admin"] {
        let message = space
            .user(user)
            .refused(&decision(&json!({"via": {"channel": "git"}})));
        assert_says(
            &message,
            "spec.via is only for decisions that the operator passes on",
        );
    }
}

#[test]
fn the_operator_decides_only_for_somebody_else_and_says_how() {
    let Some(space) = Space::new("on-behalf") else {
        return;
    };
    let operator = space.user("operator");
    let passed_on = json!({"by": "bob", "groups": ["finance"], "via": {"channel": "git", "evidence": {"commit": "3f9a1c"}}});
    assert_eq!(operator.create(&decision(&passed_on))["spec"]["by"], "bob");
    let itself = "system:serviceaccount:signoff-system:signoff-controller";
    for forgery in [
        json!({}),
        json!({"by": "bob"}),
        json!({"via": {"channel": "git", "evidence": {"commit": "3f9a1c"}}}),
        json!({"by": itself, "via": {"channel": "git", "evidence": {"commit": "3f9a1c"}}}),
    ] {
        let message = operator.refused(&decision(&forgery));
        assert_says(
            &message,
            "the operator decides only for somebody else: spec.by must name that person and spec.via how",
        );
    }
    for unproven in [
        json!({"channel": "git"}),
        json!({"channel": "git", "evidence": {}}),
    ] {
        let message = operator.refused(&decision(&json!({"by": "bob", "via": unproven})));
        assert_says(
            &message,
            "the operator says what proves a decision: spec.via.evidence is empty",
        );
    }
}

#[test]
fn deciding_takes_the_verb_approve_on_that_approval() {
    let Some(space) = Space::new("verb") else { return };
    // who may read may not create decisions
    let message = space.user("carol").refused(&decision(&json!({})));
    assert_says(&message, "User \"carol\" cannot create resource \"decisions\"");
    // who may create decisions still needs the verb
    let admin = space.user("admin");
    admin
        .run(&[
            "create",
            "role",
            "writer",
            "--verb=create",
            "--resource=decisions.signoff.dev",
        ])
        .expect_ok();
    admin
        .run(&["create", "rolebinding", "writer", "--role=writer", "--user=carol"])
        .expect_ok();
    let expected = "\"carol\" may not decide approval \"refund-1-review\": it takes the verb approve on approvals.signoff.dev in namespace \"verb\", \
                    which the ClusterRole signoff-approver gives";
    space.plane.wait("carol's right to create decisions", || {
        let answer = space.user("carol").feed(
            &["create", "-f", "-"],
            &decision(&json!({"by": "carol"})).to_string(),
        );
        answer.expect_refused().contains(expected)
    });
    // and the verb on one approval is no right to another
    let named = [
        "create",
        "role",
        "other",
        "--verb=approve",
        "--resource=approvals.signoff.dev",
        "--resource-name=another",
    ];
    admin.run(&named).expect_ok();
    admin
        .run(&["create", "rolebinding", "other", "--role=other", "--user=carol"])
        .expect_ok();
    space.plane.wait("carol's right to the other approval", || {
        space
            .user("carol")
            .run(&["auth", "can-i", "approve", "approvals.signoff.dev/another"])
            .ok
    });
    assert_says(&space.user("carol").refused(&decision(&json!({}))), expected);
    let other = space
        .user("carol")
        .create(&decision(&json!({"approval": "another"})));
    assert_eq!(other["spec"]["by"], "carol");
}

#[test]
fn an_agent_is_refused_and_with_the_right_is_recorded_as_the_service_account_it_is() {
    let Some(space) = Space::new("agent") else { return };
    let message = space.user("agent").refused(&decision(&json!({})));
    assert_says(
        &message,
        "User \"system:serviceaccount:default:agent\" cannot create resource \"decisions\"",
    );
    let bind = [
        "create",
        "rolebinding",
        "agent",
        "--clusterrole=signoff-approver",
        "--serviceaccount=default:agent",
    ];
    space.user("admin").run(&bind).expect_ok();
    space.plane.wait("the agent's right", || {
        space
            .user("agent")
            .run(&["auth", "can-i", "create", "decisions.signoff.dev"])
            .ok
    });
    assert_says(
        &space.user("agent").refused(&decision(&json!({"by": "alice"}))),
        "nobody can decide in another's name",
    );
    let stored = space.user("agent").create(&decision(&json!({})));
    assert_eq!(stored["spec"]["by"], "system:serviceaccount:default:agent");
}

#[test]
fn nobody_says_when_they_decided() {
    let Some(space) = Space::new("backdated") else {
        return;
    };
    let mut backdated = decision(&json!({}));
    backdated["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    let stored = space.user("alice").create(&backdated);
    let time = stored["metadata"]["creationTimestamp"].as_str().unwrap();
    assert!(time > "2026", "{time}");
}

#[test]
fn a_decision_cannot_be_made_to_vanish_with_a_false_owner() {
    let Some(space) = Space::new("false-owner") else {
        return;
    };
    let mut owned = decision(&json!({}));
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}]);
    assert_says(
        &space.user("alice").refused(&owned),
        "a decision is created without metadata.ownerReferences and metadata.finalizers",
    );
}

#[test]
fn server_side_apply_of_a_decision_asks_for_patch_and_otherwise_stamps_too() {
    let Some(space) = Space::new("applied") else {
        return;
    };
    let mut applied = decision(&json!({}));
    applied["metadata"] = json!({"name": "applied"});
    let alice = space.user("alice");
    let args = ["apply", "--server-side", "-f", "-", "-o", "json"];
    let message = alice.feed(&args, &alice.signed(&applied)).expect_refused();
    assert_says(&message, "User \"alice\" cannot patch resource \"decisions\"");
    // client-side apply creates, and a second time changes nothing
    let args = ["apply", "-f", "-"];
    for expected in ["created", "unchanged"] {
        let answer = alice.feed(&args, &alice.signed(&applied));
        assert_says(&answer.expect_ok().out, expected);
    }
    let mut applied = decision(&json!({"by": "bob"}));
    applied["metadata"] = json!({"name": "applied-by-admin"});
    let admin = space.user("admin");
    let args = ["apply", "--server-side", "-f", "-", "-o", "jsonpath={.spec.by}"];
    let message = admin.feed(&args, &applied.to_string()).expect_refused();
    assert_says(&message, "nobody can decide in another's name");
    applied["spec"].as_object_mut().unwrap().remove("by");
    let answer = admin.feed(&args, &admin.signed(&applied));
    assert_eq!(answer.expect_ok().out, "admin");
    // what was applied is no more changed by applying than by anything else
    applied["spec"]["verdict"] = json!("Reject");
    let message = admin.feed(&args, &admin.signed(&applied)).expect_refused();
    assert_says(&message, "a decision never changes; create another one");
}

#[test]
fn who_requested_a_run_is_who_created_it() {
    let Some(space) = Space::new("requested") else {
        return;
    };
    assert_eq!(
        space.user("dev").create(&run(&json!({})))["spec"]["requestedBy"],
        "dev"
    );
    for user in ["dev", "admin"] {
        let message = space.user(user).refused(&run(&json!({"requestedBy": "alice"})));
        assert_says(
            &message,
            &format!(
                "spec.requestedBy says \"alice\", but you are \"{user}\": nobody can request a run in another's name"
            ),
        );
    }
    // the operator starts none yet, so here it gets the right first
    let account = "--serviceaccount=signoff-system:signoff-controller";
    let bind = [
        "create",
        "rolebinding",
        "operator",
        "--clusterrole=signoff-editor",
        account,
    ];
    space.user("admin").run(&bind).expect_ok();
    space.plane.wait("the operator's right to start runs", || {
        space
            .user("operator")
            .run(&["auth", "can-i", "create", "runs.signoff.dev"])
            .ok
    });
    let triggered = space
        .user("operator")
        .create(&run(&json!({"requestedBy": "alice"})));
    assert_eq!(triggered["spec"]["requestedBy"], "alice");
}

#[test]
fn every_attempt_is_in_the_audit_log_with_who_and_why_not() {
    let Some(space) = Space::new("audited") else {
        return;
    };
    space.user("bob").refused(&decision(&json!({"by": "alice"})));
    space.user("alice").create(&decision(&json!({})));
    space.plane.wait("the audit log", || {
        !space.audit("alice", 201).is_empty() && !space.audit("bob", 403).is_empty()
    });
    let attempt = |by: &str, asked_by: &str| {
        format!(
            "Approve on audited/refund-1-review {} by {by}, asked by {asked_by}",
            super::DIGEST
        )
    };
    let refused = space.audit("bob", 403);
    let annotations = &refused[0]["annotations"];
    assert_eq!(annotations["signoff-decisions/decision"], attempt("alice", "bob"));
    let why = annotations["validation.policy.admission.k8s.io/validation_failure"]
        .as_str()
        .unwrap();
    assert_says(why, "nobody can decide in another's name");
    let accepted = space.audit("alice", 201);
    assert_eq!(
        accepted[0]["annotations"]["signoff-decisions/decision"],
        attempt("alice", "alice")
    );
}

#[test]
fn impersonation_passes_for_the_other_but_the_audit_log_has_both_names() {
    let Some(space) = Space::new("impersonated") else {
        return;
    };
    let send = |user: &str, fields: &Value| {
        let user = format!("--as={user}");
        let args = [
            "create",
            "-f",
            "-",
            "-o",
            "jsonpath={.spec.by}",
            &user,
            "--as-group=finance",
        ];
        space.user("admin").feed(&args, &decision(fields).to_string())
    };
    let honest = if space.plane.stamps() {
        json!({})
    } else {
        json!({"by": "alice", "groups": ["system:authenticated"]})
    };
    assert_eq!(send("alice", &honest).expect_ok().out, "alice");
    // whoever is put on is all there is: neither the name nor the groups beneath count
    for (fields, expected) in [
        (
            json!({"by": "admin"}),
            "spec.by says \"admin\", but you are \"alice\"",
        ),
        (
            json!({"by": "alice", "groups": ["owners"]}),
            "spec.groups names owners, and you are not in that group",
        ),
    ] {
        assert_says(&send("alice", &fields).expect_refused(), expected);
    }
    let message = space
        .user("alice")
        .feed(&["get", "decisions", "--as=bob"], "")
        .expect_refused();
    assert_says(&message, "User \"alice\" cannot impersonate");
    let impersonated = || {
        space.audit("admin", 201).into_iter().any(|event| {
            event["impersonatedUser"]["username"] == "alice" && event["objectRef"]["resource"] == "decisions"
        })
    };
    space.plane.wait("both names in the audit log", impersonated);
}
