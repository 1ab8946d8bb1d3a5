//! The core kinds that the operator uses.

use http::Method;
use serde_json::{Value, json};

use super::hold;

fn of(version: &str, kind: &str, rest: &Value) -> Value {
    let mut it = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
    it.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    it
}

const SAYS: &str = "an item in a list of a core kind says its kind";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[tokio::test(flavor = "multi_thread")]
async fn config_maps_are_written_alike() {
    hold("config_maps", async |s| {
        let (all, one) = (
            s.path_in("v1", "configmaps", ""),
            s.path_in("v1", "configmaps", "a"),
        );
        let map = |rest: &Value| of("v1", "ConfigMap", rest);
        let made = s
            .post(
                &all,
                &map(&json!({"data": {"k": "v"}, "binaryData": {"b": "AAE="}})),
            )
            .await;
        s.get(&one).await;
        for data in [
            json!({"data": {"not a key": "v"}}),
            json!({"data": {"k": "v"}, "binaryData": {"k": "AAE="}}),
            json!({"binaryData": {"b": "not base64"}}),
            json!({"data": {"k": 1}}),
            json!({"data": {"k": "v"}, "unknown": 1}),
        ] {
            let mut it = map(&data);
            it["metadata"]["name"] = json!("b");
            s.post(&all, &it).await;
        }
        s.post(
            &format!("{all}?fieldValidation=Strict"),
            &map(&json!({"unknown": 1})),
        )
        .await;
        let mut changed = made.clone();
        changed["data"] = json!({"k": "w"});
        s.put(&one, &changed).await;
        s.put(&one, &changed).await;
        changed["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        s.put(&one, &changed).await;
        s.merge(&one, &json!({"data": {"k": null, "l": "x"}})).await;
        s.raw(
            Method::PATCH,
            &one,
            STRATEGIC,
            r#"{"data":{"$patch":"replace","m":"y"}}"#,
        )
        .await;
        s.json_patch(&one, &json!([{"op": "add", "path": "/data/n", "value": "z"}]))
            .await;
        s.apply(
            &format!("{one}?fieldManager=git"),
            &map(&json!({"data": {"g": "1"}})),
        )
        .await;
        s.apply(
            &format!("{one}?fieldManager=git"),
            &map(&json!({"data": {"n": "2"}})),
        )
        .await;
        s.apply(
            &format!("{one}?fieldManager=git&force=true"),
            &map(&json!({"data": {"n": "2"}})),
        )
        .await;
        s.merge(&one, &json!({"immutable": true})).await;
        s.merge(&one, &json!({"data": {"k": "x"}})).await;
        s.merge(&one, &json!({"immutable": false})).await;
        s.merge(&one, &json!({"metadata": {"labels": {"a": "b"}}})).await;
        s.delete(&one, &json!({})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_written_alike() {
    hold("secrets", async |s| {
        let (all, one) = (s.path_in("v1", "secrets", ""), s.path_in("v1", "secrets", "a"));
        let secret = |rest: &Value| of("v1", "Secret", rest);
        s.post(
            &all,
            &secret(&json!({"data": {"k": "dg=="}, "stringData": {"l": "text"}})),
        )
        .await;
        for rest in [
            json!({"data": {"k": "not base64"}}),
            json!({"data": {"not a key": "dg=="}}),
            json!({"type": "kubernetes.io/tls", "data": {"k": "dg=="}}),
            json!({"type": "kubernetes.io/basic-auth"}),
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "none"}}),
            json!({"type": "kubernetes.io/ssh-auth"}),
        ] {
            let mut it = secret(&rest);
            it["metadata"]["name"] = json!("b");
            s.post(&all, &it).await;
        }
        s.merge(&one, &json!({"stringData": {"k": "w"}})).await;
        s.merge(&one, &json!({"type": "other"})).await;
        s.raw(Method::PATCH, &one, STRATEGIC, r#"{"data":{"l":null}}"#)
            .await;
        s.apply(
            &format!("{one}?fieldManager=git"),
            &secret(&json!({"stringData": {"g": "1"}})),
        )
        .await;
        s.merge(&one, &json!({"immutable": true})).await;
        s.merge(&one, &json!({"data": {"k": "dg=="}})).await;
        let opaque = s.path_in("v1", "secrets", "?fieldSelector=type%3DOpaque");
        s.differs(SAYS).get(&opaque).await;
        s.table(&one).await;
        s.delete(&one, &json!({})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_written_alike() {
    hold("leases", async |s| {
        let group = "coordination.k8s.io/v1";
        let (all, one) = (s.path_in(group, "leases", ""), s.path_in(group, "leases", "a"));
        let lease = |spec: &Value| of(group, "Lease", &json!({"spec": spec}));
        let held = json!({"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2020-01-01T00:00:00.000000Z", "leaseTransitions": 0});
        let made = s.post(&all, &lease(&held)).await;
        for spec in [
            json!({"leaseDurationSeconds": 0}),
            json!({"leaseTransitions": -1}),
            json!({"renewTime": "yesterday"}),
            json!({"leaseDurationSeconds": "15"}),
        ] {
            let mut it = lease(&spec);
            it["metadata"]["name"] = json!("b");
            s.post(&all, &it).await;
        }
        let mut taken = made.clone();
        taken["spec"]["holderIdentity"] = json!("you");
        s.put(&one, &taken).await;
        // somebody else was faster
        s.put(&one, &taken).await;
        s.merge(&one, &json!({"spec": {"holderIdentity": null}})).await;
        s.apply(&format!("{one}?fieldManager=git"), &lease(&json!({"leaseTransitions": 0}))).await;
        s.table(&one).await;
        s.delete(&one, &json!({})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_written_alike() {
    hold("namespaces", async |s| {
        let (all, one) = ("/api/v1/namespaces", "/api/v1/namespaces/conformance-made");
        let mut made = of("v1", "Namespace", &json!({}));
        made["metadata"]["name"] = json!("conformance-made");
        made["metadata"]["finalizers"] = json!(["conformance.dev/hold"]);
        s.post(all, &made).await;
        s.post(all, &made).await;
        made["metadata"]["name"] = json!("not.a.label");
        s.post(all, &made).await;
        s.merge(one, &json!({"metadata": {"labels": {"a": "b"}}})).await;
        s.merge(
            one,
            &json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}}),
        )
        .await;
        s.raw(
            Method::PATCH,
            one,
            STRATEGIC,
            r#"{"metadata":{"labels":{"a":null,"c":"d"}}}"#,
        )
        .await;
        s.merge(one, &json!({"metadata": {"finalizers": null}})).await;
        s.differs(SAYS)
            .get("/api/v1/namespaces?labelSelector=c%3Dd")
            .await;
        s.get("/api/v1/namespaces/missing").await;
        let nowhere = of("v1", "ConfigMap", &json!({}));
        s.post("/api/v1/namespaces/missing/configmaps", &nowhere).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_rights_are_answered_alike() {
    hold("access_reviews", async |s| {
        let (group, root) = ("authorization.k8s.io/v1", "/apis/authorization.k8s.io/v1");
        let namespace = s.namespace().to_owned();
        let review = |kind: &str, spec: &Value| json!({"apiVersion": group, "kind": kind, "spec": spec});
        let may = json!({"namespace": namespace, "verb": "get", "group": "signoff.dev", "resource": "runs"});
        let path = json!({"verb": "get", "path": "/version"});
        for spec in [
            json!({"user": "nobody", "resourceAttributes": may}),
            json!({"user": "nobody", "groups": ["system:masters"], "resourceAttributes": may}),
            json!({"groups": ["system:authenticated"], "nonResourceAttributes": path}),
            json!({"user": "nobody", "nonResourceAttributes": path, "resourceAttributes": may}),
            json!({"user": "nobody"}),
            json!({"resourceAttributes": may}),
        ] {
            s.post(
                &format!("{root}/subjectaccessreviews"),
                &review("SubjectAccessReview", &spec),
            )
            .await;
        }
        let local = s.path_in(group, "localsubjectaccessreviews", "");
        let elsewhere = json!({"namespace": "another", "verb": "get", "resource": "secrets"});
        for attributes in [may, elsewhere] {
            let spec = json!({"user": "nobody", "resourceAttributes": attributes});
            let mut it = review("LocalSubjectAccessReview", &spec);
            it["metadata"] = json!({"namespace": namespace});
            s.post(&local, &it).await;
        }
        s.post(
            &format!("{root}/selfsubjectaccessreviews"),
            &review("SelfSubjectAccessReview", &json!({})),
        )
        .await;
        s.become_user("agent");
        let spec = json!({"user": "alice", "nonResourceAttributes": path});
        s.post(
            &format!("{root}/subjectaccessreviews"),
            &review("SubjectAccessReview", &spec),
        )
        .await;
    })
    .await;
}
