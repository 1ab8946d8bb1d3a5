//! Object metadata: what only the server sets, what a client may write, and whether two states differ.

use std::sync::LazyLock;

use kube::core::response::StatusCause;
use serde_json::{Map, Value};

use crate::status::cause;
use crate::{clock, ids};

/// Largest sum of keys and values of annotations, in bytes.
const ANNOTATIONS: usize = 256 << 10;
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

static NULL: LazyLock<Value> = LazyLock::new(|| Value::Null);

/// Fields only the server sets, once.
const SERVERS: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
];

/// Prepares the metadata of a new object.
pub fn create(object: &mut Value, counts_generations: bool) {
    let Some(meta) = object["metadata"].as_object_mut() else {
        return;
    };
    for name in SERVERS {
        meta.remove(*name);
    }
    meta.remove("selfLink");
    drop_empty(meta);
    meta.insert("uid".to_owned(), Value::from(ids::uid()));
    meta.insert("creationTimestamp".to_owned(), Value::from(clock::now()));
    if counts_generations {
        meta.insert("generation".to_owned(), Value::from(1));
    }
}

/// Puts back what only the server sets.
pub fn keep_servers(old: &Value, new: &mut Value) {
    let Some(meta) = new["metadata"].as_object_mut() else {
        return;
    };
    for name in SERVERS {
        match old["metadata"].get(*name) {
            Some(value) => meta.insert((*name).to_owned(), value.clone()),
            None => meta.remove(*name),
        };
    }
    meta.remove("selfLink");
    drop_empty(meta);
    if let (false, Some(owners)) = (
        meta.contains_key("managedFields"),
        old["metadata"].get("managedFields"),
    ) {
        meta.insert("managedFields".to_owned(), owners.clone());
    }
}

/// Empty maps and lists, and nulls, stand for absence.
fn drop_empty(meta: &mut Map<String, Value>) {
    meta.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
}

/// The finalizers.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Whether two states of an object are the same but for times in its managed fields.
pub fn same(old: &Value, new: &Value) -> bool {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else {
        return old == new;
    };
    let outside = |map: &'_ Map<String, Value>| map.iter().filter(|(k, _)| *k != "metadata").count();
    if outside(a) != outside(b) || a.iter().any(|(k, v)| k != "metadata" && b.get(k) != Some(v)) {
        return false;
    }
    let (a, b) = (&old["metadata"], &new["metadata"]);
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    let rest = |map: &'_ Map<String, Value>| map.iter().filter(|(k, _)| *k != "managedFields").count();
    rest(a) == rest(b)
        && a.iter().all(|(k, v)| k == "managedFields" || b.get(k) == Some(v))
        && same_owners(a.get("managedFields"), b.get("managedFields"))
}

fn same_owners(a: Option<&Value>, b: Option<&Value>) -> bool {
    let empty = Vec::new();
    let list = |value: Option<&'_ Value>| {
        value
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_else(|| empty.clone())
    };
    let (a, b) = (list(a), list(b));
    let but_time = |x: &Value, y: &Value| {
        ["manager", "operation", "apiVersion", "subresource", "fieldsV1"]
            .iter()
            .all(|name| x.get(*name) == y.get(*name))
    };
    a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| but_time(x, y))
}

/// What is wrong with the metadata of an object.
pub fn validate(object: &Value, old: Option<&Value>) -> Vec<StatusCause> {
    let meta = object.get("metadata").unwrap_or(&NULL);
    let mut causes = Vec::new();
    let mut bad = |field: &str, value: &str, why: &str| {
        causes.push(cause(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value:?}: {why}"),
        ));
    };
    let name = meta["name"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    if old.is_none() {
        // Roles and bindings may have almost any name that fits into a path.
        let rbac = object["apiVersion"]
            .as_str()
            .is_some_and(|v| v.starts_with("rbac."));
        if rbac {
            if name.contains(['/', '%']) || name == "." || name == ".." {
                bad("metadata.name", name, "may not contain '/' or '%'");
            }
        } else if kind == "Namespace" {
            if !is_label(name) {
                bad("metadata.name", name, LABEL);
            }
        } else if !is_subdomain(name) {
            bad("metadata.name", name, SUBDOMAIN);
        }
    }
    for (key, value) in meta["labels"].as_object().into_iter().flatten() {
        if !is_qualified(key) {
            bad("metadata.labels", key, QUALIFIED);
        }
        let value = value.as_str().unwrap_or_default();
        if !is_label_value(value) {
            bad("metadata.labels", value, LABEL_VALUE);
        }
    }
    let mut size = 0;
    for (key, value) in meta["annotations"].as_object().into_iter().flatten() {
        if !is_qualified(&key.to_lowercase()) {
            bad("metadata.annotations", key, QUALIFIED);
        }
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS {
        causes.push(cause(
            "FieldValueTooLong",
            "metadata.annotations",
            format!("Too long: may not be more than {ANNOTATIONS} bytes"),
        ));
    }
    causes.extend(finalizers_added_while_deleting(object, old));
    causes
}

/// An object on its way out takes no new finalizers.
fn finalizers_added_while_deleting(object: &Value, old: Option<&Value>) -> Option<StatusCause> {
    let old = old.filter(|old| !old["metadata"]["deletionTimestamp"].is_null())?;
    let before = finalizers(old);
    let added: Vec<&str> = finalizers(object)
        .into_iter()
        .filter(|f| !before.contains(f))
        .collect();
    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    (!added.is_empty()).then(|| cause("FieldValueForbidden", "metadata.finalizers", message))
}

fn edges(text: &str, inner: impl Fn(u8) -> bool, edge: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

fn is_label(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 63 && edges(text, |b| edge(b) || b == b'-', edge)
}

fn is_subdomain(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 253
        && text
            .split('.')
            .all(|part| edges(part, |b| edge(b) || b == b'-', edge))
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

fn is_name_part(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_alphanumeric();
    text.len() <= 63 && edges(text, |b| edge(b) || matches!(b, b'-' | b'_' | b'.'), edge)
}

fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name_part(name),
        None => is_name_part(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_labels_follow_the_rules_of_kubernetes() {
        let of = |meta: Value| {
            validate(
                &json!({"kind": "Run", "apiVersion": "a/v1", "metadata": meta}),
                None,
            )
            .len()
        };
        assert_eq!(
            of(json!({"name": "a.b-c", "labels": {"signoff.dev/run": "Ab_1.2"}})),
            0
        );
        assert_eq!(of(json!({"name": "Upper"})), 1);
        assert_eq!(of(json!({"name": "a", "labels": {"-x": "v", "k": "-v"}})), 2);
        assert_eq!(of(json!({"name": ""})), 1);
    }

    #[test]
    fn only_times_of_managed_fields_do_not_count_as_a_change() {
        let at = |time: &str, data: &str| json!({"metadata": {"name": "a", "managedFields": [{"manager": "m", "time": time}]}, "data": data});
        assert!(same(&at("1", "x"), &at("2", "x")));
        assert!(!same(&at("1", "x"), &at("1", "y")));
    }
}
