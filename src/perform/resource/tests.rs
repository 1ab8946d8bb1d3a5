use kube::api::ObjectMeta;
use serde_json::json;

use super::*;
use signoff_api::{ResourceRef, RunStatus};

/// A resource of a run, and the value that names it.
fn resource(run: &str) -> Resource {
    Resource {
        reference: ResourceRef {
            namespace: "payments".into(),
            run: run.into(),
            step: "fetch".into(),
            name: "body".into(),
        },
        size: 3,
        media_type: "text/plain".into(),
        sha256: Digest::of(b"abc"),
    }
}

/// A run, which another one started, with an input and an output.
fn run(name: &str, parent: Option<&str>, input: &Value, output: &Value) -> Run {
    let parent = parent.map(|parent| {
        json!({
            "uid": format!("uid-{parent}"), "step": "s", "iteration": 1, "digest": Digest::of(b""),
            "chain": [{"run": parent, "flow": "f"}],
        })
    });
    let mut spec = json!({"flow": "f", "inputs": {"x": input}});
    if let Some(parent) = parent {
        spec["parent"] = parent;
    }
    Run {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("payments".to_owned()),
            uid: Some(format!("uid-{name}")),
            ..ObjectMeta::default()
        },
        spec: serde_json::from_value(spec).unwrap(),
        status: Some(RunStatus {
            output: Some(signoff_api::Json(json!({ "list": [output] }))),
            ..RunStatus::default()
        }),
    }
}

/// An API server that has these runs.
fn client(runs: &[Run]) -> Client {
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| serde_json::to_value(run).unwrap())
        .collect();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let name = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let found = runs
            .iter()
            .find(|run| run["metadata"]["name"] == name.as_str())
            .cloned();
        async move {
            let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"});
            let status = if found.is_some() { 200 } else { 404 };
            let body = found.unwrap_or(missing).to_string().into_bytes();
            let response = http::Response::builder().status(status);
            Ok::<_, std::convert::Infallible>(response.body(kube::client::Body::from(body)).unwrap())
        }
    });
    Client::new(service, "payments")
}

fn of(run: &str) -> Owner {
    Owner {
        namespace: "payments".into(),
        run: run.into(),
        uid: format!("uid-{run}"),
    }
}

async fn reads(runs: &[Run], reader: &str, resource: &Resource) -> Result<String, StepReason> {
    let found = owner_of(&client(runs), &of(reader), resource).await;
    found.map(|owner| owner.uid).map_err(|error| error.reason)
}

#[tokio::test]
async fn a_run_reads_what_it_has_kept_itself_and_nothing_of_another_namespace() {
    assert_eq!(reads(&[], "a", &resource("a")).await, Ok("uid-a".into()));
    let mut elsewhere = resource("a");
    elsewhere.reference.namespace = "other".into();
    assert_eq!(reads(&[], "a", &elsewhere).await, Err(StepReason::NotAResource));
}

#[tokio::test]
async fn a_reference_that_was_made_up_gives_no_right() {
    let forged = json!(resource("b"));
    // both were started by people, who may write into inputs what they like
    let runs = [
        run("a", None, &forged, &json!(0)),
        run("b", None, &json!(0), &forged),
    ];
    assert_eq!(
        reads(&runs, "a", &resource("b")).await,
        Err(StepReason::NotAResource)
    );
    assert_eq!(
        reads(&runs, "a", &resource("gone")).await,
        Err(StepReason::ResourceNotFound)
    );
}

#[tokio::test]
async fn what_a_parent_hands_down_is_read_and_nothing_else_of_it() {
    let value = json!(resource("a"));
    let runs = [
        run("a", None, &json!(0), &json!(0)),
        run("b", Some("a"), &value, &json!(0)),
        run("c", Some("b"), &value, &json!(0)),
        run("d", Some("b"), &json!("another"), &json!(0)),
    ];
    for reader in ["b", "c"] {
        assert_eq!(
            reads(&runs, reader, &resource("a")).await,
            Ok("uid-a".into()),
            "{reader}"
        );
    }
    assert_eq!(
        reads(&runs, "d", &resource("a")).await,
        Err(StepReason::NotAResource)
    );
    // the same reference with another digest was not handed down
    let mut other = resource("a");
    other.sha256 = Digest::of(b"abd");
    assert_eq!(reads(&runs, "b", &other).await, Err(StepReason::NotAResource));
}

#[tokio::test]
async fn what_a_child_gives_back_is_read_by_its_parent_and_by_those_that_the_parent_hands_it_to() {
    let value = json!(resource("b"));
    let runs = [
        run("a", None, &json!(0), &json!(0)),
        run("b", Some("a"), &json!(0), &value),
        run("sibling", Some("a"), &value, &json!(0)),
        run("curious", Some("a"), &json!(0), &json!(0)),
        run("quiet", Some("a"), &json!(0), &json!(0)),
    ];
    for reader in ["a", "sibling"] {
        assert_eq!(
            reads(&runs, reader, &resource("b")).await,
            Ok("uid-b".into()),
            "{reader}"
        );
    }
    assert_eq!(
        reads(&runs, "curious", &resource("b")).await,
        Err(StepReason::NotAResource)
    );
    // a child's own, of which it said nothing
    assert_eq!(
        reads(&runs, "a", &resource("quiet")).await,
        Err(StepReason::NotAResource)
    );
}

#[tokio::test]
async fn a_parent_that_was_replaced_by_another_run_of_its_name_is_not_the_parent() {
    let value = json!(resource("a"));
    let mut replaced = run("a", None, &json!(0), &json!(0));
    replaced.metadata.uid = Some("uid-later".into());
    let runs = [replaced, run("b", Some("a"), &value, &json!(0))];
    assert_eq!(
        reads(&runs, "b", &resource("a")).await,
        Err(StepReason::NotAResource)
    );
}

#[tokio::test]
async fn a_run_that_retries_another_reads_what_that_has_kept_once_it_has_taken_over() {
    let mut second = run("b", None, &json!(0), &json!(0));
    second.spec.retry_of = serde_json::from_value(json!({"run": "a", "from": "s"})).unwrap();
    let runs = |second: &Run| [run("a", None, &json!(0), &json!(0)), second.clone()];
    // anybody may write what a run retries
    assert_eq!(
        reads(&runs(&second), "b", &resource("a")).await,
        Err(StepReason::NotAResource)
    );
    let status = second.status.as_mut().unwrap();
    status.retry = serde_json::from_value(json!({"run": "a", "uid": "uid-a"})).unwrap();
    assert_eq!(
        reads(&runs(&second), "b", &resource("a")).await,
        Ok("uid-a".into())
    );
}
