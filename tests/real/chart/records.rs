//! What the operator writes down is evidence: nobody else makes it up, changes it or deletes it.

use serde_json::{Value, json};

use super::{DIGEST, Space, approval, assert_says, decision, name, run};
use crate::controlplane::Tool;

#[test]
fn a_decision_is_neither_edited_nor_deleted_not_even_by_a_cluster_administrator() {
    let Some(space) = Space::new("kept") else { return };
    let stored = space.user("alice").create(&decision(&json!({})));
    let admin = space.user("admin");
    let patch = |patch: &str| admin.run(&["patch", "decision", name(&stored), "--type=merge", "-p", patch]);
    assert_says(
        &patch(r#"{"spec": {"verdict": "Reject"}}"#).expect_refused(),
        "a decision never changes; create another one",
    );
    for change in [
        r#"{"metadata": {"labels": {"a": "b"}}}"#,
        r#"{"metadata": {"finalizers": ["example.com/hold"]}}"#,
        r#"{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1"}]}}"#,
    ] {
        assert_says(
            &patch(change).expect_refused(),
            "owner references, finalizers and labels of a decision are kept by the operator",
        );
    }
    patch(r#"{"metadata": {"annotations": {"example.com/ticket": "81"}}}"#).expect_ok();
    for args in [
        ["delete", "decision", name(&stored)],
        ["delete", "decisions", "--all"],
    ] {
        assert_says(
            &admin.run(&args).expect_refused(),
            "a decision is evidence and is kept: it goes with the approval it belongs to",
        );
    }
    let collection = "/apis/signoff.dev/v1alpha1/namespaces/kept/decisions";
    assert_says(
        &admin.run(&["delete", "--raw", collection]).expect_refused(),
        "a decision is evidence and is kept",
    );
}

#[test]
fn a_decision_on_an_approval_that_never_was_is_cleared_away_once_the_operator_has_said_so() {
    let Some(space) = Space::new("strays") else { return };
    let (admin, alice, operator) = (space.user("admin"), space.user("alice"), space.user("operator"));
    let stray = |told: &str| {
        let stray = alice.create(&decision(&json!({"approval": "never-was"})));
        let status = json!({"status": {"counted": false, "reason": told}}).to_string();
        let tell = [
            "patch",
            "decision",
            name(&stray),
            "--subresource=status",
            "--type=merge",
            "-p",
            &status,
        ];
        if !told.is_empty() {
            operator.run(&tell).expect_ok();
        }
        name(&stray).to_owned()
    };
    let kept = "a decision is evidence and is kept: it goes with the approval it belongs to";
    let delete = |who: &Tool, name: &str| who.run(&["delete", "decision", name]);
    let never_was = stray("ApprovalNotFound");
    // a policy that was just installed takes effect a moment later
    space.plane.wait("the policy", || {
        admin
            .run(&["delete", "--dry-run=server", "decision", &never_was])
            .ok
    });
    // one that is not judged yet may be a vote in flight
    for told in ["", "Expired"] {
        assert_says(&delete(&admin, &stray(told)).expect_refused(), kept);
    }
    let tied = stray("ApprovalNotFound");
    let uid = admin.run(&[
        "get",
        "approval",
        "refund-1-review",
        "-o",
        "jsonpath={.metadata.uid}",
    ]);
    let owner = json!([{"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "name": "refund-1-review", "uid": uid.expect_ok().out}]);
    let tie = json!({"metadata": {"ownerReferences": owner}}).to_string();
    operator
        .run(&["patch", "decision", &tied, "--type=merge", "-p", &tie])
        .expect_ok();
    assert_says(&delete(&admin, &tied).expect_refused(), kept);
    assert_says(
        &delete(&alice, &never_was).expect_refused(),
        "cannot delete resource \"decisions\"",
    );
    delete(&admin, &never_was).expect_ok();
}

#[test]
fn a_question_is_neither_made_up_nor_lowered_nor_deleted() {
    let Some(space) = Space::new("asked") else { return };
    let admin = space.user("admin");
    let mut fake = approval();
    fake["metadata"]["name"] = json!("fake");
    assert_says(
        &admin.refused(&fake),
        "an approval is created only by the operator: to be asked, start a run of a flow",
    );
    for lower in [
        r#"{"spec": {"quorum": 1}}"#,
        r#"{"spec": {"selfApproval": true}}"#,
        r#"{"spec": {"approvers": {"users": ["admin"]}}}"#,
        r#"{"spec": {"expiresAt": "2099-01-01T00:00:00Z"}}"#,
    ] {
        let lower = [
            "patch",
            "approval",
            "refund-1-review",
            "--type=merge",
            "-p",
            lower,
        ];
        assert_says(
            &admin.run(&lower).expect_refused(),
            "an approval's question never changes",
        );
    }
    assert_says(
        &admin
            .run(&["delete", "approval", "refund-1-review"])
            .expect_refused(),
        "an approval is evidence and is kept: it goes with the run or release it belongs to",
    );
}

#[test]
fn a_release_is_not_made_up_nor_its_gate_lowered_and_an_unused_one_can_be_deleted() {
    let Some(space) = Space::new("released") else {
        return;
    };
    let release = json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Release",
        "metadata": {"name": "refund-0000000000"},
        "spec": {
            "flow": "refund",
            "definition": {
                "steps": [{"name": "a", "set": {"a": 1}}],
                "promotion": {"approval": {"approvers": {"groups": ["owners"]}, "quorum": 2}},
            },
            "digest": super::DIGEST,
            "source": {"appliedBy": "admin", "generation": 1},
        },
    });
    let admin = space.user("admin");
    assert_says(
        &admin.refused(&release),
        "a release is created only by the operator: apply a Flow, and it cuts the release",
    );
    space.user("operator").create(&release);
    for lower in [
        r#"{"spec": {"definition": {"promotion": null}}}"#,
        r#"{"spec": {"definition": {"promotion": {"approval": {"quorum": 1}}}}}"#,
    ] {
        let lower = [
            "patch",
            "release",
            "refund-0000000000",
            "--type=merge",
            "-p",
            lower,
        ];
        let message = admin.run(&lower).expect_refused();
        assert_says(&message, "a release never changes");
    }
    let finalizer = [
        "patch",
        "release",
        "refund-0000000000",
        "--type=merge",
        "-p",
        r#"{"metadata": {"finalizers": ["signoff.dev/in-use"]}}"#,
    ];
    assert_says(
        &admin.run(&finalizer).expect_refused(),
        "of a release are kept by the operator",
    );
    space.user("operator").run(&finalizer).expect_ok();
    admin
        .run(&["delete", "release", "refund-0000000000", "--wait=false"])
        .expect_ok();
    let freed = [
        "patch",
        "release",
        "refund-0000000000",
        "--type=merge",
        "-p",
        r#"{"metadata": {"finalizers": null}}"#,
    ];
    assert_says(
        &admin.run(&freed).expect_refused(),
        "of a release are kept by the operator",
    );
    space.user("operator").run(&freed).expect_ok();
    space.plane.wait("the release to go", || {
        !admin.run(&["get", "release", "refund-0000000000"]).ok
    });
}

#[test]
fn attempts_on_what_is_written_down_are_in_the_audit_log() {
    let Some(space) = Space::new("attempted") else {
        return;
    };
    let stored = space.user("alice").create(&decision(&json!({})));
    let admin = space.user("admin");
    let (decision, asked) = (name(&stored), "refund-1-review");
    let patch = |what: &[&str], patch: &str| {
        let args = [&["patch", "--type=merge", "-p", patch], what].concat();
        admin.run(&args).expect_refused();
    };
    admin.run(&["delete", "decision", decision]).expect_refused();
    admin.run(&["delete", "approval", asked]).expect_refused();
    patch(&["decision", decision], r#"{"metadata": {"labels": {"a": "b"}}}"#);
    patch(
        &["approval", asked, "--subresource=status"],
        r#"{"status": {"phase": "Approved"}}"#,
    );
    // what the kind's own rules refuse does not come as far as the policies
    patch(&["approval", asked], r#"{"spec": {"quorum": 1}}"#);
    let expected = [
        format!("DELETE decisions attempted/{decision} by admin"),
        format!("DELETE approvals attempted/{asked} by admin"),
        format!("UPDATE decisions attempted/{decision} by admin"),
        format!("UPDATE approvals/status attempted/{asked} by admin"),
    ];
    space.plane.wait("the attempts in the audit log", || {
        let refused = space.audit("admin", 403);
        let annotated = |attempt: &String| {
            refused.iter().any(|event| {
                let annotations = &event["annotations"];
                let why = &annotations["validation.policy.admission.k8s.io/validation_failure"];
                annotations["signoff-records/attempt"] == **attempt && why.is_string()
            })
        };
        let lowered = |event: &Value| event["verb"] == "patch" && event["objectRef"]["name"] == asked;
        expected.iter().all(annotated) && space.audit("admin", 422).iter().any(lowered)
    });
}

#[test]
fn a_flow_does_not_make_up_where_it_came_from() {
    let Some(space) = Space::new("claimed") else {
        return;
    };
    let (admin, operator) = (space.user("admin"), space.user("operator"));
    let claim = r#"{"repository":"flows","commit":"1111111111111111111111111111111111111111"}"#;
    let flow = |name: &str, annotations: Value| {
        json!({
            "apiVersion": "signoff.dev/v1alpha1",
            "kind": "Flow",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"steps": [{"name": "a", "set": {"a": 1}}]},
        })
    };
    // a policy that was just installed takes effect a moment later
    space.plane.wait("the policy", || {
        let forged = flow("probe", json!({"signoff.dev/source": claim})).to_string();
        !admin.feed(&["create", "--dry-run=server", "-f", "-"], &forged).ok
    });
    assert_says(
        &admin.refused(&flow("refund", json!({"signoff.dev/source": claim}))),
        "where a flow came from is written only by the operator: leave the annotation signoff.dev/source out",
    );
    operator.create(&flow(
        "refund",
        json!({"signoff.dev/source": claim, "signoff.dev/source-digest": super::DIGEST}),
    ));
    let patch = |annotations: Value| {
        let patch = json!({"metadata": {"annotations": annotations}}).to_string();
        admin.run(&["patch", "flow", "refund", "--type=merge", "-p", &patch])
    };
    let forged =
        json!({"signoff.dev/source": claim.replace('1', "2"), "signoff.dev/source-digest": "sha256:1"});
    assert_says(
        &patch(forged).expect_refused(),
        "leave the annotation signoff.dev/source, signoff.dev/source-digest out",
    );
    patch(json!({"example.com/ticket": "81"})).expect_ok();
    patch(json!({"signoff.dev/source": null})).expect_ok();
    assert_says(
        &patch(json!({"signoff.dev/source": claim})).expect_refused(),
        "where a flow came from is written only by the operator",
    );
}

#[test]
fn a_status_is_written_by_the_operator_only() {
    let Some(space) = Space::new("status") else { return };
    let stored = space.user("alice").create(&decision(&json!({})));
    let started = space.user("dev").create(&run(&json!({})));
    for (kind, name, what, status) in [
        (
            "approval",
            "refund-1-review",
            "an approval",
            r#"{"status": {"phase": "Approved"}}"#,
        ),
        (
            "decision",
            name(&stored),
            "a decision",
            r#"{"status": {"counted": true}}"#,
        ),
        (
            "run",
            name(&started),
            "a run",
            r#"{"status": {"phase": "Succeeded"}}"#,
        ),
    ] {
        let args = [
            "patch",
            kind,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ];
        assert_says(
            &space.user("admin").run(&args).expect_refused(),
            &format!("the status of {what} is written only by the operator"),
        );
        space.user("operator").run(&args).expect_ok();
    }
}

#[test]
fn what_was_decided_goes_with_the_run_and_with_the_namespace() {
    let Some(space) = Space::new("collected") else {
        return;
    };
    if !space
        .plane
        .can_test("the chart: that decisions go with what they belong to")
    {
        return;
    }
    let started = space.user("dev").create(&run(&json!({})));
    let mut asked = approval();
    asked["metadata"] = json!({
        "name": "owned-review",
        "ownerReferences": [{
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "name": name(&started), "uid": started["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    space.user("operator").create(&asked);
    let decided = space
        .user("alice")
        .create(&decision(&json!({"approval": "owned-review"})));
    // the operator ties a decision to the approval that it judged it on
    let asked = space.user("admin").run(&[
        "get",
        "approval",
        "owned-review",
        "-o",
        "jsonpath={.metadata.uid}",
    ]);
    let owner = json!([{"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "name": "owned-review", "uid": asked.expect_ok().out}]);
    let tie = json!({"metadata": {"ownerReferences": owner}}).to_string();
    let tie = ["patch", "decision", name(&decided), "--type=merge", "-p", &tie];
    space.user("operator").run(&tie).expect_ok();
    let delete = ["delete", "run", name(&started)];
    let message = space.user("dev").run(&delete).expect_refused();
    assert_says(&message, "User \"dev\" cannot delete resource \"runs\"");
    let admin = space.user("admin");
    assert_says(&admin.run(&delete).expect_refused(), "has not ended");
    let stop = [
        "patch",
        "run",
        name(&started),
        "--type=merge",
        "-p",
        r#"{"spec":{"terminate":true}}"#,
    ];
    admin.run(&stop).expect_ok();
    admin.run(&delete).expect_ok();
    space
        .plane
        .wait("the approval to be collected, and what was decided on it", || {
            !admin.run(&["get", "approval", "owned-review"]).ok
                && !admin.run(&["get", "decision", name(&decided)]).ok
        });
    // the namespace takes what is left with it
    admin
        .run(&["delete", "namespace", "collected", "--wait=false"])
        .expect_ok();
    space.plane.wait("the namespace to go", || {
        !admin.run(&["get", "namespace", "collected"]).ok
    });
}

#[test]
fn the_gateways_account_writes_callbacks_and_requests_for_a_sync_and_nothing_else() {
    let Some(space) = Space::new("gateways") else {
        return;
    };
    let (admin, operator, gateway) = (space.user("admin"), space.user("operator"), space.user("gateway"));
    let mut object = run(&json!({}));
    object["metadata"] = json!({"name": "r"});
    space.user("dev").create(&object);
    let spec = json!({"url": "https://forge.example.com/flows.git", "draft": {"ref": "main"}});
    admin.create(&json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "flows"}, "spec": spec}));
    let status = |user: &Tool, patch: &Value| {
        let patch = patch.to_string();
        user.run(&[
            "patch",
            "run",
            "r",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
    };
    status(&operator, &json!({"status": {"revision": 1, "phase": "Waiting"}})).expect_ok();
    let callback = json!({"receivedAt": "2026-01-01T00:00:00.000000Z", "sha256": DIGEST, "body": {"a": 1}});
    status(
        &gateway,
        &json!({"status": {"callbacks": {"settled.1": callback}}}),
    )
    .expect_ok();
    for patch in [
        json!({"status": {"phase": "Succeeded"}}),
        json!({"status": {"revision": 2}}),
        json!({"status": {"output": {"forged": true}}}),
        json!({"status": {"callbacks": {"other.1": callback}, "waitingOn": "nobody"}}),
    ] {
        let message = status(&gateway, &patch).expect_refused();
        assert_says(
            &message,
            "the gateway writes only the callbacks, heartbeats and events of a run",
        );
    }
    status(&gateway, &json!({"status": {"callbacks": {"other.1": callback}}})).expect_ok();
    for patch in [
        json!({"status": {"callbacks": {"settled.1": {"body": {"a": 2}}}}}),
        json!({"status": {"callbacks": {"settled.1": null}}}),
        json!({"status": {"callbacks": null}}),
    ] {
        assert_says(
            &status(&gateway, &patch).expect_refused(),
            "the gateway adds callbacks; one that is recorded neither changes nor goes",
        );
    }
    let repository = |patch: &Value| {
        let patch = patch.to_string();
        gateway.run(&["patch", "repository", "flows", "--type=merge", "-p", &patch])
    };
    repository(&json!({"metadata": {"annotations": {"signoff.dev/requestedAt": "now"}}})).expect_ok();
    for patch in [
        json!({"spec": {"url": "https://elsewhere.example.com/x.git"}}),
        json!({"metadata": {"annotations": {"example.com/ticket": "81"}}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
    ] {
        assert_says(
            &repository(&patch).expect_refused(),
            "the gateway writes only the annotation signoff.dev/requestedAt of a repository",
        );
    }
    let message = gateway.refused(&run(&json!({})));
    assert_says(&message, "the gateway starts only runs of webhook triggers");
    for (verb, what) in [
        ("delete", "runs.signoff.dev"),
        ("create", "decisions.signoff.dev"),
        ("patch", "runs.signoff.dev"),
        ("list", "secrets"),
        ("delete", "leases.coordination.k8s.io"),
    ] {
        assert!(!gateway.run(&["auth", "can-i", verb, what]).ok, "{verb} {what}");
    }
}

#[test]
fn who_edits_repositories_does_not_say_who_decides() {
    let Some(space) = Space::new("identified") else {
        return;
    };
    let (admin, dev) = (space.user("admin"), space.user("dev"));
    let repository = |name: &str, more: Value| {
        let mut repository = json!({
            "apiVersion": "signoff.dev/v1alpha1",
            "kind": "Repository",
            "metadata": {"name": name},
            "spec": {"url": "https://forge.example.com/acme/flows.git", "draft": {"ref": "main"}},
        });
        for (key, value) in more.as_object().unwrap() {
            repository["spec"][key] = value.clone();
        }
        repository
    };
    let mapped = json!({"identities": {"users": [{"login": "dev", "user": "alice"}]}});
    let why = "say who decides: \"dev\" lacks the verb identify on repositories.signoff.dev";
    // a policy that was just installed takes effect a moment later
    space.plane.wait("the policy", || {
        let claims = repository("probe", mapped.clone()).to_string();
        !dev.feed(&["create", "--dry-run=server", "-f", "-"], &claims).ok
    });
    assert_says(&dev.refused(&repository("flows", mapped.clone())), why);
    dev.create(&repository("flows", json!({})));
    let patch = |who: &Tool, spec: &Value| {
        let patch = json!({"spec": spec}).to_string();
        who.run(&["patch", "repository", "flows", "--type=merge", "-p", &patch])
    };
    let forge = json!({"forge": {"kind": "Gitea", "url": "https://mine.example.com/api/v1", "token": {"name": "t", "key": "k"}}});
    for claim in [&mapped, &forge, &json!({"decisions": {"propose": "PullRequest"}})] {
        assert_says(&patch(&dev, claim).expect_refused(), why);
        patch(&admin, claim).expect_ok();
    }
    patch(&dev, &json!({"interval": "5m"})).expect_ok();
    assert_says(&patch(&dev, &json!({"identities": null})).expect_refused(), why);
}
