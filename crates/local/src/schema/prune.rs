//! Removing what a schema does not know.

use serde_json::{Map, Value};

use crate::openapi::core;

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Removes unknown fields and gives their paths. `custom` is for structural schemas, in which an object
/// without properties has none; in core kinds it may hold anything, and a null stands for absence.
pub(super) fn prune(schema: &Value, custom: bool, object: &mut Value) -> Vec<String> {
    let mut pruning = Pruning {
        custom,
        unknown: Vec::new(),
    };
    let Some(map) = object.as_object_mut() else {
        return Vec::new();
    };
    // The three fields that every object has; the schema of a definition does not spell them out.
    let own: Vec<_> = ["apiVersion", "kind", "metadata"]
        .into_iter()
        .filter_map(|n| map.remove_entry(n))
        .collect();
    pruning.object(schema, map, "");
    for (name, mut value) in own {
        if let ("metadata", Some(schema), Some(meta)) = (
            name.as_str(),
            core::definition(OBJECT_META),
            value.as_object_mut(),
        ) {
            let mut inner = Pruning {
                custom: false,
                unknown: Vec::new(),
            };
            inner.object(schema, meta, "metadata");
            pruning.unknown.extend(inner.unknown);
        }
        map.insert(name, value);
    }
    pruning.unknown
}

struct Pruning {
    custom: bool,
    unknown: Vec<String>,
}

impl Pruning {
    fn value(&mut self, schema: &Value, value: &mut Value, path: &str) {
        let schema = resolve(schema);
        match value {
            Value::Object(map) => self.object(schema, map, path),
            Value::Array(list) => {
                let Some(items) = schema.get("items") else { return };
                for (index, item) in list.iter_mut().enumerate() {
                    self.value(items, item, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, schema: &Value, map: &mut Map<String, Value>, path: &str) {
        let schema = resolve(schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        let open = schema[PRESERVE] == true
            || additional.is_some_and(|a| *a != Value::Bool(false))
            || schema.get("type").is_none() && properties.is_none()
            || !self.custom && properties.is_none();
        map.retain(|name, value| {
            let at = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if !self.custom && value.is_null() {
                return false;
            }
            if let Some(known) = properties.and_then(|p| p.get(name)) {
                self.value(known, value, &at);
                return true;
            }
            if let Some(additional) = additional.filter(|a| a.is_object()) {
                self.value(additional, value, &at);
            }
            if !open {
                self.unknown.push(at);
            }
            open
        });
    }
}

/// Follows a reference to another definition, alone or as the only part of `allOf`.
pub fn resolve(schema: &Value) -> &Value {
    let mut found = schema;
    // Definitions refer to each other a few levels deep at most.
    for _ in 0..8 {
        let reference = found
            .get("$ref")
            .or_else(|| found.get("allOf")?.get(0)?.get("$ref"));
        let name = reference
            .and_then(Value::as_str)
            .and_then(|r| r.rsplit('/').next());
        match name.and_then(core::definition) {
            Some(definition) => found = definition,
            None => break,
        }
    }
    found
}
