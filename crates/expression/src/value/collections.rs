//! Lists and maps: of JSON, as it lies there, or made by an expression.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use super::{Text, Value};

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Of JSON.
    Json(&'a [Json]),
    /// Made by an expression.
    Made(Arc<Vec<Value<'a>>>),
}

impl<'a> List<'a> {
    /// Its number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One element.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items) => items.get(index).map(Value::from),
            Self::Made(items) => items.get(index).cloned(),
        }
    }

    /// Its elements.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> From<Vec<Value<'a>>> for List<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::Made(Arc::new(items))
    }
}

/// A key of a map. Numbers are the same key when they are equal, whatever their type.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer without a sign.
    Uint(u64),
    /// Text.
    String(Text<'a>),
}

impl<'a> Key<'a> {
    /// The key that a value finds, if it can be one.
    pub fn of(value: &Value<'a>) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(Self::Bool(*truth)),
            Value::Int(int) => Some(Self::Int(*int)),
            Value::Uint(uint) => Some(Self::Uint(*uint)),
            Value::Double(double) => super::number::exact_int(*double).map(Self::Int),
            Value::String(text) => Some(Self::String(text.clone())),
            _ => None,
        }
    }

    fn rank(&self) -> (u8, i128) {
        match self {
            Self::Bool(truth) => (0, i128::from(*truth)),
            Self::Int(int) => (1, i128::from(*int)),
            Self::Uint(uint) => (1, i128::from(*uint)),
            Self::String(_) => (2, 0),
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::String(left), Self::String(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl<'a> From<Key<'a>> for Value<'a> {
    fn from(key: Key<'a>) -> Self {
        match key {
            Key::Bool(truth) => Self::Bool(truth),
            Key::Int(int) => Self::Int(int),
            Key::Uint(uint) => Self::Uint(uint),
            Key::String(text) => Self::String(text),
        }
    }
}

/// A map.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// A JSON object.
    Json(&'a serde_json::Map<String, Json>),
    /// Made by an expression.
    Made(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

impl<'a> Map<'a> {
    /// Its number of entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map) => map.len(),
            Self::Made(map) => map.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &Key<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Json(map), Key::String(text)) => map.get(&**text).map(Value::from),
            (Self::Json(_), _) => None,
            (Self::Made(map), key) => map.get(key).cloned(),
        }
    }

    /// The value of a field.
    pub fn field(&self, name: &'a str) -> Option<Value<'a>> {
        match self {
            Self::Json(map) => map.get(name).map(Value::from),
            Self::Made(map) => map.get(&Key::String(Text::Borrowed(name))).cloned(),
        }
    }

    /// Its entries, sorted by key where an expression made it.
    pub fn entries(&self) -> Box<dyn Iterator<Item = (Key<'a>, Value<'a>)> + '_> {
        match self {
            Self::Json(map) => Box::new(
                map.iter()
                    .map(|(key, value)| (Key::String(Text::Borrowed(key)), Value::from(value))),
            ),
            Self::Made(map) => Box::new(map.iter().map(|(key, value)| (key.clone(), value.clone()))),
        }
    }
}

impl<'a> From<BTreeMap<Key<'a>, Value<'a>>> for Map<'a> {
    fn from(map: BTreeMap<Key<'a>, Value<'a>>) -> Self {
        Self::Made(Arc::new(map))
    }
}
