//! Installing, upgrading and uninstalling with helm, and what the roles amount to.

use serde_json::json;

use super::{Space, approval, assert_says, decision, install, run};
use crate::controlplane::ControlPlane;

#[test]
fn people_have_the_rights_of_their_role_and_no_more() {
    let Some(space) = Space::new("roles") else { return };
    if !space
        .plane
        .can_test("the chart: what it adds to the roles admin, edit and view")
    {
        return;
    }
    let admin = space.user("admin");
    admin
        .run(&[
            "create",
            "rolebinding",
            "admins",
            "--clusterrole=admin",
            "--user=bob",
        ])
        .expect_ok();
    space.plane.wait("bob's rights", || {
        space
            .user("bob")
            .run(&["auth", "can-i", "delete", "releases.signoff.dev"])
            .ok
    });
    for (user, verb, what, expected) in [
        ("carol", "list", "approvals", true),
        ("carol", "create", "runs", false),
        ("carol", "create", "decisions", false),
        ("dev", "create", "runs", true),
        // with a run its approvals would go
        ("dev", "delete", "runs", false),
        ("dev", "deletecollection", "runs", false),
        ("dev", "identify", "repositories", false),
        ("dev", "patch", "flows", true),
        ("dev", "create", "decisions", false),
        ("dev", "approve", "approvals", false),
        ("dev", "create", "approvals", false),
        ("dev", "delete", "decisions", false),
        ("dev", "update", "runs/status", false),
        ("alice", "approve", "approvals", true),
        ("alice", "create", "decisions", true),
        ("alice", "get", "runs", true),
        ("alice", "create", "runs", false),
        ("alice", "patch", "decisions", false),
        // the administrator of a namespace; bob is in finance, so he approves, but not by that role
        ("bob", "delete", "releases", true),
        ("bob", "delete", "runs", true),
        ("bob", "patch", "approvals", false),
        ("bob", "delete", "decisions", false),
    ] {
        let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
        let resource = format!("{resource}.signoff.dev");
        let subresource = format!("--subresource={subresource}");
        let answer = space
            .user(user)
            .run(&["auth", "can-i", verb, &resource, &subresource]);
        assert_eq!(answer.ok, expected, "{user} {verb} {what}: {answer:?}");
    }
}

#[test]
fn the_operator_neither_lists_secrets_nor_deletes_evidence_nor_approves() {
    let Some(space) = Space::new("operators-rights") else {
        return;
    };
    let can = |verb: &str, what: &str| space.user("operator").run(&["auth", "can-i", verb, what]).ok;
    assert!(can("get", "secrets"));
    for (verb, what) in [
        ("list", "secrets"),
        ("watch", "secrets"),
        ("create", "secrets"),
        ("delete", "approvals.signoff.dev"),
        ("delete", "decisions.signoff.dev"),
        ("patch", "approvals.signoff.dev"),
        ("approve", "approvals.signoff.dev"),
        ("impersonate", "users"),
        ("create", "pods"),
    ] {
        assert!(!can(verb, what), "{verb} {what}");
    }
}

#[test]
fn the_administrator_of_a_namespace_cannot_make_an_approver() {
    let Some(space) = Space::new("escalation") else {
        return;
    };
    if !space
        .plane
        .can_test("the chart: that the role admin makes no approver")
    {
        return;
    }
    let admin = space.user("admin");
    admin
        .run(&[
            "create",
            "rolebinding",
            "admins",
            "--clusterrole=admin",
            "--user=carol",
        ])
        .expect_ok();
    space.plane.wait("carol's rights", || {
        space
            .user("carol")
            .run(&["auth", "can-i", "create", "rolebindings"])
            .ok
    });
    let message = space
        .user("carol")
        .run(&[
            "create",
            "rolebinding",
            "self",
            "--clusterrole=signoff-approver",
            "--user=carol",
        ])
        .expect_refused();
    assert_says(
        &message,
        "is attempting to grant RBAC permissions not currently held",
    );
}

#[test]
fn the_policies_have_no_type_error() {
    let Some(space) = Space::new("typed") else { return };
    // who reads the expressions is the manager
    if !space
        .plane
        .can_test("the chart: that the policies have no type error")
    {
        return;
    }
    for policy in [
        "signoff-decisions",
        "signoff-runs",
        "signoff-records",
        "signoff-flows",
        "signoff-repositories",
        "signoff-connections",
        "signoff-gateway",
        "signoff-events",
        "signoff-jobs",
        "signoff-workitems",
    ] {
        let path = "jsonpath={.status.observedGeneration}:{.status.typeChecking.expressionWarnings}";
        let status = || {
            space
                .user("admin")
                .run(&["get", "validatingadmissionpolicy", policy, "-o", path])
                .expect_ok()
                .out
        };
        space.plane.wait("the type check", || !status().starts_with(':'));
        assert_says(&status(), ":");
        assert!(status().ends_with(':'), "{policy}: {}", status());
    }
}

#[test]
fn one_namespace_without_stamping_then_upgraded_then_uninstalled() {
    let Some(plane) = ControlPlane::start("installing for one namespace") else {
        return;
    };
    plane
        .as_user("admin")
        .run(&["create", "namespace", "team-signoff"])
        .expect_ok();
    plane
        .as_user("admin")
        .run(&["create", "namespace", "elsewhere"])
        .expect_ok();
    plane
        .as_user("admin")
        .run(&["create", "namespace", "team"])
        .expect_ok();
    let values = [
        "--set=watchNamespaces={team}",
        "--set=policies.extraOperators={system:serviceaccount:signoff-system:signoff-controller}",
    ];
    let mut unstamped = values.to_vec();
    unstamped.push("--set=policies.stamp=never");
    install(&plane, "team-signoff", &unstamped);
    the_operator_has_rights_only_in(&plane, "team");
    people_write_their_name(&plane);
    // what is not watched is not touched
    plane.as_user("admin").within("elsewhere").create(&approval());

    install(&plane, "team-signoff", &values);
    let admin = plane.as_user("admin").within("team");
    plane.wait("stamping after the upgrade, where the server can", || {
        let answer = admin.feed(
            &["create", "-f", "-", "-o", "jsonpath={.spec.by}"],
            &decision(&json!({})).to_string(),
        );
        if plane.stamps() {
            answer.ok && answer.out == "admin"
        } else {
            answer.err.contains("spec.by is missing")
        }
    });

    plane
        .helm()
        .run(&["uninstall", "signoff", "--namespace=team-signoff"])
        .expect_ok();
    plane.helm().run(&["uninstall", "signoff-crds"]).expect_ok();
    let left = plane.as_user("admin").run(&[
        "get",
        if plane.stamps() {
            "validatingadmissionpolicies,mutatingadmissionpolicies,clusterroles"
        } else {
            "validatingadmissionpolicies,clusterroles"
        },
        "-o",
        "name",
    ]);
    assert!(!left.expect_ok().out.contains("signoff"));
    assert_says(
        &plane
            .as_user("admin")
            .within("team")
            .run(&["get", "decisions"])
            .expect_ok()
            .out,
        "refund-1-review",
    );
    // and a later installation takes the kinds over
    install(&plane, "team-signoff", &values);
}

#[test]
fn an_installation_for_the_whole_cluster_leaves_nothing_but_the_kinds_and_their_objects() {
    let Some(plane) = ControlPlane::start("uninstalling from the whole cluster") else {
        return;
    };
    install(&plane, "signoff-system", &[]);
    let (admin, helm) = (plane.as_user("admin"), plane.helm());
    let kinds =
        "validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings";
    let kinds = if plane.stamps() {
        format!("{kinds},mutatingadmissionpolicies,mutatingadmissionpolicybindings")
    } else {
        kinds.to_owned()
    };
    let ours = || {
        let all = admin.run(&["get", &kinds, "-o", "name"]).expect_ok().out;
        all.lines().filter(|name| name.contains("signoff")).count()
    };
    assert!(ours() > 20, "{} installed", ours());
    plane.wait("a flow", || {
        let spec = json!({"steps": [{"name": "one", "set": {"x": 1}}]});
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "kept"}, "spec": spec});
        admin.feed(&["create", "-f", "-"], &flow.to_string()).ok
    });
    helm.run(&["uninstall", "signoff", "--namespace=signoff-system", "--wait"])
        .expect_ok();
    assert_eq!(ours(), 0);
    let here = admin.clone().within("signoff-system");
    let left = here.run(&[
        "get",
        "deployments,services,serviceaccounts,networkpolicies,roles,rolebindings",
        "-o",
        "name",
    ]);
    assert!(!left.out.contains("signoff"), "{}", left.out);
    admin.run(&["get", "flow", "kept"]).expect_ok();
}

fn the_operator_has_rights_only_in(plane: &ControlPlane, namespace: &str) {
    let operator = "--as=system:serviceaccount:team-signoff:signoff-controller";
    let can = |verb: &str, what: &str, namespace: &str| {
        plane
            .as_user("admin")
            .within(namespace)
            .run(&["auth", "can-i", verb, what, operator])
            .ok
    };
    plane.wait("the operator's rights", || {
        can("create", "approvals.signoff.dev", namespace)
    });
    assert!(can("get", "secrets", namespace));
    assert!(!can("list", "secrets", namespace));
    assert!(!can("delete", "decisions.signoff.dev", namespace));
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "runs.signoff.dev"),
        ("create", "approvals.signoff.dev"),
    ] {
        assert!(!can(verb, what, "elsewhere"), "{verb} {what}");
    }
}

fn people_write_their_name(plane: &ControlPlane) {
    let admin = plane.as_user("admin").within("team");
    admin
        .run(&[
            "create",
            "rolebinding",
            "finance",
            "--clusterrole=signoff-approver",
            "--group=finance",
        ])
        .expect_ok();
    let alice = plane.as_user("alice").within("team");
    let expected = "spec.by is missing, and this API server does not fill it in (that takes Kubernetes 1.36): add `by: alice` and \
                    `groups: [finance, owners, system:authenticated]` under spec, or use `signoff approve refund-1-review`, which does";
    plane.wait("the policies", || {
        let answer = alice.feed(
            &["create", "--dry-run=server", "-f", "-"],
            &decision(&json!({})).to_string(),
        );
        !answer.ok && answer.err.contains(expected)
    });
    assert_eq!(
        alice.create(&decision(
            &json!({"by": "alice", "groups": ["finance", "owners", "system:authenticated"]})
        ))["spec"]["by"],
        "alice"
    );
    assert_says(
        &alice.refused(&decision(&json!({"by": "bob"}))),
        "nobody can decide in another's name",
    );
    let message = admin
        .feed(&["create", "-f", "-"], &run(&json!({})).to_string())
        .expect_refused();
    assert_says(
        &message,
        "add `requestedBy: admin` under spec, or use `signoff run refund`, which does",
    );
}
