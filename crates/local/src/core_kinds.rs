//! The few things core kinds do by themselves when they are written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::registry::ResourceKind;

/// Prepares a new object of a core kind; other kinds are left alone.
pub fn create(kind: &ResourceKind, object: &mut Value) {
    if !kind.group.is_empty() {
        return;
    }
    match kind.kind.as_str() {
        "Namespace" => {
            named(object);
            // the server's own, see `created`
            if let Some(map) = object.as_object_mut() {
                map.remove("spec");
                map.remove("status");
            }
        }
        "Secret" => {
            secret(object);
            if object["type"].is_null() {
                object["type"] = json!("Opaque");
            }
        }
        _ => {}
    }
}

/// Completes a new object with what is the server's own, and nobody's who sent it.
pub fn created(kind: &ResourceKind, object: &mut Value) {
    if kind.group.is_empty() && kind.kind == "Namespace" {
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        object["status"] = json!({"phase": "Active"});
    }
}

/// A namespace can be selected by its name.
fn named(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
}

/// Prepares a changed object of a core kind.
pub fn update(kind: &ResourceKind, old: &Value, object: &mut Value) {
    if !kind.group.is_empty() {
        return;
    }
    match kind.kind.as_str() {
        "Namespace" => {
            named(object);
            object["spec"] = old["spec"].clone();
        }
        "Secret" => {
            secret(object);
            if object["type"].is_null() {
                object["type"] = old["type"].clone();
            }
        }
        _ => {}
    }
}

/// Moves `stringData`, which is only for writing, into `data`.
fn secret(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(text)) = map.remove("stringData") else {
        return;
    };
    let data = map.entry("data").or_insert_with(|| json!({}));
    for (key, value) in text {
        data[key] = Value::from(STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}
