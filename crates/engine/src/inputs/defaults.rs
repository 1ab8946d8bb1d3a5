//! Fills in the defaults of a schema.

use serde_json::Value;

use super::declared::applying;

/// Adds every property that is absent and has a default, at every depth. The schema was compiled, so that it does not refer
/// to itself.
pub(super) fn fill(schema: &Value, value: &mut Value) {
    fill_below(schema, schema, value);
}

fn fill_below(root: &Value, schema: &Value, value: &mut Value) {
    for part in applying(root, schema) {
        match value {
            Value::Object(fields) => {
                for (name, property) in part["properties"].as_object().into_iter().flatten() {
                    if !fields.contains_key(name)
                        && let Some(default) = default(root, property)
                    {
                        fields.insert(name.clone(), default.clone());
                    }
                    if let Some(field) = fields.get_mut(name) {
                        fill_below(root, property, field);
                    }
                }
            }
            Value::Array(items) if part["items"].is_object() => {
                for item in items {
                    fill_below(root, &part["items"], item);
                }
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn default<'a>(root: &'a Value, property: &'a Value) -> Option<&'a Value> {
    applying(root, property)
        .into_iter()
        .find_map(|part| part.get("default"))
}
