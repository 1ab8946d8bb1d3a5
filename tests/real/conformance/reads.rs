//! Lists, watches, tables, discovery, and questions about rights.

use serde_json::json;

use super::hold;
use super::kind::object;
use super::session::Session;

async fn some(s: &mut Session) {
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let mut it = object(name, &json!({"color": color}));
        it["metadata"]["labels"] = json!({"color": color, "name": name});
        s.post(&s.path(""), &it).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_select_and_page() {
    hold("lists", async |s| {
        some(s).await;
        for query in [
            "",
            "?labelSelector=color%3Dred",
            "?labelSelector=color%21%3Dred",
            "?labelSelector=name+in+(a,b),color",
            "?labelSelector=%21color",
            "?fieldSelector=spec.color%3Dblue",
            "?fieldSelector=metadata.name%3Da",
            "?fieldSelector=spec.size%3D3",
            "?labelSelector=%3D%3D",
            "?resourceVersion=0",
            "?resourceVersion=x",
            "?limit=x",
            "?continue=rubbish",
        ] {
            s.get(&s.path(query)).await;
        }
        let (alone, negative) = (s.path("?resourceVersionMatch=Exact"), s.path("?limit=-1"));
        s.differs("a query option that is not allowed is 400 `BadRequest`")
            .get(&alone)
            .await;
        s.differs("a negative `limit` is 400 `BadRequest`")
            .get(&negative)
            .await;
        let first = s.get(&s.path("?limit=2")).await;
        let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
        s.get(&s.path(&format!("?limit=2&continue={token}"))).await;
        let red = s.path("?labelSelector=color%3Dred");
        s.differs("the last answer for an object that is gone has a revision of its own")
            .delete(&red, &json!({}))
            .await;
        s.get(&s.path("")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_resume_select_and_mark_their_place() {
    hold("watches", async |s| {
        let list = s.get(&s.path("")).await;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        some(s).await;
        s.merge(&s.path("a"), &json!({"metadata": {"labels": {"color": "blue"}}, "spec": {"color": "blue"}})).await;
        s.delete(&s.path("b"), &json!({})).await;
        s.watch(&s.path(&format!("?watch=true&resourceVersion={revision}")), 5).await;
        s.watch(&s.path(&format!("?watch=true&labelSelector=color%3Dred&resourceVersion={revision}")), 3).await;
        s.watch(&s.path(&format!("?watch=true&fieldSelector=spec.color%3Dred&resourceVersion={revision}")), 3).await;
        s.watch(&s.path("?watch=true&resourceVersion=0"), 2).await;
        s.watch(&s.path("?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"), 3).await;
        let (nowhere, alone) = (s.path("?watch=true&resourceVersion=x"), s.path("?watch=true&sendInitialEvents=true"));
 s.differs("a watch from no revision is 400 `BadRequest`").get(&nowhere).await;
        s.differs("a query option that is not allowed is 400 `BadRequest`").get(&alone).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_the_columns_of_the_definition() {
    hold("tables", async |s| {
        some(s).await;
        s.merge(&s.path("a/status"), &json!({"status": {"phase": "Ready"}}))
            .await;
        s.table(&s.path("")).await;
        s.table(&s.path("a")).await;
        s.table(&s.path("missing")).await;
        s.table(&s.path("?includeObject=None")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_lists_the_kinds() {
    hold("discovery", async |s| {
        for path in [
            "/apis/conformance.dev",
            "/apis/conformance.dev/v1",
            "/apis/signoff.dev",
            "/apis/signoff.dev/v1alpha1",
        ] {
            s.get(path).await;
        }
        s.differs("a path that is nothing answers with a `Status`")
            .get("/apis/nothing.dev")
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_who_asks_and_what_they_may_do() {
    hold("reviews", async |s| {
        let namespace = s.path("").split('/').nth(5).unwrap().to_owned();
        for user in ["admin", "alice", "agent"] {
            s.become_user(user);
            for attributes in [
                json!({"namespace": namespace, "verb": "delete", "group": "conformance.dev", "resource": "gadgets"}),
                json!({"verb": "create", "resource": "namespaces"}),
            ] {
                let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}});
                s.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
            }
        }
        s.become_user("agent");
        s.get(&s.path("")).await;
        s.delete(&s.path("a"), &json!({})).await;

    })
    .await;
}
