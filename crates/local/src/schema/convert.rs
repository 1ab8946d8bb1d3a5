//! From the `OpenAPI` dialect of Kubernetes to JSON Schema.

use serde_json::{Map, Value, json};

use crate::openapi::core;

/// The schema as JSON Schema (draft 4); `with_core` adds the definitions that core kinds refer to.
pub(super) fn json_schema(schema: &Value, with_core: bool) -> Value {
    let mut converted = convert(schema);
    if with_core {
        let definitions: Map<String, Value> = core::definitions()
            .map(|(name, definition)| (name.clone(), convert(definition)))
            .collect();
        converted["components"] = json!({"schemas": definitions});
    }
    converted
}

fn convert(schema: &Value) -> Value {
    let Some(map) = schema.as_object() else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (key, value) in map {
        let converted = match key.as_str() {
            // What people read, and what is checked elsewhere.
            "description" | "title" | "default" | "example" | "x-kubernetes-validations" => continue,
            "properties" => value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, inner)| (name.clone(), convert(inner)))
                .collect(),
            "items" | "not" | "additionalProperties" => convert(value),
            "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().map(convert).collect(),
            _ => value.clone(),
        };
        out.insert(key.clone(), converted);
    }
    if out.get("format").and_then(Value::as_str) == Some("int64") {
        // JSON has larger numbers, which an API server reads as fractions and nobody reads as integers
        out.entry("minimum").or_insert(json!(i64::MIN));
        out.entry("maximum").or_insert(json!(i64::MAX));
    }
    if out.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        let types = if out.get("nullable") == Some(&Value::Bool(true)) {
            json!(["integer", "string", "null"])
        } else {
            json!(["integer", "string"])
        };
        out.insert("type".to_owned(), types);
    }
    if out.get("nullable") == Some(&Value::Bool(true)) {
        if let Some(Value::String(of)) = out.get("type") {
            let with_null = json!([of, "null"]);
            out.insert("type".to_owned(), with_null);
        }
        if let Some(Value::Array(options)) = out.get_mut("enum")
            && !options.contains(&Value::Null)
        {
            options.push(Value::Null);
        }
    }
    Value::Object(out)
}
