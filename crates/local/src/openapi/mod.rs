//! `OpenAPI` v3 documents, one per group and version: what `kubectl explain` shows and what tells kubectl that
//! the server itself validates fields.

pub mod core;
pub mod v2;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::registry::{Registry, ResourceKind};

const REF: &str = "#/components/schemas/";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Every document, rendered once: they change only with the registry.
#[derive(Debug)]
pub struct Documents {
    root: Value,
    documents: BTreeMap<String, String>,
}

impl Documents {
    /// Renders the documents of everything that is served.
    pub fn new(registry: &Registry) -> Self {
        let mut documents = BTreeMap::new();
        let mut paths = Map::new();
        for (group, version) in registry.groups() {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let document = document(registry, &group, &version).to_string();
            // Clients keep documents by this hash.
            let digest: [u8; 32] = Sha256::digest(&document).into();
            let hash = URL_SAFE_NO_PAD.encode(digest);
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path.clone(), json!({"serverRelativeURL": url}));
            documents.insert(path, document);
        }
        Self {
            root: json!({"paths": paths}),
            documents,
        }
    }

    /// `/openapi/v3`: where the documents are.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// The document at a path such as `apis/signoff.dev/v1alpha1`.
    pub fn document(&self, path: &str) -> Option<&str> {
        self.documents.get(path).map(String::as_str)
    }
}

fn document(registry: &Registry, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for kind in registry
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        add_paths(kind, &mut paths);
        match &kind.crd {
            Some(_) => {
                schemas.insert(component(kind), custom(kind));
            }
            None => {
                if let Some((name, mut schema)) = core::schema(kind) {
                    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind)]);
                    schemas.insert(name.to_owned(), schema);
                }
            }
        }
    }
    complete(&mut schemas);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn gvk(kind: &ResourceKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// `dev.signoff.v1alpha1.Run`.
fn component(kind: &ResourceKind) -> String {
    let reversed: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

/// The schema of a definition, with the fields every object has.
fn custom(kind: &ResourceKind) -> Value {
    let mut schema = kind.custom_schema().unwrap_or_else(|| json!({"type": "object"}));
    spell_out(&mut schema);
    if !kind.selectable_fields.is_empty() {
        let paths = kind
            .selectable_fields
            .iter()
            .map(|path| path.trim_start_matches('.'));
        let fields: Vec<Value> = paths.map(|path| json!({"fieldPath": path})).collect();
        schema["x-kubernetes-selectable-fields"] = json!(fields);
    }
    let fields = [
        (
            "apiVersion",
            json!({"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"}),
        ),
        (
            "kind",
            json!({"type": "string", "description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"}),
        ),
        (
            "metadata",
            json!({
                "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
                "allOf": [{"$ref": format!("{REF}{OBJECT_META}")}],
            }),
        ),
    ];
    for (name, field) in fields {
        schema["properties"][name] = field;
    }
    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind)]);
    schema
}

/// Says in plain `OpenAPI` what the extension for numbers or text says.
fn spell_out(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
                map.insert(
                    "anyOf".to_owned(),
                    json!([{"type": "integer"}, {"type": "string"}]),
                );
            }
            map.values_mut().for_each(spell_out);
        }
        Value::Array(list) => list.iter_mut().for_each(spell_out),
        _ => {}
    }
}

/// Adds every schema that others refer to.
fn complete(schemas: &mut Map<String, Value>) {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for schema in schemas.values() {
        references(schema, &mut wanted);
    }
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        if let Some(schema) = core::definition(&name) {
            references(schema, &mut wanted);
            schemas.insert(name, schema.clone());
        }
    }
}

fn references(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match (
                    key.as_str(),
                    value.as_str().and_then(|text| text.strip_prefix(REF)),
                ) {
                    ("$ref", Some(name)) => {
                        into.insert(name.to_owned());
                    }
                    _ => references(value, into),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

/// The paths of a kind. Clients look at them for the kind behind a resource and for the parameters of writes.
fn add_paths(kind: &ResourceKind, paths: &mut Map<String, Value>) {
    let base = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let collection = if kind.namespaced {
        format!("{base}/namespaces/{{namespace}}/{}", kind.plural)
    } else {
        format!("{base}/{}", kind.plural)
    };
    let of_kind = gvk(kind);
    let operations = |pairs: &[(&str, &str, &str)]| -> Value {
        let mut item = Map::new();
        for (method, verb, action) in pairs {
            if kind.allows(verb) {
                let mut operation = json!({
                    "x-kubernetes-action": action, "x-kubernetes-group-version-kind": of_kind,
                    "responses": {"200": {"description": "OK"}},
                });
                if matches!(*method, "post" | "put" | "patch") {
                    operation["parameters"] = write_parameters(*method == "patch");
                }
                item.insert((*method).to_owned(), operation);
            }
        }
        Value::Object(item)
    };
    let one = operations(&[
        ("get", "get", "get"),
        ("put", "update", "put"),
        ("patch", "patch", "patch"),
        ("delete", "delete", "delete"),
    ]);
    let all = operations(&[
        ("get", "list", "list"),
        ("post", "create", "post"),
        ("delete", "deletecollection", "deletecollection"),
    ]);
    if kind.namespaced && kind.allows("list") {
        let everywhere = operations(&[("get", "list", "list")]);
        paths.insert(format!("{base}/{}", kind.plural), everywhere);
    }
    if kind.status_subresource {
        let status = operations(&[
            ("get", "get", "get"),
            ("put", "update", "put"),
            ("patch", "patch", "patch"),
        ]);
        paths.insert(format!("{collection}/{{name}}/status"), status);
    }
    if !kind.is_review() {
        paths.insert(format!("{collection}/{{name}}"), one);
    }
    paths.insert(collection, all);
}

fn write_parameters(patch: bool) -> Value {
    let parameter = |name: &str, description: &str| {
        json!({
            "name": name, "in": "query", "description": description,
            "schema": {"type": "string", "uniqueItems": true},
        })
    };
    let mut parameters = vec![
        parameter("dryRun", "All: everything is done but the write."),
        parameter("fieldManager", "The name of who writes, for field ownership."),
        parameter(
            "fieldValidation",
            "What is done about unknown fields: Ignore, Warn or Strict.",
        ),
    ];
    if patch {
        let mut force = parameter("force", "Whether an apply takes over fields of other managers.");
        force["schema"]["type"] = json!("boolean");
        parameters.push(force);
    }
    json!(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Documents {
        Documents::new(&Registry::new(signoff_api::crds()))
    }

    fn parsed(path: &str) -> Value {
        serde_json::from_str(documents().document(path).unwrap()).unwrap()
    }

    #[test]
    fn a_document_has_the_fields_of_its_kinds_and_what_they_refer_to() {
        let document = parsed("apis/signoff.dev/v1alpha1");
        let schemas = &document["components"]["schemas"];
        let run = &schemas["dev.signoff.v1alpha1.Run"];
        assert!(run["properties"]["spec"]["properties"]["flow"]["description"].is_string());
        assert_eq!(run["x-kubernetes-group-version-kind"][0]["kind"], "Run");
        assert!(schemas[OBJECT_META]["properties"]["labels"].is_object());
        let core = parsed("api/v1");
        assert!(core["components"]["schemas"]["io.k8s.api.core.v1.Secret"]["properties"]["data"].is_object());
    }

    #[test]
    fn kubectl_finds_that_the_server_validates_fields() {
        let document = parsed("apis/signoff.dev/v1alpha1");
        let patch =
            &document["paths"]["/apis/signoff.dev/v1alpha1/namespaces/{namespace}/runs/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Run");
        assert!(
            patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|p| p["name"] == "fieldValidation")
        );
    }

    #[test]
    fn the_root_points_to_every_document() {
        let documents = documents();
        for (path, entry) in documents.root()["paths"].as_object().unwrap() {
            assert!(
                entry["serverRelativeURL"]
                    .as_str()
                    .unwrap()
                    .starts_with(&format!("/openapi/v3/{path}?hash="))
            );
            assert!(documents.document(path).is_some());
        }
    }
}
