//! What the servers say of their kinds: aggregated discovery and `OpenAPI`.

use serde_json::{Map, Value, json};

use super::hold;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Core kinds of which the whole row of discovery is the same; those of the `core` group.
const CORE: &[&str] = &[
    "namespaces",
    "secrets",
    "configmaps",
    "events",
    "leases",
    "roles",
    "rolebindings",
    "clusterroles",
];

/// The groups' rows of these resources, each list in the order of names.
fn rows(mut document: Value, group: &str, only: &[&str]) -> Value {
    let groups = document["items"].as_array_mut().unwrap();
    groups.retain(|it| it["metadata"]["name"].as_str().unwrap_or_default() == group);
    for it in groups {
        it["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("creationTimestamp");
        let rows = it["versions"][0]["resources"].as_array_mut().unwrap();
        rows.retain(|row| only.is_empty() || only.iter().any(|name| row["resource"] == **name));
        rows.sort_by_key(|row| row["resource"].to_string());
        for row in rows {
            sort(row);
        }
    }
    document
}

fn sort(row: &mut Value) {
    if let Some(verbs) = row["verbs"].as_array_mut() {
        verbs.sort_by_key(Value::to_string);
    }
    // of core kinds it is empty on a real server, which then means the group and version it is listed in
    if let Some(kind) = row.get_mut("responseKind") {
        *kind = kind["kind"].clone();
    }
    if let Some(parts) = row.get_mut("subresources").and_then(Value::as_array_mut) {
        // that of namespaces is for what empties them
        parts.retain(|part| part["subresource"] != "finalize");
    }
    for inner in row
        .get_mut("subresources")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        sort(inner);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregated_discovery_has_the_same_rows() {
    hold("aggregated_discovery", async |s| {
        for group in ["conformance.dev", "signoff.dev"] {
            s.part("/apis", AGGREGATED, group, |answer| rows(answer, group, &[]))
                .await;
        }
        for group in ["coordination.k8s.io", "rbac.authorization.k8s.io"] {
            s.part("/apis", AGGREGATED, group, |answer| rows(answer, group, CORE))
                .await;
        }
        s.part("/api", AGGREGATED, "core", |answer| rows(answer, "", CORE))
            .await;
        // an older form, which the newest servers do not have, and none that is known
        for accept in
            ["application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json"]
        {
            s.part("/apis", accept, "kind", |answer| answer["kind"].clone())
                .await;
        }
    })
    .await;
}

/// What clients go by: for each path what may be done there on which kind, and whether writes take the options that matter.
fn paths(document: &Value, plural: &str) -> Value {
    let all = document["paths"].as_object().unwrap();
    let of_kind = |path: &&String| path.split('/').any(|part| part == plural) && !path.contains("/watch/");
    let mut found = Map::new();
    for path in all.keys().filter(of_kind) {
        let mut operations = Map::new();
        for method in ["get", "post", "put", "patch", "delete"] {
            let operation = &all[path][method];
            if operation.is_null() {
                continue;
            }
            let known = ["dryRun", "fieldManager", "fieldValidation", "force"];
            let takes = |name: &&str| {
                let parameters = operation["parameters"].as_array();
                parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == **name))
            };
            let takes: Vec<_> = known.iter().filter(|name| takes(name)).collect();
            let gvk = &operation["x-kubernetes-group-version-kind"];
            let mut told = json!({"action": operation["x-kubernetes-action"], "kind": gvk});
            if method != "get" && method != "delete" {
                told["takes"] = json!(takes);
            }
            operations.insert(method.to_owned(), told);
        }
        found.insert(path.clone(), json!(operations));
    }
    json!(found)
}

/// The schema without what is said of every object in the same words.
fn schema(document: &Value, name: &str) -> Value {
    let mut schema = document["components"]["schemas"][name].clone();
    for field in ["apiVersion", "kind", "metadata"] {
        schema["properties"][field] = json!(schema["properties"][field].is_object());
    }
    schema
}

/// The schema of one of our kinds, as its definition has it.
fn definition(kind: &str) -> Value {
    let crds = signoff_api::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = crd.spec.versions[0].schema.as_ref().unwrap();
    serde_json::to_value(&schema.open_api_v3_schema).unwrap()
}

/// What is published, without the parts that are as they were defined: the definitions have tests of their own.
fn as_defined(mut published: Value, definition: &Value) -> Value {
    for part in ["spec", "status"] {
        let found = &mut published["properties"][part];
        plain(found);
        let mut defined = definition["properties"][part].clone();
        plain(&mut defined);
        if *found == defined {
            *found = json!("as defined");
        }
    }
    published
}

/// Numbers that are whole as such, and the extension for numbers or text not spelled out.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.contains_key("x-kubernetes-int-or-string") {
                map.remove("anyOf");
            }
            map.values_mut().for_each(plain);
        }
        Value::Array(list) => list.iter_mut().for_each(plain),
        Value::Number(number) => {
            if let Some(float) = number.as_f64() {
                *schema = json!(float);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_api_has_the_paths_and_the_schemas_of_our_kinds() {
    hold("openapi", async |s| {
        let signoff = "/openapi/v3/apis/signoff.dev/v1alpha1";
        let conformance = "/openapi/v3/apis/conformance.dev/v1";
        let json = "application/json";
        s.published(conformance, "dev.conformance.v1.Gadget").await;
        s.part(conformance, json, "gadgets", |it| paths(&it, "gadgets"))
            .await;
        s.part(conformance, json, "Gadget", |it| {
            schema(&it, "dev.conformance.v1.Gadget")
        })
        .await;
        for (plural, kind) in [
            ("approvals", "Approval"),
            ("connections", "Connection"),
            ("decisions", "Decision"),
            ("flows", "Flow"),
            ("releases", "Release"),
            ("repositories", "Repository"),
            ("runs", "Run"),
        ] {
            let name = format!("dev.signoff.v1alpha1.{kind}");
            s.published(signoff, &name).await;
            s.part(signoff, json, plural, |it| paths(&it, plural)).await;
            let defined = definition(kind);
            s.part(signoff, json, kind, |it| as_defined(schema(&it, &name), &defined))
                .await;
        }
        for root in [
            "api/v1",
            "apis/signoff.dev/v1alpha1",
            "apis/coordination.k8s.io/v1",
        ] {
            s.part("/openapi/v3", json, root, |it| {
                json!(it["paths"][root]["serverRelativeURL"].is_string())
            })
            .await;
        }
    })
    .await;
}
