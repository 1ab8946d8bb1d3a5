//! Sets of fields, in the notation of `fieldsV1`: `f:` a field, `k:` an item by its keys, `v:` an item by value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of fields as a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Whether the field at this place is in the set itself.
    pub(super) member: bool,
    pub(super) children: BTreeMap<String, Set>,
}

impl Set {
    pub(super) fn leaf() -> Self {
        Self {
            member: true,
            children: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Reads `fieldsV1`.
    pub(super) fn read(fields: &Value) -> Self {
        let mut set = Self::default();
        for (key, value) in fields.as_object().into_iter().flatten() {
            if key == "." {
                set.member = true;
                continue;
            }
            let mut child = Self::read(value);
            // An empty object is the field itself.
            child.member |= child.children.is_empty();
            set.children.insert(key.clone(), child);
        }
        set
    }

    /// Writes `fieldsV1`.
    pub(super) fn write(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        map.extend(
            self.children
                .iter()
                .map(|(key, child)| (key.clone(), child.write())),
        );
        Value::Object(map)
    }

    pub(super) fn add(&mut self, key: String, child: Self) {
        if !child.is_empty() {
            self.children.insert(key, child);
        }
    }

    pub(super) fn union(&mut self, other: &Self) {
        self.member |= other.member;
        for (key, child) in &other.children {
            self.children.entry(key.clone()).or_default().union(child);
        }
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut set = Self {
            member: self.member && !other.member,
            children: BTreeMap::new(),
        };
        for (key, child) in &self.children {
            let rest = other
                .children
                .get(key)
                .map_or_else(|| child.clone(), |o| child.difference(o));
            set.add(key.clone(), rest);
        }
        set
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut set = Self {
            member: self.member && other.member,
            children: BTreeMap::new(),
        };
        for (key, child) in &self.children {
            if let Some(theirs) = other.children.get(key) {
                set.add(key.clone(), child.intersection(theirs));
            }
        }
        set
    }

    /// The fields as messages show them, such as `.spec.containers[name="a"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, at: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(at.to_owned());
        }
        for (key, child) in &self.children {
            child.collect(&format!("{at}{}", shown(key)), paths);
        }
    }
}

fn shown(key: &str) -> String {
    match key.split_once(':') {
        Some(("k", keys)) => {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let parts: Vec<String> = keys
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("[{}]", parts.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, name)) => format!(".{name}"),
        None => format!(".{key}"),
    }
}
