//! Items that are there twice in a list whose items have to differ.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::FieldError;

/// The later of two items with the same keys in a list of type `map`, or with the same value in one of type `set`.
pub(super) fn find(schema: &Value, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, object, "", &mut errors);
    errors
}

fn walk(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let known = schema.get("properties").and_then(|p| p.get(name));
                if let Some(schema) = known.or_else(|| schema.get("additionalProperties")) {
                    let at = match (known, path) {
                        (Some(_), "") => name.clone(),
                        (Some(_), _) => format!("{path}.{name}"),
                        (None, _) => format!("{path}[{name}]"),
                    };
                    walk(schema, inner, &at, errors);
                }
            }
        }
        Value::Array(list) => {
            items(schema, list, path, errors);
            if let Some(schema) = schema.get("items") {
                for (index, item) in list.iter().enumerate() {
                    walk(schema, item, &format!("{path}[{index}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn items(schema: &Value, list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let identities: Vec<Value> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => list.to_vec(),
        Some("map") => {
            let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            list.iter().map(|item| identity(&keys, item)).collect()
        }
        _ => return,
    };
    let mut seen: HashMap<_, usize> = HashMap::new();
    for (index, identity) in identities.iter().enumerate() {
        let times = seen.entry(identity).or_default();
        *times += 1;
        // told once, however often it is there
        if *times == 2 {
            errors.push(FieldError {
                reason: "FieldValueDuplicate".to_owned(),
                field: format!("{path}[{index}]"),
                message: format!("Duplicate value: {identity}"),
            });
        }
    }
}

/// The keys of an item; one that is left out is no key.
fn identity(keys: &[&str], item: &Value) -> Value {
    let of = |key: &&str| Some(((*key).to_owned(), item.get(*key)?.clone()));
    Value::Object(keys.iter().filter_map(of).collect::<Map<_, _>>())
}
