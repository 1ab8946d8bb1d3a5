//! Objects as they are made, changed and deleted.

use serde_json::json;

use super::kind::object;
use super::{hold, hold_with_manager};

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_read_replaced_and_deleted() {
    hold("crud", async |s| {
        let (all, one) = (s.path(""), s.path("a"));
        let made = s.post(&all, &object("a", &json!({"color": "red"}))).await;
        s.get(&one).await;
        s.post(&all, &object("a", &json!({"color": "red"}))).await;
        let mut changed = made.clone();
        changed["spec"]["color"] = json!("blue");
        s.put(&one, &changed).await;
        // the revision is an old one by now
        s.put(&one, &changed).await;
        let mut unversioned = changed.clone();
        unversioned["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        s.put(&one, &unversioned).await;
        s.put(&s.path("missing"), &object("missing", &json!({"color": "red"})))
            .await;
        s.put(&one, &object("b", &json!({"color": "red"}))).await;
        s.delete(&one, &json!({"preconditions": {"uid": "another"}}))
            .await;
        s.delete(&one, &json!({})).await;
        s.get(&one).await;
        s.delete(&one, &json!({})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_such_object_is_refused() {
    hold("malformed", async |s| {
        let all = s.path("");
        s.post(&all, &object("Not_A_Name", &json!({"color": "red"}))).await;
        s.post(&all, &json!({"apiVersion": "conformance.dev/v1", "kind": "Gadget", "metadata": {}, "spec": {"color": "red"}})).await;
        s.post(&all, &json!({"apiVersion": "conformance.dev/v1", "kind": "Other", "metadata": {"name": "a"}})).await;
        s.post(&all, &json!({"apiVersion": "conformance.dev/v9", "kind": "Gadget", "metadata": {"name": "a"}})).await;
        let mut elsewhere = object("a", &json!({"color": "red"}));
        elsewhere["metadata"]["namespace"] = json!("elsewhere");
        s.post(&all, &elsewhere).await;
        let mut labelled = object("a", &json!({"color": "red"}));
        labelled["metadata"]["labels"] = json!({"not a key": "x", "ok": "not a value!"});
        s.post(&all, &labelled).await;
        let mut revised = object("a", &json!({"color": "red"}));
        revised["metadata"]["resourceVersion"] = json!("5");
        s.differs("creating with a `resourceVersion` is 400 `BadRequest`").post(&all, &revised).await;
        s.raw(http::Method::POST, &all, "application/json", "{not json").await;
        s.raw(http::Method::POST, &all, "text/plain", "hello").await;
        s.differs("a path that is nothing answers with a `Status`").get("/apis/conformance.dev/v1/namespaces/default/nonsense").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_written_on_its_own_path_only() {
    hold("status", async |s| {
        let (one, status) = (s.path("a"), s.path("a/status"));
        let mut first = object("a", &json!({"color": "red"}));
        first["status"] = json!({"phase": "Ignored"});
        s.post(&s.path(""), &first).await;
        s.merge(&status, &json!({"status": {"phase": "Ready"}, "spec": {"color": "blue"}})).await;
        s.merge(&one, &json!({"status": {"phase": "Ignored"}, "spec": {"color": "green"}})).await;
        s.merge(&status, &json!({"status": {"count": "many"}})).await;
        s.get(&status).await;
        s.json_patch(&status, &json!([{"op": "test", "path": "/status/phase", "value": "Ready"}, {"op": "add", "path": "/status/count", "value": 2}])).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_holds_a_deleted_object_until_it_is_gone() {
    hold("finalizers", async |s| {
        let one = s.path("a");
        let mut held = object("a", &json!({"color": "red"}));
        held["metadata"]["finalizers"] = json!(["conformance.dev/hold"]);
        s.post(&s.path(""), &held).await;
        s.delete(&one, &json!({})).await;
        s.delete(&one, &json!({})).await;
        s.merge(
            &one,
            &json!({"metadata": {"finalizers": ["conformance.dev/hold", "conformance.dev/more"]}}),
        )
        .await;
        s.merge(&one, &json!({"spec": {"color": "blue"}})).await;
        s.differs("the last answer for an object that is gone has a revision of its own")
            .merge(&one, &json!({"metadata": {"finalizers": null}}))
            .await;
        s.get(&one).await;
        s.merge(&s.path("a"), &json!({"spec": {"color": "blue"}})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_go_with_their_owner_or_are_let_go() {
    hold_with_manager("owners", async |s| {
        for policy in ["Background", "Foreground", "Orphan"] {
            let owner_name = policy.to_lowercase();
            let owner = s.post(&s.path(""), &object(&owner_name, &json!({"color": "red"}))).await;
            let mut owned = object(&format!("{owner_name}-child"), &json!({"color": "red"}));
            owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "conformance.dev/v1", "kind": "Gadget",
                "name": owner_name, "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
            s.post(&s.path(""), &owned).await;
            let (owner, child) = (s.path(&owner_name), s.path(&format!("{owner_name}-child")));
            s.delete(&owner, &json!({"propagationPolicy": policy})).await;
            s.until(&owner, |code, _| code == 404).await;
            if policy == "Orphan" {
                s.until(&child, |_, it| it["metadata"]["ownerReferences"].is_null()).await;
            } else {
                s.until(&child, |code, _| code == 404).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    hold("dry_run", async |s| {
        let (all, one) = (s.path("?dryRun=All"), s.path("a"));
        s.post(&all, &object("a", &json!({"color": "red"}))).await;
        s.get(&one).await;
        s.post(&all, &object("a", &json!({"color": "purple"}))).await;
        s.post(&s.path(""), &object("a", &json!({"color": "red"}))).await;
        s.post(&all, &object("a", &json!({"color": "red"}))).await;
        s.merge(&s.path("a?dryRun=All"), &json!({"spec": {"color": "blue"}}))
            .await;
        let maybe = s.path("a?dryRun=Some");
        s.differs("a query option that is not allowed is 400 `BadRequest`")
            .merge(&maybe, &json!({"spec": {"color": "blue"}}))
            .await;
        // options in the body replace those of the query, so the real server does delete it
        let dry = s.path("a?dryRun=All");
        s.delete(&dry, &json!({})).await;
        s.differs("a DELETE with `dryRun` in its query never deletes")
            .get(&one)
            .await;
    })
    .await;
}
