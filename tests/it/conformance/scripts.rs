//! The requests.

use http::Method;
use serde_json::{Value, json};

use super::Step;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const OURS: &str = "/apis/signoff.dev/v1alpha1/namespaces/{ns}";
const MAPS: &str = "/api/v1/namespaces/{ns}/configmaps";

fn get(path: &str) -> Step {
    Step::new(Method::GET, path, JSON, None)
}

fn post(path: &str, body: Value) -> Step {
    Step::new(Method::POST, path, JSON, Some(body))
}

fn put(path: &str, body: Value) -> Step {
    Step::new(Method::PUT, path, JSON, Some(body))
}

fn delete(path: &str) -> Step {
    Step::new(Method::DELETE, path, JSON, None)
}

fn patch(path: &str, kind: &'static str, body: Value) -> Step {
    Step::new(Method::PATCH, path, kind, Some(body))
}

fn ours(rest: &str) -> String {
    format!("{OURS}/{rest}")
}

fn maps(rest: &str) -> String {
    format!("{MAPS}{rest}")
}

fn map(name: &str, data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

fn connection(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": { "name": name }, "spec": spec })
}

fn flow(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": { "name": name }, "spec": spec })
}

fn http(url: &str) -> Value {
    json!({ "http": { "baseUrl": url } })
}

pub(super) fn objects() -> Vec<Step> {
    vec![
        post(&maps("?fieldManager=t"), map("a", &json!({ "k": "v" }))),
        post(&maps("?fieldManager=t"), map("a", &json!({ "k": "v" }))),
        get(&maps("/a")),
        get(&maps("/none")),
        put(&maps("/a?fieldManager=t"), map("a", &json!({ "k": "w" }))),
        put(&maps("/b?fieldManager=t"), map("a", &json!({}))),
        put(
            &maps("/a"),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "resourceVersion": "1" } }),
        ),
        delete(&maps("/a")),
        delete(&maps("/a")),
        post(
            &ours("connections?fieldManager=t"),
            connection("c", &http("https://a.example")),
        ),
        get(&ours("connections/c")),
        put(
            &ours("connections/c"),
            connection("c", &http("https://b.example")),
        ),
        delete(&ours("connections/c")),
        get(&ours("connections/c")),
        post(
            &ours("connections?dryRun=All&fieldManager=t"),
            connection("dry", &http("https://a.example")),
        ),
        get(&ours("connections/dry")),
    ]
}

pub(super) fn refusals() -> Vec<Step> {
    vec![
        post(
            &ours("connections"),
            connection("UPPER", &http("https://a.example")),
        ),
        post(
            &ours("connections"),
            connection("scheme", &http("ftp://a.example")),
        ),
        post(
            &ours("connections"),
            connection("missing", &json!({ "http": {} })),
        ),
        post(
            &ours("connections"),
            connection("type", &json!({ "http": { "baseUrl": 7 } })),
        ),
        post(
            &ours("connections?fieldValidation=Strict"),
            connection("typo", &json!({ "http": { "baseUrl": "https://a" }, "typo": 1 })),
        ),
        post(
            &ours("connections?fieldValidation=Warn&fieldManager=t"),
            connection(
                "warned",
                &json!({ "http": { "baseUrl": "https://a" }, "typo": 1 }),
            ),
        ),
        post(&ours("flows"), flow("no-steps", &json!({ "steps": [] }))),
        post(
            &ours("flows"),
            flow(
                "enum",
                &json!({ "steps": [{ "name": "a", "set": {}, "delivery": "Twice" }] }),
            ),
        ),
        post(
            &ours("flows"),
            flow(
                "rule",
                &json!({ "steps": [{ "name": "a", "http": { "url": "http://a", "connection": "c" } }] }),
            ),
        ),
        post(
            &ours("flows"),
            flow("pattern", &json!({ "steps": [{ "name": "A_b", "set": {} }] })),
        ),
        post(
            &ours("flows"),
            flow(
                "a-name-that-is-much-too-long-for-a-flow-since-it-has-more-than-52",
                &json!({ "steps": [{ "name": "a", "set": {} }] }),
            ),
        ),
        post(
            &ours("flows"),
            json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": { "name": "f" } }),
        ),
        post(
            &ours("flows"),
            json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": { "name": "f" }, "spec": {} }),
        ),
        post(
            &ours("runs"),
            json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": { "name": "r" },
            "spec": { "flow": "f", "channel": "live", "release": "f-1", "requestedBy": "admin" } }),
        ),
    ]
}

pub(super) fn patches() -> Vec<Step> {
    let c = ours("connections/c");
    vec![
        patch(
            &format!("{c}?fieldManager=one"),
            APPLY,
            connection("c", &http("https://a.example")),
        ),
        patch(
            &format!("{c}?fieldManager=one"),
            APPLY,
            connection("c", &http("https://a.example")),
        ),
        patch(
            &format!("{c}?fieldManager=two"),
            APPLY,
            connection("c", &http("https://b.example")),
        ),
        patch(
            &format!("{c}?fieldManager=two&force=true"),
            APPLY,
            connection("c", &http("https://b.example")),
        ),
        patch(&c, APPLY, connection("c", &http("https://b.example"))),
        patch(
            &format!("{c}?fieldManager=three"),
            MERGE,
            json!({ "metadata": { "labels": { "x": "1" } } }),
        ),
        patch(
            &format!("{c}?fieldManager=three"),
            MERGE,
            json!({ "metadata": { "labels": { "x": null } } }),
        ),
        patch(
            &format!("{c}?fieldManager=three"),
            PATCH,
            json!([{ "op": "add", "path": "/metadata/labels", "value": { "y": "2" } }]),
        ),
        patch(
            &c,
            PATCH,
            json!([{ "op": "test", "path": "/spec/http/baseUrl", "value": "https://other" }]),
        ),
        patch(&c, PATCH, json!([{ "op": "remove", "path": "/spec/nothing" }])),
        patch(
            &format!("{c}?fieldManager=x"),
            MERGE,
            json!({ "spec": { "http": { "baseUrl": "ftp://x" } } }),
        ),
        patch(&ours("connections/none"), MERGE, json!({})),
        patch(&c, "application/strategic-merge-patch+json", json!({})),
        patch(
            &maps("/m?fieldManager=one"),
            APPLY,
            map("m", &json!({ "a": "1", "b": "2" })),
        ),
        patch(
            &maps("/m?fieldManager=two"),
            APPLY,
            map("m", &json!({ "c": "3" })),
        ),
        patch(
            &maps("/m?fieldManager=one"),
            APPLY,
            map("m", &json!({ "a": "1" })),
        ),
        get(&maps("/m")),
    ]
}

pub(super) fn lists() -> Vec<Step> {
    let labelled = |name: &str, label: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "l": label } } });
    vec![
        // every namespace of a real server has one of its own, which the selectors leave out
        post(&maps("?fieldManager=t"), labelled("a", "1")),
        post(&maps("?fieldManager=t"), labelled("b", "2")),
        post(&maps("?fieldManager=t"), labelled("c", "1")),
        get(&maps("?labelSelector=l%3D1")),
        get(&maps("?labelSelector=l%20in%20(2,3)")),
        get(&maps("?labelSelector=l&fieldSelector=metadata.name%3Dc")),
        get(&maps("?labelSelector=l&limit=2")),
        get(&maps("?labelSelector=%3D%3D")),
        get(&maps("?fieldSelector=data.x%3D1")),
        get(&maps("?labelSelector=l&limit=1&continue=nonsense")),
        get(&maps(
            "?labelSelector=l&watch=true&resourceVersion=0&timeoutSeconds=1",
        )),
        post(
            &ours("flows?fieldManager=t"),
            flow(
                "f",
                &json!({ "steps": [{ "name": "a", "set": { "x": 1 } }], "live": "f-1" }),
            ),
        ),
        get(&ours("flows")).accept(TABLE),
        get(&ours("flows/f")).accept(TABLE),
        post(
            &ours("runs?fieldManager=t"),
            json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": { "name": "r" },
            "spec": { "flow": "f", "requestedBy": "admin" } }),
        ),
        get(&ours("runs?fieldSelector=spec.flow%3Df")).accept(TABLE),
        get(&ours("runs?fieldSelector=spec.flow%3Dg")),
        get(&ours("runs?fieldSelector=spec.other%3Dg")),
        get(&ours("runs/r")).accept("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
        post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "Nonsense" }),
        ),
    ]
}

pub(super) fn status() -> Vec<Step> {
    let r = ours("repositories/r");
    let spec = json!({ "url": "https://git.example", "draft": { "ref": "main" } });
    let repository = |extra: &Value| json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": { "name": "r" }, "spec": spec, "status": extra });
    vec![
        // a status is not taken with the object, only by its own path
        post(
            &ours("repositories?fieldManager=t"),
            repository(&json!({ "observedGeneration": 7 })),
        ),
        patch(
            &format!("{r}/status?fieldManager=s"),
            MERGE,
            json!({ "status": { "observedGeneration": 1 }, "spec": { "url": "https://other" } }),
        ),
        get(&format!("{r}/status")),
        patch(
            &format!("{r}?fieldManager=t"),
            MERGE,
            json!({ "spec": { "path": "flows" }, "status": { "observedGeneration": 9 } }),
        ),
        patch(
            &format!("{r}/status?fieldManager=s"),
            MERGE,
            json!({ "status": { "observedGeneration": "x" } }),
        ),
        patch(
            &format!("{r}/status?fieldManager=a"),
            APPLY,
            json!({ "apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
            "metadata": { "name": "r" }, "status": { "lastHandledRequest": "now" } }),
        ),
        patch(
            &format!("{r}?fieldManager=t"),
            MERGE,
            json!({ "metadata": { "finalizers": ["signoff.dev/test"] } }),
        ),
        delete(&r),
        get(&r),
        patch(
            &format!("{r}?fieldManager=t"),
            MERGE,
            json!({ "metadata": { "finalizers": ["signoff.dev/test", "signoff.dev/more"] } }),
        ),
        patch(
            &format!("{r}?fieldManager=t"),
            MERGE,
            json!({ "metadata": { "finalizers": null } }),
        ),
        get(&r),
    ]
}
