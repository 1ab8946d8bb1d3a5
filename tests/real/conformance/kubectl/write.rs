//! Changing: create, apply in its forms, patch, replace, label, annotate, wait, delete, and the core kinds.

use serde_json::{Value, json};

use super::super::kind::object;
use super::{Terminal, hold};

const WORDING: &str = "the wording of messages";
const MOVED: &str =
    "an apply by `kubectl` does not take over what `kubectl apply` without `--server-side` set";
const UNKNOWN: &str = "an apply with an unknown field is treated as `fieldValidation` says";
const COLUMNS: &str = "wide tables of core kinds have fewer columns";
const QUOTAS: &str = "`kubectl describe` of a namespace says nothing of quotas";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_changes_and_deletes_objects() {
    hold("change", |t| {
        let a = object("a", &json!({"color": "red"}));
        t.feed("create -f - --dry-run=server", &a);
        t.feed("create -f - --dry-run=client -o yaml", &a);
        t.feed("create -f -", &a);
        t.feed("create -f -", &a);
        t.differs(WORDING).feed(
            "create -f -",
            &object("bad", &json!({"color": "purple", "size": 101})),
        );
        t.differs(WORDING).feed(
            "create -f -",
            &object("bad", &json!({"color": "red", "label": "x", "size": 1})),
        );
        t.feed(
            "create -f -",
            &object("bad", &json!({"color": "red", "unknown": 1})),
        );
        t.feed(
            "create -f - --validate=warn",
            &object("warned", &json!({"color": "red", "unknown": 1})),
        );
        t.feed("create -f -", &object("Bad", &json!({"color": "red"})));
        t.run(r#"patch gd a --type=merge -p {"spec":{"color":"blue"}}"#);
        t.run(r#"patch gd a --type=merge -p {"spec":{"color":"blue"}}"#);
        t.run(r#"patch gd a --type=json -p [{"op":"replace","path":"/spec/size","value":7}]"#);
        t.differs(WORDING)
            .run(r#"patch gd a --type=json -p [{"op":"test","path":"/spec/size","value":8}]"#);
        t.run(r#"patch gd a -p {"spec":{"size":8}}"#);
        t.differs(WORDING)
            .run(r#"patch gd a --type=merge -p {"spec":{"size":"big"}}"#);
        t.run(r#"patch gd a --type=merge --subresource=status -p {"status":{"phase":"Ready"}}"#);
        t.run(r"patch gd missing --type=merge -p {}");
        t.run("get gd a -o wide");
        t.feed("replace -f -", &object("a", &json!({"color": "green"})));
        t.feed("replace -f -", &object("missing", &json!({"color": "green"})));
        let mut stale = object("a", &json!({"color": "red"}));
        stale["metadata"]["resourceVersion"] = json!("1");
        t.feed("replace -f -", &stale);
        for command in [
            "label gd a team=x",
            "label gd a team=y",
            "label gd a team=y --overwrite",
            "label gd a team=y",
            "label gd a not/a/key=y",
            "label gd a team-",
            "label gd --all all=1",
            "annotate gd a note=one",
            "annotate gd a note-",
            "annotate gd a note-",
            "scale gd a --replicas=2",
            "wait gd/a --for=jsonpath={.status.phase}=Ready --timeout=30s",
            "wait gd/a --for=create --timeout=30s",
            "wait gd/a --for=condition=Ready --timeout=0s",
            "get gd a -o yaml",
            "delete gd a --dry-run=server",
            "delete gd a",
            "delete gd a",
            "delete gd a --ignore-not-found",
            "wait gd/a --for=delete --timeout=30s",
            "delete gd --all",
            "delete gd --selector=none=1",
            "get gd",
        ] {
            match command {
                "label gd a not/a/key=y" => t.differs(WORDING),
                "scale gd a --replicas=2" => t.differs("a path that is nothing answers with a `Status`"),
                _ => t,
            }
            .run(command);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_from_the_client_and_from_the_server() {
    hold("apply", |t| {
        let with = |spec: &Value| object("a", spec);
        let first = with(&json!({"color": "red", "tags": ["a"], "parts": [{"name": "x"}]}));
        t.feed("diff -f -", &first);
        t.feed("apply -f -", &first);
        t.feed("apply -f -", &first);
        let second = with(&json!({"color": "blue", "parts": [{"name": "y"}]}));
        t.feed("diff -f -", &second);
        t.feed("apply -f - --dry-run=server", &second);
        t.feed("apply -f -", &second);
        t.feed("diff -f -", &second);
        t.differs(WORDING)
            .feed("apply -f -", &with(&json!({"color": "purple"})));
        t.differs(WORDING)
            .feed("apply -f -", &with(&json!({"color": "red", "unknown": 1})));
        t.run("apply view-last-applied gd a");
        t.run("get gd a -o yaml");
        t.differs(MOVED)
            .feed("apply -f - --server-side", &with(&json!({"color": "green"})));
        t.differs(MOVED).feed(
            "apply -f - --server-side --field-manager=other",
            &with(&json!({"color": "red"})),
        );
        t.feed(
            "apply -f - --server-side --field-manager=other --force-conflicts",
            &with(&json!({"color": "red"})),
        );
        t.differs(UNKNOWN).feed(
            "apply -f - --server-side --field-manager=other",
            &with(&json!({"color": "red", "unknown": 1})),
        );
        t.differs(MOVED).feed(
            "diff -f - --server-side --field-manager=other",
            &with(&json!({"color": "red", "size": 9})),
        );
        t.feed(
            "apply -f - --server-side --field-manager=other --dry-run=server",
            &with(&json!({"color": "red", "size": 9})),
        );
        t.feed("apply -f - --server-side", &object("b", &json!({"color": "red"})));
        t.feed(
            "apply -f - --prune -l none=1",
            &object("b", &json!({"color": "red"})),
        );
        t.run("get gd");
        t.feed("delete -f -", &first);
        t.feed("delete -f -", &first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_handles_the_core_kinds() {
    hold("core", |t| {
        for command in [
            "create configmap m --from-literal=a=1 --from-literal=b=2",
            "create configmap m",
            "get configmap m",
            "get cm m -o yaml",
            "describe configmap m",
            r#"patch cm m -p {"data":{"a":null,"c":"3"}}"#,
            "get cm m -o jsonpath={.data}",
            "create secret generic s --from-literal=token=hush",
            "get secrets",
            "get secret s -o yaml",
            "describe secret s",
            "create secret tls t --cert=none --key=none",
            "create serviceaccount robot",
            "get sa robot -o name",
            "create role reader --verb=get,list --resource=gadgets.conformance.dev",
            "create rolebinding readers --role=reader --user=reader",
            "get roles,rolebindings",
            "get rolebindings -o wide",
            "describe role reader",
            "describe rolebinding readers",
            "auth can-i list gadgets --as=reader",
            "auth can-i delete gadgets --as=reader",
            "get gd --as=reader",
            "delete gd a --as=reader",
            "get leases",
            "get events",
            "delete cm,secret m s",
            "delete rolebinding readers",
            "auth can-i list gadgets --as=reader",
            "create namespace conformance-kubectl-made",
            "get ns conformance-kubectl-made",
            "label ns conformance-kubectl-made a=b",
            "describe ns conformance-kubectl-made",
            "create namespace Not_A_Name",
            "delete ns conformance-kubectl-made",
            "get ns conformance-kubectl-made",
        ] {
            match command {
                "get rolebindings -o wide" => t.differs(COLUMNS),
                "describe ns conformance-kubectl-made" => t.differs(QUOTAS),
                _ => t,
            }
            .run(command);
        }
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "type": "Normal", "reason": "Looked",
            "message": "somebody looked", "count": 2, "source": {"component": "tests"},
            "firstTimestamp": "2020-01-01T00:00:00Z", "lastTimestamp": "2020-01-02T00:00:00Z",
            "involvedObject": {"apiVersion": "conformance.dev/v1", "kind": "Gadget", "name": "a", "namespace": "conformance-kubectl-core"}});
        t.feed("create -f -", &event);
        t.run("get events");
        t.differs(COLUMNS).run("get events -o wide");
        t.run("get events.events.k8s.io e -o yaml");
        t.run("events");
        t.run("events --for=gadget/a");
        t.feed("create -f -", &object("a", &json!({"color": "red"})));
        t.run("describe gd a");
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}});
        t.feed("apply -f -", &lease);
        t.run("get leases");
        t.run("describe lease l");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sorts_events_by_what_they_do_not_say() {
    hold("events", |t| {
        let event = |name: &str, second: u8| {
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name}, "type": "Normal",
                "reason": "Looked", "action": "Look", "note": format!("{name} was looked at"),
                "eventTime": format!("2020-01-01T00:00:0{second}.000000Z"),
                "reportingController": "conformance.dev/tests", "reportingInstance": "tests-0",
                "regarding": {"apiVersion": "conformance.dev/v1", "kind": "Gadget", "name": name, "namespace": "conformance-kubectl-events"}})
        };
        t.feed("create -f -", &event("b", 1));
        t.feed("create -f -", &event("a", 2));
        for command in [
            "get events --sort-by=.lastTimestamp",
            "get events --sort-by=.eventTime",
            "get events --sort-by=.metadata.name",
            "get event a -o yaml",
            "get events.events.k8s.io a -o yaml",
            "annotate event a note=one",
            "get event a -o yaml",
            r#"patch event a --type=merge -p {"count":2}"#,
            "get events.events.k8s.io a -o yaml",
        ] {
            t.run(command);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_that_a_kind_is_not_there_and_takes_lists() {
    hold("files", |t| {
        let misspelt = json!({"apiVersion": "conformance.dev/v1", "kind": "Gadgett", "metadata": {"name": "a"}, "spec": {}});
        let of_no_group = json!({"apiVersion": "nowhere.dev/v1", "kind": "Gadget", "metadata": {"name": "a"}, "spec": {}});
        for object in [&misspelt, &of_no_group] {
            for command in ["apply -f -", "apply -f - --server-side", "create -f -", "apply -f - --validate=false"] {
                t.feed(command, object);
            }
        }
        for name in ["a", "b"] {
            t.feed("apply -f -", &object(name, &json!({"color": "red"})));
        }
        let all = |t: &mut Terminal| -> Value { serde_json::from_str(&t.run("get gd -o json")).unwrap() };
        let list = all(t);
        t.feed("apply -f -", &list);
        // it is of before that
        t.feed("apply -f -", &list);
        let mut list = all(t);
        list["items"][1]["spec"]["color"] = json!("blue");
        t.feed("apply -f - --dry-run=server", &list);
        t.feed("apply -f -", &list);
        t.run("get gd");
        t.feed("delete -f -", &list);
    })
    .await;
}
