//! Looking: get in its forms, describe, explain, discovery, rights.

use serde_json::json;

use super::super::kind::object;
use super::{Terminal, hold};

fn some(t: &mut Terminal) {
    for (name, color, size) in [("a", "red", 5), ("b", "blue", 3), ("c", "red", 4)] {
        let mut it = object(
            name,
            &json!({"color": color, "size": size, "parts": [{"name": "x"}]}),
        );
        it["metadata"]["labels"] = json!({"color": color});
        it["metadata"]["annotations"] = json!({"conformance.dev/note": "one"});
        t.feed("create -f -", &it);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_gets_objects_in_every_form() {
    hold("get", |t| {
        t.run("get gadgets");
        some(t);
        for form in [
            "",
            "-o wide",
            "-o name",
            "-o yaml",
            "-o json",
            "-o jsonpath={.items[*].spec.color}",
            "-o custom-columns=NAME:.metadata.name,COLOR:.spec.color",
            "-o go-template={{range.items}}{{.metadata.name}}{{end}}",
            "--no-headers",
            "--show-labels",
            "--show-kind",
            "--label-columns=color",
            "--sort-by=.spec.size",
            "--selector=color=red",
            "--selector=color!=red",
            "--field-selector=spec.color=blue",
            "--field-selector=spec.size=3",
            "--chunk-size=1",
        ] {
            t.run(&format!("get gadgets {form}"));
        }
        for what in [
            "gd a",
            "gd/a gd/b",
            "gadget a -o yaml",
            "gadgets.conformance.dev a b",
            "gadgets.v1.conformance.dev c",
        ] {
            t.run(&format!("get {what}"));
        }
        t.run("get tests");
        t.run("get gd missing");
        t.run("get gd missing --ignore-not-found");
        t.run("get nonsense");
        t.run("get gd a --subresource=status");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_describes_and_explains() {
    hold("describe", |t| {
        some(t);
        t.run("describe gd a");
        t.run("describe gd missing");
        for what in [
            "gadgets",
            "gadgets.spec",
            "gadgets.spec.parts",
            "gadgets.spec.color",
            "gadgets.nothing",
            "gadgets --recursive",
            "decisions.spec.verdict",
        ] {
            t.run(&format!("explain {what}"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_the_kinds_and_the_rights() {
    hold("discover", |t| {
        for group in ["conformance.dev", "signoff.dev"] {
            for form in ["", "-o wide", "-o name", "--namespaced=false"] {
                t.run(&format!("api-resources --api-group={group} {form}"));
            }
        }
        for what in [
            "create gadgets",
            "delete gadgets/a",
            "get gadgets --subresource=status",
            "create gadgets --as=nobody",
            "get /version",
            "get /version --as=nobody --as-group=system:authenticated",
        ] {
            t.run(&format!("auth can-i {what}"));
        }
        t.run("get gd --as=nobody");
        t.run("get gd --as=nobody -v=0 -o yaml");
    })
    .await;
}
