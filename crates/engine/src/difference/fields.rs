//! Fields by path: a struct becomes a list of fields, and two lists become what changed.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use signoff_api::canonical;

/// One field that changed, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Path below the step or the definition, such as `http.body.order`.
    pub field: String,
    /// The value before; absent when the field was not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value after; absent when the field is not set any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// What it means when the field is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<&'static str>,
    /// Whether the field says who is asked, when, or what happens without an answer.
    pub control: bool,
}

/// One field of a struct: its path, its value, and what is to be known when it is compared.
#[derive(Debug)]
pub(crate) struct Field {
    path: &'static str,
    value: Option<Value>,
    default: Option<&'static str>,
    control: bool,
    named: bool,
}

impl Field {
    pub(crate) fn new(path: &'static str, content: Option<&impl Serialize>) -> Self {
        Self {
            path,
            value: content.map(value),
            default: None,
            control: false,
            named: false,
        }
    }

    pub(crate) fn required(path: &'static str, content: &impl Serialize) -> Self {
        Self::new(path, Some(content))
    }

    /// What it means when the field is not set.
    pub(crate) fn default(mut self, meaning: &'static str) -> Self {
        self.default = Some(meaning);
        self
    }

    /// The field belongs to who may approve what.
    pub(crate) fn control(self) -> Self {
        self.control_if(true)
    }

    pub(crate) fn control_if(mut self, control: bool) -> Self {
        self.control = control;
        self
    }

    /// The field is a list of objects that are known by their `name`.
    pub(crate) fn named(mut self) -> Self {
        self.named = true;
        self
    }
}

/// The JSON form of a part of a definition.
#[allow(
    clippy::expect_used,
    reason = "a part of a definition is made of strings, numbers, lists and maps with string keys, which always have a JSON form"
)]
pub(super) fn value(content: &impl Serialize) -> Value {
    serde_json::to_value(content).expect("a part of a definition has a JSON form")
}

/// What changed between the fields of two structs of one type; without one of them, everything that the other one sets.
pub(super) fn changes(old: Option<Vec<Field>>, new: Option<Vec<Field>>) -> Vec<FieldChange> {
    let (old, new) = (old.map(Vec::into_iter), new.map(Vec::into_iter));
    let mut found = Vec::new();
    match (old, new) {
        (Some(old), Some(new)) => old
            .zip(new)
            .for_each(|(old, new)| compare(&new, old.value.as_ref(), new.value.as_ref(), &mut found)),
        (Some(old), None) => old.for_each(|old| compare(&old, old.value.as_ref(), None, &mut found)),
        (None, Some(new)) => new.for_each(|new| compare(&new, None, new.value.as_ref(), &mut found)),
        (None, None) => {}
    }
    found
}

fn compare(field: &Field, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<FieldChange>) {
    let mut leaves = Vec::new();
    match (old.and_then(Value::as_array), new.and_then(Value::as_array)) {
        (Some(old), Some(new)) if field.named => by_name(field.path, old, new, &mut leaves),
        _ => tree(field.path.to_owned(), old, new, &mut leaves),
    }
    for leaf in &mut leaves {
        leaf.control = field.control;
        if leaf.field == field.path {
            leaf.default = field.default;
        }
    }
    found.append(&mut leaves);
}

/// The leaves in which two values differ. Objects are compared key by key, lists of one length item by item, everything else as a whole.
pub(super) fn tree(path: String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<FieldChange>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                tree(below(&path, key), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() && nested(old, new) => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                tree(format!("{path}[{i}]"), Some(old), Some(new), found);
            }
        }
        (Some(old), Some(new)) if same(old, new) => {}
        (None, None) => {}
        _ => found.push(leaf(path, old.cloned(), new.cloned())),
    }
}

/// Whether two values have one canonical form, as `1` and `1.0` do.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    canonical::bytes(one) == canonical::bytes(other)
}

pub(super) fn leaf(field: String, before: Option<Value>, after: Option<Value>) -> FieldChange {
    FieldChange {
        field,
        before,
        after,
        default: None,
        control: false,
    }
}

fn nested(old: &[Value], new: &[Value]) -> bool {
    old.iter()
        .chain(new)
        .any(|item| item.is_object() || item.is_array())
}

/// A key below a path: after a dot where it is a word, otherwise quoted.
pub(super) fn below(path: &str, key: &str) -> String {
    let word = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if word {
        format!("{path}.{key}")
    } else {
        format!("{path}[{}]", Value::from(key))
    }
}

/// Compares lists of objects by their names, so that an item put in front does not make all the others look changed.
fn by_name(path: &str, old: &[Value], new: &[Value], found: &mut Vec<FieldChange>) {
    let (Some(old_items), Some(new_items)) = (names(old), names(new)) else {
        return tree(path.to_owned(), Some(&old.into()), Some(&new.into()), found);
    };
    let old_of: Map<String, Value> = pick(&old_items, old);
    let new_of: Map<String, Value> = pick(&new_items, new);
    tree(
        path.to_owned(),
        Some(&Value::Object(old_of.clone())),
        Some(&Value::Object(new_of.clone())),
        found,
    );
    let kept = |items: &[&str], other: &Map<String, Value>| -> Vec<String> {
        let kept = items.iter().filter(|name| other.contains_key(**name));
        kept.map(|name| (*name).to_owned()).collect()
    };
    if kept(&old_items, &new_of) != kept(&new_items, &old_of) {
        found.push(leaf(
            path.to_owned(),
            Some(value(&old_items)),
            Some(value(&new_items)),
        ));
    }
}

/// The names of all items, if every item has one of its own.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> = items.iter().map(|item| item.get("name")?.as_str()).collect();
    names.filter(|names| names.iter().collect::<BTreeSet<_>>().len() == names.len())
}

fn pick(names: &[&str], items: &[Value]) -> Map<String, Value> {
    let items = names.iter().zip(items);
    items
        .map(|(name, item)| ((*name).to_owned(), item.clone()))
        .collect()
}
