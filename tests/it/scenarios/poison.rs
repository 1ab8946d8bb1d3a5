//! Objects at and beyond the bounds of every field of every kind, written by a client that skips our validation. The schema refuses them, or the
//! runs of others go on all the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use serde_json::{Value, json};
use signoff_api::Approval;

use crate::support::{
    draw::{Kind, json_schema, kinds, least, leaves, poisons, with},
    real,
    rig::Rig,
};

/// Stands for the poison in an object, which may be none that a parser bears.
const HERE: &str = "here it is";
/// Of what the schema refuses, one in so many is sent.
const REFUSED_SENT: usize = 40;
/// Requests under way at the same time.
const AT_ONCE: usize = 16;

/// What to write: an object, and for a field of its status what is written there then.
struct Poisoned {
    plural: String,
    name: String,
    object: String,
    status: Option<String>,
}

fn all() -> Vec<Poisoned> {
    let mut found = Vec::new();
    for kind in kinds() {
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft4)
            .should_validate_formats(true)
            .build(&json_schema(&kind.schema))
            .unwrap();
        for field in leaves(&kind.schema) {
            for (number, poison) in poisons(&field.schema).into_iter().enumerate() {
                let fits = match serde_json::from_str(&poison) {
                    Ok(value) => validator.is_valid(&with(&kind.schema, &field.path, &value)),
                    Err(_) => field.schema["x-kubernetes-preserve-unknown-fields"] == json!(true),
                };
                if fits || (found.len() + number).is_multiple_of(REFUSED_SENT) {
                    found.push(poisoned(&kind, &field.path, &poison, found.len()));
                }
            }
        }
    }
    found
}

fn poisoned(kind: &Kind, path: &[String], poison: &str, number: usize) -> Poisoned {
    let name = format!("poison-{number}");
    let at = with(&kind.schema, path, &json!(HERE));
    let filled = |object: &Value| object.to_string().replace(&json!(HERE).to_string(), poison);
    let mut object =
        json!({"apiVersion": "signoff.dev/v1alpha1", "kind": kind.name, "metadata": {"name": name}});
    let in_status = path[0] == "status";
    object["spec"] = if in_status {
        least(&kind.schema["properties"]["spec"])
    } else {
        at["spec"].clone()
    };
    Poisoned {
        plural: kind.plural.clone(),
        name,
        object: filled(&object),
        status: in_status.then(|| filled(&json!({ "status": at["status"] }))),
    }
}

/// Sends a request as it stands, and gives the status code of the answer.
async fn send(rig: &Rig, method: &str, path: &str, content_type: &str, body: &str) -> u16 {
    let path = format!("/apis/signoff.dev/v1alpha1/namespaces/{}/{path}", rig.namespace());
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .body(body.to_owned().into_bytes())
        .unwrap();
    match rig.client("admin").request_text(request).await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!(
            "{method} {content_type} {error}: {}",
            &body[..body.len().min(300)]
        ),
    }
}

async fn write(rig: &Rig, poisoned: &Poisoned) -> bool {
    let mut code = send(
        rig,
        "POST",
        &poisoned.plural,
        "application/json",
        &poisoned.object,
    )
    .await;
    if let Some(status) = poisoned.status.as_ref().filter(|_| code == 200) {
        let path = format!("{}/{}/status", poisoned.plural, poisoned.name);
        code = send(rig, "PATCH", &path, "application/merge-patch+json", status).await;
    }
    assert!(
        code < 500 || real::is_wanted(),
        "{code}: {}",
        &poisoned.object[..poisoned.object.len().min(300)]
    );
    code == 200
}

async fn goes_on(rig: &Rig, run: &str) {
    rig.start(run, json!({"flow": "good"})).await;
    let question = format!("{run}-review");
    rig.until::<Approval>(&question, |_| true).await;
    rig.decide("alice", &question, "Approve").await;
    rig.phase(run, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_at_and_beyond_every_bound_hold_up_no_run_before_or_after_a_restart() {
    let rig = Rig::open().await;
    let operator = rig.operator().await;
    let steps = json!([{"name": "review", "approval": {"title": "go?"}}, {"name": "done", "set": {"x": 1}}]);
    rig.flow("good", json!({"steps": steps})).await;
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    futures::stream::iter(all())
        .for_each_concurrent(AT_ONCE, |poisoned| {
            let (rig, taken, refused) = (&rig, &taken, &refused);
            async move {
                let to = if write(rig, &poisoned).await {
                    taken
                } else {
                    refused
                };
                to.fetch_add(1, Ordering::Relaxed);
            }
        })
        .await;
    let (taken, refused) = (taken.into_inner(), refused.into_inner());
    assert!(
        taken > 200 && refused > 100,
        "{taken} taken and {refused} refused: the walk misses fields"
    );
    goes_on(&rig, "before").await;
    operator.stop().await;
    let operator = rig.operator().await;
    goes_on(&rig, "after").await;
    operator.stop().await;
}
