//! Patches of each form, and who owns what afterwards.

use http::Method;
use serde_json::{Value, json};

use super::hold;
use super::kind::object;

#[tokio::test(flavor = "multi_thread")]
async fn merge_and_json_patches_change_what_they_name() {
    hold("patches", async |s| {
        let one = s.path("a");
        s.post(&s.path(""), &object("a", &json!({"color": "red", "label": "x", "tags": ["a", "b"]}))).await;
        s.merge(&one, &json!({"spec": {"label": null, "tags": ["c"], "free": {"any": [1, null]}}})).await;
        s.merge(&one, &json!({"spec": {"color": "red"}})).await;
        s.merge(&one, &json!({"metadata": {"resourceVersion": "1"}, "spec": {"color": "blue"}})).await;
        s.merge(&one, &json!({"metadata": {"name": "b"}})).await;
        s.differs("a patch that changes the uid is 409 `Conflict`").merge(&one, &json!({"metadata": {"uid": "another"}})).await;
        s.json_patch(&one, &json!([{"op": "replace", "path": "/spec/color", "value": "green"}, {"op": "add", "path": "/spec/tags/-", "value": "d"}])).await;
        s.json_patch(&one, &json!([{"op": "test", "path": "/spec/color", "value": "red"}])).await;
        s.json_patch(&one, &json!([{"op": "remove", "path": "/spec/nothing"}])).await;
        s.json_patch(&one, &json!([{"op": "replace", "path": "/spec/size", "value": "big"}])).await;
        s.json_patch(&one, &json!({"op": "remove"})).await;
        s.raw(Method::PATCH, &one, "application/merge-patch+json", "{not json").await;
        s.raw(Method::PATCH, &one, "application/strategic-merge-patch+json", "{}").await;
        s.raw(Method::PATCH, &one, "application/json", "{}").await;
        s.merge(&s.path("missing"), &json!({"spec": {"color": "red"}})).await;
    })
    .await;
}

fn applied(spec: &Value) -> Value {
    object("a", spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_tracks_who_owns_each_field() {
    hold("apply", async |s| {
        let git = s.path("a?fieldManager=git");
        let other = s.path("a?fieldManager=other");
        let force = s.path("a?fieldManager=other&force=true");
        s.apply(
            &git,
            &applied(
                &json!({"color": "red", "size": 7, "tags": ["a"], "parts": [{"name": "x", "count": 2}]}),
            ),
        )
        .await;
        s.apply(
            &git,
            &applied(
                &json!({"color": "red", "size": 7, "tags": ["a"], "parts": [{"name": "x", "count": 2}]}),
            ),
        )
        .await;
        s.apply(
            &other,
            &applied(&json!({"color": "red", "tags": ["b"], "parts": [{"name": "x"}, {"name": "y"}]})),
        )
        .await;
        s.apply(&other, &applied(&json!({"color": "blue", "size": 9})))
            .await;
        s.apply(
            &force,
            &applied(&json!({"color": "blue", "tags": ["b"], "parts": [{"name": "x"}, {"name": "y"}]})),
        )
        .await;
        s.apply(&git, &applied(&json!({"tags": ["a"], "parts": [{"name": "x"}]})))
            .await;
        s.merge(
            &s.path("a?fieldManager=editor"),
            &json!({"spec": {"map": {"k": "v"}, "order": [1, 2]}}),
        )
        .await;
        s.apply(&git, &applied(&json!({"map": {"k": "w"}, "order": [3]})))
            .await;
        let (taken, controller) = (
            s.path("a?fieldManager=git&force=true"),
            s.path("a/status?fieldManager=controller"),
        );
        s.differs("a manager whose fields are taken over keeps nothing of their container")
            .apply(&taken, &applied(&json!({"map": {"k": "w"}, "order": [3]})))
            .await;
        let mut status = applied(&json!({}));
        status.as_object_mut().unwrap().remove("spec");
        status["status"] = json!({"phase": "Ready"});
        s.differs("a manager whose fields are taken over keeps nothing of their container")
            .apply(&controller, &status)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_none_is_refused() {
    hold("apply_refused", async |s| {
        s.apply(&s.path("a"), &applied(&json!({"color": "red"}))).await;
        s.apply(
            &s.path("a?fieldManager=git"),
            &json!({"apiVersion": "conformance.dev/v1", "spec": {"color": "red"}}),
        )
        .await;
        s.apply(
            &s.path("a?fieldManager=git"),
            &applied(&json!({"color": "purple"})),
        )
        .await;
        let unknown = s.path("u?fieldManager=git");
        s.differs("an apply with an unknown field is treated as `fieldValidation` says")
            .apply(&unknown, &object("u", &json!({"color": "red", "unknown": 1})))
            .await;
        s.apply(&s.path("b?fieldManager=git"), &applied(&json!({"color": "red"})))
            .await;
        let twice = s.path("t?fieldManager=git");
        s.differs("an apply with items twice in a list of type `map` or `set` is 422 `Invalid`")
            .apply(
                &twice,
                &object(
                    "t",
                    &json!({"color": "red", "parts": [{"name": "x"}, {"name": "x"}]}),
                ),
            )
            .await;
        let mut with_owners = applied(&json!({"color": "red"}));
        with_owners["metadata"]["managedFields"] =
            json!([{"manager": "x", "operation": "Apply", "apiVersion": "conformance.dev/v1"}]);
        s.apply(&s.path("a?fieldManager=git"), &with_owners).await;
        s.raw(
            Method::PATCH,
            &s.path("a?fieldManager=git"),
            "application/apply-patch+yaml",
            ": [",
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_item_joins_the_items_of_others() {
    hold("apply_order", async |s| {
        let (git, other) = (s.path("a?fieldManager=git"), s.path("a?fieldManager=other"));
        s.apply(&git, &applied(&json!({"color": "red", "parts": [{"name": "x"}]})))
            .await;
        s.differs("apply appends new items of a keyed list")
            .apply(&other, &applied(&json!({"parts": [{"name": "y"}]})))
            .await;
    })
    .await;
}
