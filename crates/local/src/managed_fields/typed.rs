//! Objects seen through their schema: which fields there are, and what differs.

use serde_json::{Map, Value};

use super::set::Set;
use crate::openapi::core;
use crate::schema::{Schema, resolve};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Fields that nobody owns.
const UNOWNED: &[&str] = &["apiVersion", "kind"];
const UNOWNED_META: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
    "generateName",
];

/// How values at a place are merged.
pub(super) enum Shape {
    /// As a whole.
    Atomic,
    /// Field by field.
    Fields,
    /// Item by item, by the values of these fields.
    Keyed(Vec<String>),
    /// Item by item, by value.
    Members,
}

/// A place in the schema; none where the schema says nothing.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    schema: Option<&'a Value>,
    /// Keys of a list of the metadata, which its schema does not tell.
    list: Option<&'a str>,
    root: bool,
}

impl<'a> Place<'a> {
    pub(super) fn field(self, name: &str) -> Place<'a> {
        if self.root && name == "metadata" {
            return Place {
                schema: core::definition(OBJECT_META),
                list: None,
                root: false,
            };
        }
        let schema = self.schema.map(resolve);
        let property = schema.and_then(|s| s.get("properties")?.get(name));
        let additional = || {
            schema
                .and_then(|s| s.get("additionalProperties"))
                .filter(|a| a.is_object())
        };
        let list = match name {
            "ownerReferences" => Some("uid"),
            "finalizers" => Some(""),
            _ => None,
        };
        Place {
            schema: property.or_else(additional),
            list,
            root: false,
        }
    }

    pub(super) fn item(self) -> Place<'a> {
        let schema = self.schema.map(resolve).and_then(|s| s.get("items"));
        Place {
            schema,
            list: None,
            root: false,
        }
    }

    pub(super) fn shape(self, value: &Value) -> Shape {
        let schema = self.schema.map(resolve);
        let says = |name: &str| schema.and_then(|s| s.get(name)).and_then(Value::as_str);
        match value {
            Value::Object(_) if says("x-kubernetes-map-type") == Some("atomic") => Shape::Atomic,
            Value::Object(_) => Shape::Fields,
            Value::Array(_) => match (says("x-kubernetes-list-type"), self.list) {
                (Some("map"), _) => {
                    let keys = schema.and_then(|s| s["x-kubernetes-list-map-keys"].as_array());
                    Shape::Keyed(
                        keys.into_iter()
                            .flatten()
                            .filter_map(Value::as_str)
                            .map(str::to_owned)
                            .collect(),
                    )
                }
                (Some("set"), _) => Shape::Members,
                (None, Some("")) => Shape::Members,
                (None, Some(key)) => Shape::Keyed(vec![key.to_owned()]),
                _ => Shape::Atomic,
            },
            _ => Shape::Atomic,
        }
    }
}

/// The key of an item among its list.
pub(super) fn item_key(keys: &[String], item: &Value) -> String {
    let values: Map<String, Value> = keys.iter().map(|key| (key.clone(), item[key].clone())).collect();
    format!("k:{}", Value::Object(values))
}

/// The parts of a value by their keys; none where it is merged as a whole.
pub(super) fn parts<'v>(place: Place<'_>, value: &'v Value) -> Option<Vec<(String, &'v Value)>> {
    match (place.shape(value), value) {
        (Shape::Fields, Value::Object(map)) => Some(
            map.iter()
                .map(|(name, value)| (format!("f:{name}"), value))
                .collect(),
        ),
        (Shape::Keyed(keys), Value::Array(list)) => {
            Some(list.iter().map(|item| (item_key(&keys, item), item)).collect())
        }
        (Shape::Members, Value::Array(list)) => {
            Some(list.iter().map(|item| (format!("v:{item}"), item)).collect())
        }
        _ => None,
    }
}

/// The place of a part.
pub(super) fn inner<'a>(place: Place<'a>, key: &str) -> Place<'a> {
    key.strip_prefix("f:")
        .map_or_else(|| place.item(), |name| place.field(name))
}

/// An object's fields by its schema.
pub(super) struct Typed<'a> {
    root: Place<'a>,
}

impl<'a> Typed<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self {
            root: Place {
                schema: schema.root(),
                list: None,
                root: true,
            },
        }
    }

    pub(super) fn root(&self) -> Place<'a> {
        self.root
    }

    /// The fields of an object that can be owned.
    pub(super) fn set(&self, object: &Value) -> Set {
        without_unowned(set(self.root, object))
    }

    /// What was added or changed, and what was removed.
    pub(super) fn compare(&self, old: &Value, new: &Value) -> (Set, Set) {
        let (mut changed, mut removed) = (Set::default(), Set::default());
        compare(self.root, old, new, true, &mut changed, &mut removed);
        (without_unowned(changed), without_unowned(removed))
    }

    /// Those fields of a set whose values differ.
    pub(super) fn differing(&self, fields: &Set, live: &Value, applied: &Value) -> Set {
        let (mut changed, mut removed) = (Set::default(), Set::default());
        // An empty container applied to one with content does not differ: it is merged.
        compare(self.root, live, applied, false, &mut changed, &mut removed);
        fields.intersection(&without_unowned(changed))
    }
}

/// What an apply on a part of an object may say: on the object itself not its status, on the status
/// nothing else.
pub(super) fn writable(applied: &Value, part: Option<&str>) -> Value {
    let mut applied = applied.clone();
    if let Some(map) = applied.as_object_mut() {
        map.retain(|name, _| match part {
            Some("status") => matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"),
            _ => name != "status",
        });
    }
    applied
}

fn without_unowned(mut set: Set) -> Set {
    set.member = false;
    for name in UNOWNED {
        set.children.remove(&format!("f:{name}"));
    }
    if let Some(meta) = set.children.get_mut("f:metadata") {
        meta.member = false;
        for name in UNOWNED_META {
            meta.children.remove(&format!("f:{name}"));
        }
        if meta.is_empty() {
            set.children.remove("f:metadata");
        }
    }
    set
}

fn set(place: Place<'_>, value: &Value) -> Set {
    let Some(parts) = parts(place, value) else {
        return Set::leaf();
    };
    if parts.is_empty() {
        return Set::leaf();
    }
    let mut whole = Set::default();
    for (key, part) in parts {
        let mut child = set(inner(place, &key), part);
        // An item is owned besides its fields.
        child.member |= key.starts_with("k:");
        whole.add(key, child);
    }
    whole
}

fn compare(place: Place<'_>, old: &Value, new: &Value, emptied: bool, changed: &mut Set, removed: &mut Set) {
    if old == new {
        return;
    }
    let (Some(before), Some(after)) = (parts(place, old), parts(place, new)) else {
        *changed = set(place, new);
        return;
    };
    if emptied && after.is_empty() {
        changed.member = true;
    }
    for (key, value) in &after {
        let at = inner(place, key);
        if let Some((_, was)) = before.iter().find(|(k, _)| k == key) {
            let (mut c, mut r) = (Set::default(), Set::default());
            compare(at, was, value, emptied, &mut c, &mut r);
            changed.add(key.clone(), c);
            removed.add(key.clone(), r);
        } else {
            let mut child = set(at, value);
            child.member |= key.starts_with("k:");
            changed.add(key.clone(), child);
        }
    }
    for (key, was) in before
        .iter()
        .filter(|(key, _)| !after.iter().any(|(k, _)| k == key))
    {
        let mut child = set(inner(place, key), was);
        child.member = true;
        removed.add(key.clone(), child);
    }
}
