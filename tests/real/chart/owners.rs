//! The API server deletes what has lost its owners: nobody deletes by giving one who may not delete.

use serde_json::{Value, json};

use super::{
    Space, assert_says,
    gates::{flow, patch, repository},
    name, run,
};
use crate::controlplane::{Answer, Tool};

/// An owner that is nowhere.
fn gone() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-4000-8000-000000000000"})
}

fn owned_by(who: &Tool, what: &[&str], owners: &[Value]) -> Answer {
    patch(who, what, &json!({"metadata": {"ownerReferences": owners}}))
}

/// Gives an object an owner that is there.
fn given_an_owner(space: &Space, kind: &str, object: &str) -> Value {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let uid = space.user("admin").create(&map)["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
    owned_by(
        &space.user("admin"),
        &[kind, object],
        std::slice::from_ref(&owner),
    )
    .expect_ok();
    owner
}

/// What the collector takes for gone although the uid is that of an owner that is there.
fn turned(owner: &Value) -> [Value; 3] {
    [
        ("name", "gone"),
        ("kind", "Secret"),
        ("apiVersion", "example.com/v1"),
    ]
    .map(|(field, value)| {
        let mut turned = owner.clone();
        turned[field] = json!(value);
        turned
    })
}

#[test]
fn who_may_not_delete_runs_does_not_have_one_deleted_by_an_owner_that_is_gone() {
    let Some(space) = Space::new("owned-runs") else {
        return;
    };
    let (dev, admin) = (space.user("dev"), space.user("admin"));
    space.bob_is_an_operator();
    let started = dev.create(&run(&json!({})));
    let started = name(&started);
    let why = "a run goes with its owners, and what was decided in it too: adding to metadata.ownerReferences takes the verb delete on \
               runs.signoff.dev, which \"dev\" lacks in namespace \"owned-runs\"";
    let give =
        |who: &Tool, options: &[&str]| owned_by(who, &[&["run", started][..], options].concat(), &[gone()]);
    space.until("the policy", false, || give(&dev, &["--dry-run=server"]));
    assert_says(&give(&dev, &[]).expect_refused(), why);
    let mut born_with_it = run(&json!({}));
    born_with_it["metadata"]["ownerReferences"] = json!([gone()]);
    assert_says(&dev.refused(&born_with_it), why);
    let applied = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
        "metadata": {"name": started, "ownerReferences": [gone()]}});
    let apply = ["apply", "--server-side", "-f", "-"];
    assert_says(&dev.feed(&apply, &applied.to_string()).expect_refused(), why);
    // what else an editor does to runs goes on
    for change in [
        json!({"metadata": {"labels": {"a": "b"}, "annotations": {"example.com/ticket": "81"}}}),
        json!({"spec": {"suspend": true}}),
        json!({"spec": {"suspend": false, "cancel": true}}),
    ] {
        patch(&dev, &["run", started], &change).expect_ok();
    }
    assert!(admin.run(&["get", "run", started]).ok);
    space.plane.wait("the attempt in the audit log", || {
        let attempt = format!("UPDATE runs owned-runs/{started} by dev");
        let refused = space.audit("dev", 403);
        refused
            .iter()
            .any(|event| event["annotations"]["signoff-runs/attempt"] == attempt)
    });
    // who may delete them may; this is how they would have gone
    give(&space.user("bob"), &[]).expect_ok();
    if space
        .plane
        .can_test("the chart: that a run goes with an owner that is gone")
    {
        space.plane.wait("the run to be collected", || {
            !admin.run(&["get", "run", started]).ok
        });
    }
}

#[test]
fn the_owner_of_a_run_is_taken_away_but_not_turned_into_one_that_is_gone() {
    let Some(space) = Space::new("turned-runs") else {
        return;
    };
    let dev = space.user("dev");
    let started = dev.create(&run(&json!({})));
    let started = ["run", name(&started)];
    let owner = given_an_owner(&space, "run", started[1]);
    space.until("the policy", false, || {
        owned_by(
            &dev,
            &[&started[..], &["--dry-run=server"]].concat(),
            &turned(&owner)[..1],
        )
    });
    for turned in turned(&owner) {
        for owners in [vec![turned.clone()], vec![owner.clone(), turned]] {
            assert_says(
                &owned_by(&dev, &started, &owners).expect_refused(),
                "a run goes with its owners",
            );
        }
    }
    patch(&dev, &started, &json!({"spec": {"suspend": true}})).expect_ok();
    owned_by(&dev, &started, &[]).expect_ok();
}

#[test]
fn the_owner_of_a_gated_flow_or_a_repository_is_not_turned_into_one_that_is_gone() {
    for (namespace, object, kind, why) in [
        ("turned-flows", flow(1), "flow", "a flow goes with its owners"),
        (
            "turned-repositories",
            repository("flows", json!({})),
            "repository",
            "a Repository goes with its owners",
        ),
    ] {
        let Some(space) = Space::new(namespace) else {
            return;
        };
        let dev = space.user("dev");
        dev.create(&object);
        let what = [kind, name(&object)];
        let owner = given_an_owner(&space, kind, what[1]);
        let gated = json!({"status": {"gated": true}});
        patch(
            &space.user("operator"),
            &[&what[..], &["--subresource=status"]].concat(),
            &gated,
        )
        .expect_ok();
        space.until("the policy", false, || {
            owned_by(
                &dev,
                &[&what[..], &["--dry-run=server"]].concat(),
                &turned(&owner)[..1],
            )
        });
        for turned in turned(&owner) {
            assert_says(&owned_by(&dev, &what, &[turned]).expect_refused(), why);
        }
        patch(&dev, &what, &json!({"metadata": {"labels": {"a": "b"}}})).expect_ok();
    }
}
