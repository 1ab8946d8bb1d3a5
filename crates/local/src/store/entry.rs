//! One stored object: its bytes as they go over the wire, and what selectors and background work ask of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::registry::ResourceKind;

/// An object as of one revision.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Revision: its `metadata.resourceVersion`.
    pub revision: u64,
    /// Namespace, empty when cluster-scoped.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// The whole object as JSON.
    pub json: Bytes,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Values of the kind's selectable fields, in their order; empty text where absent.
    pub fields: Vec<String>,
    /// Uids of its owners.
    pub owners: Vec<String>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Whether a finalizer holds it for the sake of its dependents.
    pub collecting: bool,
}

impl Entry {
    /// Builds the entry of an object at a revision, which is written into the object.
    pub(super) fn new(kind: &ResourceKind, mut object: Value, revision: u64) -> Self {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
        }
        let json = Bytes::from(object.to_string());
        Self::index(kind, &object, json, revision)
    }

    /// Builds the entry of an object read back from disk.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(kind: &ResourceKind, json: &[u8]) -> Result<Self, String> {
        let object: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let revision = object["metadata"]["resourceVersion"].as_str();
        let revision = revision.and_then(|revision| revision.parse().ok());
        let revision = revision.ok_or("metadata.resourceVersion is not a number")?;
        Ok(Self::index(kind, &object, Bytes::copy_from_slice(json), revision))
    }

    fn index(kind: &ResourceKind, object: &Value, json: Bytes, revision: u64) -> Self {
        let meta = &object["metadata"];
        let text = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
        let labels = meta["labels"].as_object().map(|labels| {
            labels
                .iter()
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                .collect()
        });
        let owners = meta["ownerReferences"].as_array().map(|owners| {
            owners
                .iter()
                .filter_map(|o| Some(o["uid"].as_str()?.to_owned()))
                .collect()
        });
        let collecting = meta["finalizers"]
            .as_array()
            .is_some_and(|all| all.iter().any(|f| f == "foregroundDeletion" || f == "orphan"));
        Self {
            revision,
            namespace: if kind.namespaced {
                text("namespace")
            } else {
                String::new()
            },
            name: text("name"),
            uid: text("uid"),
            labels: labels.unwrap_or_default(),
            fields: kind
                .selectable_fields
                .iter()
                .map(|path| field(object, path))
                .collect(),
            owners: owners.unwrap_or_default(),
            deleting: !meta["deletionTimestamp"].is_null(),
            collecting,
            json,
        }
    }

    /// The object, parsed. A stored object is JSON, so `Null` stands for what cannot happen.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or(Value::Null)
    }
}

/// The value at a simple path such as `.spec.flow`, as text; empty when absent.
fn field(object: &Value, path: &str) -> String {
    let found = path
        .split('.')
        .filter(|part| !part.is_empty())
        .try_fold(object, |value, part| value.get(part))
        .unwrap_or(&Value::Null);
    match found {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => String::new(),
    }
}
