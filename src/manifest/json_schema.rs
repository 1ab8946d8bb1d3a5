//! From the `OpenAPI` dialect of Kubernetes to JSON Schema.

use serde_json::{Map, Value, json};

/// Says that any field may be in an object.
const FREE: &str = "x-kubernetes-preserve-unknown-fields";

/// Whether fields that an object does not have are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They are not looked at. Where any field may be, the schema still says so.
    Kept,
    /// They are refused, as a strict API server does.
    Refused,
}

/// A schema of Kubernetes as one of JSON Schema, which has other words for some things.
pub fn json_schema(schema: Value, unknown: Unknown) -> Value {
    let Value::Object(schema) = schema else {
        return schema;
    };
    let is = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let (is_free, is_either) = (is(FREE), is("x-kubernetes-int-or-string"));
    let is_nullable = is("nullable");
    let mut out = Map::new();
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("nullable", _) => {}
            ("properties", Value::Object(fields)) => {
                let fields = fields.into_iter();
                let fields = fields.map(|(name, field)| (name, json_schema(field, unknown)));
                out.insert(key, Value::Object(fields.collect()));
            }
            ("items" | "additionalProperties", value) => {
                out.insert(key, json_schema(value, unknown));
            }
            (FREE, value) if unknown == Unknown::Kept => {
                out.insert(key, value);
            }
            // rules of the API server
            (other, _) if other.starts_with("x-kubernetes-") => {}
            (_, value) => {
                out.insert(key, value);
            }
        }
    }
    if out.get("format").and_then(Value::as_str) == Some("int64") {
        // JSON has larger numbers, which nobody reads as integers
        out.entry("minimum").or_insert(json!(i64::MIN));
        out.entry("maximum").or_insert(json!(i64::MAX));
    }
    if is_either {
        out.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if is_nullable {
        take_null(&mut out);
    }
    let is_closed = unknown == Unknown::Refused && !is_free;
    if is_closed && out.contains_key("properties") && !out.contains_key("additionalProperties") {
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Value::Object(out)
}

fn take_null(schema: &mut Map<String, Value>) {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.clone(), "null"]),
        None => {}
    }
    if let Some(Value::Array(options)) = schema.get_mut("enum")
        && !options.contains(&Value::Null)
    {
        options.push(Value::Null);
    }
}
