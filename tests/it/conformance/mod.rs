//! One suite, two servers: the same requests against the embedded control plane and a real kube-apiserver must be answered alike.
//!
//! What the real one answered is kept under `tests/golden/conformance/`, so that the embedded one is held to it also where no real one is at
//! hand. `SIGNOFF_UPDATE_GOLDEN=1` writes it anew from the real one.

mod scripts;

use std::{fmt::Write as _, sync::LazyLock};

use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Map, Value, json};

use crate::{controlplane::ControlPlane, local_support::Local};

/// The real server with our kinds and no policies, shared by all scripts.
static REAL: LazyLock<Option<ControlPlane>> = LazyLock::new(|| {
    let plane = ControlPlane::start("conformance of the embedded control plane with a real API server")?;
    let kubectl = plane.as_user("admin");
    kubectl.run(&["apply", "--server-side", "-f", "crds"]).expect_ok();
    plane.wait("the kinds", || {
        kubectl
            .run(&[
                "wait",
                "--for=condition=Established",
                "crd",
                "--all",
                "--timeout=1s",
            ])
            .ok
            && kubectl.run(&["get", "flows,connections,repositories,runs"]).ok
    });
    Some(plane)
});

/// One request.
pub(crate) struct Step {
    method: Method,
    path: String,
    content_type: &'static str,
    accept: &'static str,
    body: Option<Value>,
}

impl Step {
    fn new(method: Method, path: &str, content_type: &'static str, body: Option<Value>) -> Self {
        Self {
            method,
            path: path.to_owned(),
            content_type,
            accept: "application/json",
            body,
        }
    }

    fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }
}

/// Plays a script in a namespace of its own and tells what was answered.
async fn play(client: &Client, namespace: &str, script: &[Step]) -> String {
    let make = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    send(
        client,
        namespace,
        &Step::new(Method::POST, "/api/v1/namespaces", "application/json", Some(make)),
    )
    .await;
    let mut told = String::new();
    for step in script {
        let (status, body) = send(client, namespace, step).await;
        let kind = step.content_type.rsplit(['/', '.']).next().unwrap_or_default();
        let _ = writeln!(
            told,
            "{} {} ({kind})\n{status}\n{}\n",
            step.method,
            step.path,
            indented(&body)
        );
    }
    told
}

async fn send(client: &Client, namespace: &str, step: &Step) -> (u16, Value) {
    let path = step.path.replace("{ns}", namespace);
    let body = step
        .body
        .as_ref()
        .map(Value::to_string)
        .unwrap_or_default()
        .replace("{ns}", namespace);
    let request = Request::builder()
        .method(&step.method)
        .uri(path)
        .header("content-type", step.content_type)
        .header("accept", step.accept)
        .body(body.into_bytes().into())
        .unwrap();
    let response = client.send(request).await.unwrap();
    let status = response.status().as_u16();
    let warning = response
        .headers()
        .get("warning")
        .map(|value| value.to_str().unwrap().to_owned());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).replace(namespace, "{ns}");
    // a watch answers with a document a line
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter::<Value>()
        .filter_map(Result::ok)
        .collect();
    let mut body = match documents.as_slice() {
        [one] => one.clone(),
        many => Value::Array(many.to_vec()),
    };
    mask(&mut body);
    if let Some(warning) = warning {
        body = json!({ "warning": warning, "body": body });
    }
    (status, body)
}

/// What differs from server to server and from time to time.
fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(map) => {
            mask_fields(map);
            map.values_mut().for_each(mask);
        }
        _ => {}
    }
}

fn mask_fields(map: &mut Map<String, Value>) {
    // columns and refusals are compared by what programs read; the words are the embedded server's own where docs/embedded.md says so
    if map.get("status") == Some(&json!("Failure")) {
        mask_refusal(map);
    }
    map.remove("description");
    if let Some(items) = map.get_mut("items").and_then(Value::as_array_mut) {
        // a real server leaves them out of lists of core kinds
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.remove("apiVersion");
            item.remove("kind");
        }
    }
    if let Some(details) = map.get_mut("details").and_then(Value::as_object_mut) {
        if details.get("group") == Some(&json!("")) {
            details.remove("group");
        }
        if details.is_empty() {
            map.remove("details");
        }
    }
    // a parent is owned with its fields
    map.remove(".");
    if map.get("continue") == Some(&json!("")) {
        map.remove("continue");
    }
    if let Some(fields) = map.get_mut("managedFields").and_then(Value::as_array_mut) {
        fields.sort_by_key(|entry| {
            format!(
                "{}{}{}",
                entry["manager"], entry["operation"], entry["subresource"]
            )
        });
    }
    for name in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "time",
        "continue",
    ] {
        if let Some(value) = map
            .get_mut(name)
            .filter(|value| value.is_string() && *value != "")
        {
            *value = json!("…");
        }
    }
    // ages in tables
    if let Some(cells) = map.get_mut("cells").and_then(Value::as_array_mut) {
        for cell in cells.iter_mut().filter(|cell| {
            cell.as_str()
                .is_some_and(|cell| cell.ends_with('s') && cell.len() <= 3)
        }) {
            *cell = json!("…");
        }
    }
}

fn mask_refusal(map: &mut Map<String, Value>) {
    map.remove("message");
    let Some(details) = map.get_mut("details").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(causes) = details.get_mut("causes").and_then(Value::as_array_mut) {
        // a real server adds that the rules were not looked at
        causes.retain(|cause| {
            !cause["message"]
                .as_str()
                .unwrap_or_default()
                .contains("rules were not checked")
        });
        for cause in causes.iter_mut().filter_map(Value::as_object_mut) {
            cause.remove("message");
        }
        causes.dedup();
    }
}

fn indented(body: &Value) -> String {
    format!("{body:#}")
        .lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Holds both servers to the golden transcript.
async fn conforms(name: &str, script: Vec<Step>) {
    let path = format!("tests/golden/conformance/{name}.txt");
    if let Some(real) = REAL.as_ref() {
        let told = play(&real.client("admin"), &format!("conform-{name}"), &script).await;
        if std::env::var_os("SIGNOFF_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &told).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            told == golden,
            "the real server answers otherwise than {path} says:\n{}",
            differences(&golden, &told)
        );
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let local = Local::start().await;
    let told = play(&local.client(), &format!("conform-{name}"), &script).await;
    assert!(
        told == golden,
        "the embedded server answers otherwise than a real one ({path}):\n{}",
        differences(&golden, &told)
    );
}

fn differences(golden: &str, told: &str) -> String {
    similar::TextDiff::from_lines(golden, told)
        .unified_diff()
        .context_radius(8)
        .header("real", "here")
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_read_changed_and_deleted_alike() {
    conforms("objects", scripts::objects()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_objects_are_refused_in_the_same_words() {
    conforms("refusals", scripts::refusals()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_do_the_same_and_own_the_same() {
    conforms("patches", scripts::patches()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_tables_are_the_same() {
    conforms("lists", scripts::lists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_finalizers_behave_the_same() {
    conforms("status", scripts::status()).await;
}
