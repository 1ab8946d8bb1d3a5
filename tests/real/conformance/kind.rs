//! The kind the scenarios use: one of each thing a definition can ask of its server.

use kube::{Client, api::Api};
use serde_json::{Value, json};

use crate::support::local::{PATIENCE, eventually};

pub use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition as Definition;

/// The definition.
pub fn gadget() -> Definition {
    let spec = json!({
        "type": "object",
        "required": ["color"],
        "properties": {
            "color": {"type": "string", "enum": ["red", "green", "blue"]},
            "size": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 3},
            "label": {"type": "string", "maxLength": 8, "pattern": "^[a-z]*$"},
            "fixed": {"type": "string", "maxLength": 8, "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "it is fixed"}]},
            "tags": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set",
                "items": {"type": "string", "maxLength": 8}},
            "order": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "atomic", "items": {"type": "integer"}},
            "parts": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string", "maxLength": 8}, "count": {"type": "integer", "default": 1}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "map": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "string"}},
            "either": {"x-kubernetes-int-or-string": true},
            "until": {"type": "string", "format": "date-time"},
            "maybe": {"type": "string", "nullable": true},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.label) || self.size > 1", "message": "a labelled one is larger than 1", "fieldPath": ".size"},
            {"rule": "has(self.fixed) || !has(oldSelf.fixed)", "message": "what is fixed stays", "reason": "FieldValueForbidden"}],
    });
    let status = json!({"type": "object", "properties": {
        "phase": {"type": "string"}, "count": {"type": "integer"}}});
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.conformance.dev"},
        "spec": {
            "group": "conformance.dev", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList",
                "shortNames": ["gd"], "categories": ["tests"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "additionalPrinterColumns": [
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "description": "Where it is"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
            }],
        },
    }))
    .unwrap()
}

/// Registers the definitions with a server that takes them as objects, and waits until it serves them.
pub async fn establish(admin: Client, definition: &Definition) {
    let name = definition.metadata.name.clone().unwrap_or_default();
    let api: Api<Definition> = Api::all(admin.clone());
    match api.create(&kube::api::PostParams::default(), definition).await {
        Ok(_) => {}
        // another scenario was first
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("{name} is not accepted: {error}"),
    }
    let established = kube::runtime::wait::conditions::is_crd_established();
    let waited = kube::runtime::wait::await_condition(api, &name, established);
    tokio::time::timeout(PATIENCE, waited).await.unwrap().unwrap();
    // it is established a moment before it is served
    let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
    let path = format!("/apis/{group}/{}/{plural}", definition.spec.versions[0].name);
    eventually("the kind to be served", async || {
        let list = http::Request::get(&path).body(Vec::new()).unwrap();
        admin.request::<Value>(list).await.is_ok()
    })
    .await;
}

/// A gadget with this specification.
pub fn object(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "conformance.dev/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec})
}
