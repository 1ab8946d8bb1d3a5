//! Merging an applied configuration into an object, and taking fields out of it.

use serde_json::Value;

use super::set::Set;
use super::typed::{Place, Shape, Typed, inner, item_key, parts};

impl Typed<'_> {
    /// The live object with what is applied on top.
    pub(super) fn merge(&self, live: &Value, applied: &Value) -> Value {
        merge(self.root(), live, applied)
    }

    /// Takes fields out; what others own below them stays.
    pub(super) fn remove(&self, object: &mut Value, fields: &Set, others: &Set) {
        remove(self.root(), object, fields, others);
    }
}

fn merge(place: Place<'_>, live: &Value, applied: &Value) -> Value {
    match (place.shape(applied), live, applied) {
        (Shape::Fields, Value::Object(old), Value::Object(new)) => {
            let mut merged = old.clone();
            for (name, value) in new {
                let value = match old.get(name) {
                    Some(was) => merge(place.field(name), was, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Shape::Keyed(keys), Value::Array(old), Value::Array(new)) => {
            let same = |a: &Value, b: &Value| item_key(&keys, a) == item_key(&keys, b);
            let mut merged: Vec<Value> = new
                .iter()
                .map(|item| match old.iter().find(|was| same(was, item)) {
                    Some(was) => merge(place.item(), was, item),
                    None => item.clone(),
                })
                .collect();
            merged.extend(
                old.iter()
                    .filter(|was| !new.iter().any(|item| same(was, item)))
                    .cloned(),
            );
            Value::Array(merged)
        }
        (Shape::Members, Value::Array(old), Value::Array(new)) => {
            let mut merged = old.clone();
            merged.extend(new.iter().filter(|item| !old.contains(item)).cloned());
            Value::Array(merged)
        }
        _ => applied.clone(),
    }
}

fn remove(place: Place<'_>, value: &mut Value, fields: &Set, others: &Set) {
    let keys: Vec<String> = parts(place, value)
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .collect();
    let none = Set::default();
    let owned_by_others = |key: &str| others.children.get(key).is_some_and(|set| !set.is_empty());
    let mut gone = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let Some(field) = fields.children.get(key) else {
            continue;
        };
        if field.member && !owned_by_others(key) {
            gone.push(index);
            continue;
        }
        let at = inner(place, key);
        let rest = others.children.get(key).unwrap_or(&none);
        let part = match value {
            Value::Object(map) => key.strip_prefix("f:").and_then(|name| map.get_mut(name)),
            Value::Array(list) => list.get_mut(index),
            _ => None,
        };
        if let Some(part) = part {
            remove(at, part, field, rest);
            // What has become empty by this was there only for what it held.
            let empty = part.as_object().is_some_and(serde_json::Map::is_empty)
                || part.as_array().is_some_and(Vec::is_empty);
            if empty && !owned_by_others(key) {
                gone.push(index);
            }
        }
    }
    match value {
        Value::Object(map) => {
            for index in gone {
                if let Some(name) = keys[index].strip_prefix("f:") {
                    map.remove(name);
                }
            }
        }
        Value::Array(list) => {
            for index in gone.into_iter().rev() {
                list.remove(index);
            }
        }
        _ => {}
    }
}
