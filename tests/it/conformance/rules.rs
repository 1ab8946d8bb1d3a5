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
        let twice = "items twice in a list of type `map` or `set` are not refused";
        s.differs(twice)
            .post(
                &all,
                &object("tags", &json!({"color": "red", "tags": ["a", "a"]})),
            )
            .await;
        s.differs(twice)
            .post(
                &all,
                &object(
                    "parts",
                    &json!({"color": "red", "parts": [{"name": "x"}, {"name": "x"}]}),
                ),
            )
            .await;
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
            s.differs("a field that is there twice is not told")
                .raw(http::Method::POST, &path, "application/json", &twice)
                .await;
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
    json!({"apiVersion": "signoff.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec})
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
        for spec in [json!({"flow": "another"}), json!({"cancel": true})] {
            s.merge(&run, &json!({"spec": spec})).await;
        }
        for plural in ["runs", "flows"] {
            s.table(&s.path_in(group, plural, "?includeObject=None")).await;
        }
    })
    .await;
}
