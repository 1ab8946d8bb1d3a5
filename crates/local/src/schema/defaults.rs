//! Filling in defaults.

use serde_json::Value;

/// Fills in the defaults of a schema, also within what was filled in.
pub(super) fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let absent = match map.get(name) {
                    None => true,
                    Some(Value::Null) => property["nullable"] != true,
                    Some(_) => false,
                };
                if absent && let Some(default) = property.get("default") {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(inner) = map.get_mut(name) {
                    fill(property, inner);
                }
            }
            if let Some(additional) = schema.get("additionalProperties").filter(|a| a.is_object()) {
                let known = schema["properties"].as_object();
                for (_, inner) in map
                    .iter_mut()
                    .filter(|(name, _)| known.is_none_or(|k| !k.contains_key(*name)))
                {
                    fill(additional, inner);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                for item in list {
                    fill(items, item);
                }
            }
        }
        _ => {}
    }
}
