//! Strategic merge: a merge patch that knows by which field the items of a list are told apart.

use serde_json::{Map, Value};

use super::PatchError;

/// Lists of core kinds that are merged, with the field that tells their items apart; an empty field stands
/// for lists of plain values.
const MERGED: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
    ("imagePullSecrets", "name"),
    ("secrets", "name"),
    ("conditions", "type"),
    ("ownerReferences", "uid"),
    ("finalizers", ""),
];
const PATCH: &str = "$patch";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN: &str = "$retainKeys";

/// Applies a strategic merge patch to an object of a core kind.
pub fn strategic_merge_patch(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    match (current, patch) {
        (Value::Object(old), Value::Object(patch)) => Ok(Value::Object(object(old, patch)?)),
        _ => Err(PatchError::Malformed(
            "a strategic merge patch is an object".to_owned(),
        )),
    }
}

fn object(old: &Map<String, Value>, patch: &Map<String, Value>) -> Result<Map<String, Value>, PatchError> {
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            return Ok(patch
                .iter()
                .filter(|(k, _)| *k != PATCH)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect());
        }
        Some("delete") => return Ok(Map::new()),
        Some("merge") | None => {}
        Some(other) => return Err(PatchError::Malformed(format!("unknown patch type: {other}"))),
    }
    let mut new = old.clone();
    if let Some(Value::Array(keep)) = patch.get(RETAIN) {
        new.retain(|name, _| keep.iter().any(|k| k == name));
    }
    for (name, value) in patch {
        if name == PATCH || name == RETAIN || name.starts_with(ORDER) {
            continue;
        }
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (new.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        let merged = match (new.get(name), value) {
            (_, Value::Null) => {
                new.remove(name);
                continue;
            }
            (Some(Value::Object(old)), Value::Object(patch)) => Value::Object(object(old, patch)?),
            (None, Value::Object(patch)) => Value::Object(object(&Map::new(), patch)?),
            (Some(Value::Array(old)), Value::Array(patch)) => Value::Array(list(name, old, patch)?),
            (None, Value::Array(patch)) => Value::Array(list(name, &[], patch)?),
            _ => value.clone(),
        };
        new.insert(name.clone(), merged);
    }
    Ok(new)
}

fn list(name: &str, old: &[Value], patch: &[Value]) -> Result<Vec<Value>, PatchError> {
    let Some((_, key)) = MERGED.iter().find(|(list, _)| *list == name) else {
        return Ok(patch.to_vec());
    };
    if patch.iter().any(|item| item[PATCH] == "replace") {
        return Ok(patch
            .iter()
            .filter(|item| item[PATCH] != "replace")
            .cloned()
            .collect());
    }
    let mut new = old.to_vec();
    if key.is_empty() {
        new.extend(patch.iter().filter(|item| !old.contains(item)).cloned());
        return Ok(new);
    }
    for item in patch {
        let Some(change) = item.as_object() else {
            return Err(PatchError::Malformed(format!(
                "an item of {name} is not an object"
            )));
        };
        if item[*key].is_null() {
            return Err(PatchError::Malformed(format!(
                "an item of {name} does not say its merge key: {key}"
            )));
        }
        let found = new.iter().position(|was| was[*key] == item[*key]);
        match (found, item[PATCH].as_str()) {
            (Some(index), Some("delete")) => {
                new.remove(index);
            }
            (None, Some("delete")) => {}
            (Some(index), _) => {
                let was = new[index].as_object().cloned().unwrap_or_default();
                new[index] = Value::Object(object(&was, change)?);
            }
            (None, _) => new.push(Value::Object(object(&Map::new(), change)?)),
        }
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_with_a_merge_key_are_merged_others_replaced() {
        let pod =
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}], "args": ["x"]}});
        let patch = json!({"spec": {
            "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}],
            "args": ["y"],
        }});
        let expected =
            json!({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}], "args": ["y"]}});
        assert_eq!(strategic_merge_patch(&pod, &patch), Ok(expected));
    }

    #[test]
    fn directives_delete_replace_and_retain() {
        let object = json!({"metadata": {"finalizers": ["a", "b"]}, "data": {"x": "1", "y": "2"}});
        let patch = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b"]},
            "data": {"$patch": "replace", "z": "3"},
        });
        let expected = json!({"metadata": {"finalizers": ["b"]}, "data": {"z": "3"}});
        assert_eq!(strategic_merge_patch(&object, &patch), Ok(expected));
        assert!(strategic_merge_patch(&object, &json!({"data": {"$patch": "nonsense"}})).is_err());
    }
}
