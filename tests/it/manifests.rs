//! `signoff validate` and an API server say the same of a manifest: what one refuses, the other does.

use kube::Client;
use serde_json::{Value, json};

use crate::support::{
    draw::{Draw, Kind, kinds, least, leaves, poisons, with},
    local::Local,
};

/// Kinds that users write without a policy that looks at who they are.
const KINDS: [&str; 1] = ["Flow"];
/// How many objects of each kind are drawn.
const DRAWN: usize = 150;

fn named(kind: &Kind, mut object: Value) -> Value {
    object["apiVersion"] = json!("signoff.dev/v1alpha1");
    object["kind"] = json!(kind.name);
    object["metadata"] = json!({ "name": "drawn" });
    object.as_object_mut().unwrap().remove("status");
    object
}

/// Every place in a value, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The drawn objects, the same with one field null, and each field at and beyond its bounds.
fn manifests(kind: &Kind) -> Vec<Value> {
    let mut draw = Draw::default();
    let mut all = Vec::new();
    for _ in 0..DRAWN {
        let object = named(kind, draw.value(&kind.schema, 0));
        let mut found = Vec::new();
        places(&object["spec"], "/spec", &mut found);
        for place in found.iter().step_by(found.len().div_ceil(4)).skip(1) {
            let mut holed = object.clone();
            *holed.pointer_mut(place).unwrap() = Value::Null;
            all.push(holed);
        }
        all.push(object);
    }
    for field in leaves(&kind.schema)
        .iter()
        .filter(|field| field.path[0] == "spec")
    {
        for poison in poisons(&field.schema) {
            let Ok(value) = serde_json::from_str::<Value>(&poison) else {
                continue;
            };
            if poison.len() > 5_000 || poison.starts_with("{\"a\":[") || poison.starts_with("[[") {
                continue;
            }
            let mut object = named(kind, with(&kind.schema, &field.path, &value));
            if object["spec"].is_null() {
                object["spec"] = least(&kind.schema["properties"]["spec"]);
            }
            all.push(object);
        }
    }
    all
}

/// Whether an API server takes an object, and why not.
async fn refusal(client: &Client, kind: &Kind, object: &Value) -> Option<String> {
    let path = format!(
        "/apis/signoff.dev/v1alpha1/namespaces/default/{}?dryRun=All&fieldValidation=Strict",
        kind.plural
    );
    let request = http::Request::builder()
        .method("POST")
        .uri(path)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    match client.request_text(request).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(status.message.clone()),
        Err(error) => panic!("{error}: {object}"),
    }
}

/// What is said of an object beside what an API server cannot know: expressions, and how steps fit together.
fn problems(kind: &Kind, object: &Value) -> Vec<String> {
    let told = |problems: Vec<signoff::manifest::FieldProblem>| -> Vec<String> {
        let told = problems.into_iter();
        told.map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect()
    };
    let all = told(signoff::manifest::check(object));
    let spec = serde_json::from_value::<signoff_api::FlowSpec>(object["spec"].clone());
    let of_plan = match spec {
        Ok(spec) if kind.name == "Flow" => told(signoff::manifest::plan_problems(&spec.definition)),
        Ok(_) | Err(_) => vec![],
    };
    all.into_iter()
        .filter(|problem| !of_plan.contains(problem))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_valid_if_and_only_if_an_api_server_takes_it() {
    let local = Local::start().await;
    let client = local.client();
    let (mut taken, mut refused, mut wrong) = (0, 0, Vec::new());
    for kind in kinds().iter().filter(|kind| KINDS.contains(&kind.name.as_str())) {
        for object in manifests(kind) {
            let refusal = refusal(&client, kind, &object).await;
            let problems = problems(kind, &object);
            match (&refusal, problems.is_empty()) {
                (None, true) => taken += 1,
                (Some(_), false) => refused += 1,
                (None, false) => {
                    wrong.push(format!("only validate refuses: {problems:?}: {}", object["spec"]));
                }
                (Some(why), true) => {
                    // what the plan finds, a server may find as well
                    if signoff::manifest::check(&object).is_empty() {
                        wrong.push(format!("only the server refuses: {why}: {}", object["spec"]));
                    }
                }
            }
        }
    }
    let count = wrong.len();
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{count} differ: {wrong:#?}");
    assert!(taken > 50 && refused > 200, "{taken} taken, {refused} refused");
}
