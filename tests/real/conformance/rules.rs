//! What schemas and rules refuse, fill in and drop.

use serde_json::{Value, json};

use super::hold;
use super::kind::object;

#[tokio::test(flavor = "multi_thread")]
async fn values_that_break_the_schema_are_refused_by_field() {
    hold("schema", async |s| {
        let all = s.path("");
        for spec in [
            json!({}),
            json!({"color": "purple"}),
            json!({"color": 5}),
            json!({"color": "red", "size": 101}),
            json!({"color": "red", "size": -1}),
            json!({"color": "red", "size": 1.5}),
            json!({"color": "red", "size": "3"}),
            json!({"color": "red", "label": "muchtoolong"}),
            json!({"color": "red", "label": "UPPER"}),
            json!({"color": "red", "tags": ["a", "b", "c", "d"]}),
            json!({"color": "red", "parts": [{"count": 2}]}),
            json!({"color": "red", "map": {"a": 1}}),
            json!({"color": "red", "map": {"a": "1", "b": "2", "c": "3", "d": "4"}}),
            json!({"color": "red", "either": true}),
            json!({"color": "purple", "size": 101, "label": "UPPER"}),
            json!("text"),
        ] {
            s.post(&all, &object("bad", &spec)).await;
        }
        let until = object("bad", &json!({"color": "red", "until": "tomorrow"}));
        s.differs("a value that is not of its format is `FieldValueInvalid`")
            .post(&all, &until)
            .await;
        let causes = "a value that is null, or wrong in several ways, may have other causes";
        for spec in [
            json!({"color": null}),
            json!({"color": "red", "label": "much-too-long"}),
        ] {
            s.differs(causes).post(&all, &object("bad", &spec)).await;
        }
        for spec in [
            json!({"color": "red", "tags": ["a", "a"]}),
            json!({"color": "red", "parts": [{"name": "x"}, {"name": "x"}]}),
        ] {
            s.post(&all, &object("twice", &spec)).await;
        }
        s.post(
            &all,
            &json!({"apiVersion": "conformance.dev/v1", "kind": "Gadget", "metadata": {"name": "bare"}}),
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_filled_in_and_unknown_fields_dropped_refused_or_warned_of() {
    hold("defaults_and_pruning", async |s| {
        let spec = json!({
            "color": "red", "unknown": 1, "parts": [{"name": "x", "odd": true}], "free": {"kept": {"deep": 1}},
            "either": "50%", "maybe": null, "size": null,
        });
        s.post(&s.path(""), &object("a", &spec)).await;
        for (name, validation) in [("b", "Ignore"), ("c", "Warn"), ("d", "Strict")] {
            let path = s.path(&format!("?fieldValidation={validation}"));
            s.post(&path, &object(name, &spec)).await;
        }
        let maybe = s.path("?fieldValidation=Maybe");
        s.differs("a query option that is not allowed is 400 `BadRequest`")
            .post(&maybe, &object("d", &spec))
            .await;
        for (name, query) in [("e", "?fieldValidation=Strict"), ("f", "")] {
            let twice = format!(
                r#"{{"apiVersion":"conformance.dev/v1","kind":"Gadget","metadata":{{"name":"{name}"}},
                "spec":{{"color":"red","color":"blue"}}}}"#
            );
            let path = s.path(query);
            s.raw(http::Method::POST, &path, "application/json", &twice).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_may_be_in_a_list_once() {
    hold("duplicates", async |s| {
        let one = s.path("a");
        let spec = json!({"color": "red", "tags": ["a", "b", "a"], "order": [1, 1],
            "parts": [{"name": "x", "count": 1}, {"name": "y"}, {"name": "x", "count": 2}, {"name": "x"}]});
        s.post(&s.path(""), &object("a", &spec)).await;
        s.post(
            &s.path(""),
            &object("a", &json!({"color": "purple", "tags": ["a", "a"]})),
        )
        .await;
        let spec = json!({"color": "red", "size": 1, "label": "x", "tags": ["a", "a"]});
        s.post(&s.path(""), &object("a", &spec)).await;
        s.post(
            &s.path(""),
            &object("a", &json!({"color": "red", "tags": ["a"], "order": [1, 1]})),
        )
        .await;
        s.merge(&one, &json!({"spec": {"tags": ["b", "b"]}})).await;
        s.json_patch(
            &one,
            &json!([{"op": "add", "path": "/spec/tags/-", "value": "a"}]),
        )
        .await;
        s.merge(&one, &json!({"spec": {"parts": [{"name": "x"}, {"name": "x"}]}}))
            .await;
        let git = s.path("a?fieldManager=git");
        s.differs("an apply with items twice in a list of type `map` or `set` is 422 `Invalid`")
            .apply(&git, &object("a", &json!({"tags": ["c", "c"]})))
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_may_be_sent_once() {
    use http::Method;
    const MERGE: &str = "application/merge-patch+json";
    hold("duplicate_fields", async |s| {
        let (all, one) = (s.path(""), s.path("a"));
        let body = |spec: &str| {
            format!(
                r#"{{"apiVersion":"conformance.dev/v1","kind":"Gadget","metadata":{{"name":"a","name":"a"}},"spec":{spec}}}"#
            )
        };
        let nested = body(r#"{"color":"red","parts":[{"name":"x","name":"y"}],"free":{"a":1,"a":2},"unknown":1}"#);
        for query in ["?fieldValidation=Strict", "?fieldValidation=Ignore&dryRun=All", ""] {
            s.raw(Method::POST, &format!("{all}{query}"), "application/json", &nested).await;
        }
        let changed = body(r#"{"color":"red","color":"green"}"#);
        s.raw(Method::PUT, &format!("{one}?fieldValidation=Strict"), "application/json", &changed).await;
        for query in ["?fieldValidation=Strict", "?fieldValidation=Ignore", ""] {
            let path = format!("{one}{query}");
            s.raw(Method::PATCH, &path, MERGE, r#"{"spec":{"size":4,"size":5}}"#).await;
            let path = format!("{path}{}", if query.is_empty() { "?dryRun=All" } else { "&dryRun=All" });
            s.merge(&path, &json!({"spec": {"unknown": 1}})).await;
            let patch = r#"[{"op":"add","path":"/spec/size","value":6,"value":7}]"#;
            s.raw(Method::PATCH, &path, "application/json-patch+json", patch).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_in_cel_are_kept_on_creation_and_change() {
    hold("cel", async |s| {
        let one = s.path("a");
        s.post(
            &s.path(""),
            &object("bad", &json!({"color": "red", "label": "x", "size": 1})),
        )
        .await;
        s.post(&s.path(""), &object("a", &json!({"color": "red", "fixed": "x"})))
            .await;
        s.merge(&one, &json!({"spec": {"fixed": "y"}})).await;
        s.merge(&one, &json!({"spec": {"fixed": null}})).await;
        s.merge(&one, &json!({"spec": {"fixed": "y", "label": "z", "size": 0}}))
            .await;
        s.merge(&one, &json!({"spec": {"color": "blue"}})).await;
    })
    .await;
}

fn ours(kind: &str, spec: &Value) -> Value {
    let mut metadata = json!({"name": "a"});
    if kind == "Flow" {
        // what only one of the servers would fill in
        metadata["annotations"] = json!({"signoff.dev/changed-by": "admin"});
    }
    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_kinds_mean_the_same_on_both() {
    let digest = json!({"approval": "a", "digest": "sha256:0", "verdict": "Perhaps"});
    let wrong_name = json!({"steps": [{"name": "Not A Name", "set": {}}]});
    hold("own_kinds", async |s| {
        let group = "signoff.dev/v1alpha1";
        for (plural, kind, spec) in [
            ("flows", "Flow", &json!({"steps": []})),
            ("flows", "Flow", &wrong_name),
            ("repositories", "Repository", &json!({})),
            ("releases", "Release", &json!({"flow": "f"})),
            ("approvals", "Approval", &json!({})),
            ("decisions", "Decision", &digest),
            (
                "flows",
                "Flow",
                &json!({"steps": [{"name": "one", "set": {"a": "1"}}]}),
            ),
            ("runs", "Run", &json!({"flow": "f", "requestedBy": "admin"})),
        ] {
            s.post(&s.path_in(group, plural, ""), &ours(kind, spec)).await;
        }
        let cause = "an object that breaks a `oneOf` has the cause at the object";
        for (plural, kind, spec) in [
            ("flows", "Flow", json!({"steps": [{"name": "one"}]})),
            ("flows", "Flow", json!({"steps": [{"name": "one", "magic": {}}]})),
            ("connections", "Connection", json!({})),
        ] {
            let path = s.path_in(group, plural, "");
            s.differs(cause).post(&path, &ours(kind, &spec)).await;
        }
        let run = s.path_in(group, "runs", "a");
        for spec in [
            json!({"flow": "another"}),
            json!({"cancel": true, "stoppedBy": "admin"}),
        ] {
            s.merge(&run, &json!({"spec": spec})).await;
        }
        for plural in ["runs", "flows"] {
            s.table(&s.path_in(group, plural, "?includeObject=None")).await;
        }
    })
    .await;
}
