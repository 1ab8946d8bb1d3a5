//! What every write does to an object before it is stored.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::query::{FieldValidation, WriteOptions};
use super::{Call, events, meta};
use crate::core_rules;
use crate::plane::Plane;
use crate::registry::ResourceKind;
use crate::status::{ApiError, cause};
use crate::store::{Action, Entry, Expect, Key, WriteError};
use signoff_api::bounds;

/// What came of a write.
pub enum Saved {
    /// Stored (or found to be so already).
    Stored(Arc<Entry>),
    /// As it would be stored, or as it last was.
    Only(Value),
}

/// Whether an object carries its new field ownership already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// Apply has worked it out.
    Yes,
    /// It follows from what changed.
    No,
}

/// Checks that an object sent is of the kind, name and namespace of the request, and fills in what is
/// allowed to be left out.
pub fn identify(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let kind = call.kind();
    let Some(map) = object.as_object_mut() else {
        return Err(ApiError::bad_request(
            "the object provided is unrecognized: not a JSON object",
        ));
    };
    let text =
        |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let (api_version, name_of_kind) = (text(map, "apiVersion"), text(map, "kind"));
    for (value, field) in [(&api_version, "apiVersion"), (&name_of_kind, "Kind")] {
        if value.is_empty() {
            let shown: String = Value::Object(map.clone()).to_string().chars().take(200).collect();
            return Err(ApiError::bad_request(format!(
                "Object '{field}' is missing in '{shown}'"
            )));
        }
    }
    if api_version != kind.api_version() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    if name_of_kind != kind.kind && kind.crd.is_some() {
        // a custom resource is decoded whatever its kind, and refused as an object
        let must = format!("Invalid value: {name_of_kind:?}: must be {}", kind.kind);
        let name = map
            .get("metadata")
            .and_then(|meta| meta["name"].as_str())
            .unwrap_or_default();
        let sent = ResourceKind {
            kind: name_of_kind.clone(),
            ..(**kind).clone()
        };
        return Err(ApiError::invalid(
            &sent,
            name,
            vec![cause("FieldValueInvalid", "kind", must)],
        ));
    }
    if name_of_kind != kind.kind {
        return Err(ApiError::bad_request(format!(
            "the kind in the data ({name_of_kind}) does not match the expected kind ({})",
            kind.kind
        )));
    }
    let meta = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(meta) = meta.as_object_mut() else {
        return Err(ApiError::bad_request("metadata is not an object"));
    };
    if kind.namespaced {
        let given = text(meta, "namespace");
        if !given.is_empty() && given != call.namespace() {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        meta.insert("namespace".to_owned(), Value::from(call.namespace()));
    } else {
        meta.remove("namespace");
    }
    if let Some(name) = &call.target.name {
        let given = text(meta, "name");
        if given.is_empty() {
            meta.insert("name".to_owned(), Value::from(name.as_str()));
        } else if given != *name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
    }
    Ok(())
}

/// Drops fields the schema does not know; what a strict caller wants to know of them, and of those sent `twice`.
pub fn prune(call: &Call<'_>, object: &mut Value, twice: &[String]) -> Vec<String> {
    let unknown = call.plane.schema(call.kind()).prune(object);
    let twice = twice.iter().map(|path| format!("duplicate field \"{path}\""));
    let unknown = unknown.iter().map(|path| format!("unknown field \"{path}\""));
    twice.chain(unknown).collect()
}

/// Drops fields the schema does not know, and refuses or warns as the request says, also of those sent `twice`.
pub fn decoded(
    call: &Call<'_>,
    options: &WriteOptions,
    object: &mut Value,
    twice: &[String],
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let kind = call.kind();
    let list = prune(call, object, twice);
    if kind.crd.is_none() {
        // of another type than its field, or not in its form: a core kind cannot be decoded
        let errors = call.plane.schema(kind).validate(object, None);
        let broken = errors
            .first()
            .map(|error| format!("{}: {}", error.field, error.message));
        if let Some(why) = broken.or_else(|| core_rules::undecodable(kind, object)) {
            return Err(ApiError::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: {why}",
                kind.kind, kind.version, kind.kind
            )));
        }
    }
    if list.is_empty() {
        return Ok(());
    }
    match options.validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => warnings.extend(list),
        FieldValidation::Strict => {
            return Err(ApiError::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                kind.kind,
                kind.version,
                kind.kind,
                list.join(", ")
            )));
        }
    }
    Ok(())
}

/// Refuses an object that breaks its schema, its rules or those of metadata.
pub fn validate(
    plane: &Plane,
    kind: &ResourceKind,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let mut causes = meta::validate(object, old);
    causes.extend(core_rules::check(kind, object, old));
    for error in plane.schema(kind).validate(object, old) {
        causes.push(cause(&error.reason, error.field, error.message));
    }
    if causes.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::invalid(kind, name, causes))
}

/// Brings a changed object into the shape in which it may replace `old`: what only the server sets is
/// kept, the half that this endpoint does not write is kept, the generation counts changes of what is wanted.
pub fn settle(kind: &ResourceKind, status_only: bool, old: &Value, new: &mut Value) {
    if status_only {
        let mut settled = old.clone();
        match new.get("status") {
            Some(status) => settled["status"] = status.clone(),
            None => remove(&mut settled, "status"),
        }
        let owners = new["metadata"]["managedFields"].take();
        if !owners.is_null() {
            settled["metadata"]["managedFields"] = owners;
        }
        *new = settled;
        return;
    }
    if kind.status_subresource {
        match old.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => remove(new, "status"),
        }
    }
    meta::keep_servers(old, new);
    if let Some(generation) = old["metadata"]["generation"].as_i64() {
        let wanted_changed = wanted(kind, old) != wanted(kind, new);
        new["metadata"]["generation"] = Value::from(generation + i64::from(wanted_changed));
    }
}

/// The parts of an object whose change makes a new generation.
fn wanted<'a>(kind: &ResourceKind, object: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let ignored = |name: &str| name == "metadata" || (name == "status" && kind.status_subresource);
    object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !ignored(name))
        .collect()
}

fn remove(object: &mut Value, name: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(name);
    }
}

/// Stores a changed object: nothing when nothing changed, a removal when its last finalizer is gone.
pub async fn replace(
    plane: &Arc<Plane>,
    key: Key,
    entry: &Arc<Entry>,
    old: &Value,
    new: Value,
    dry_run: bool,
) -> Result<Saved, WriteError> {
    if dry_run {
        return Ok(Saved::Only(new));
    }
    if meta::same(old, &new) {
        return Ok(Saved::Stored(entry.clone()));
    }
    let finished = entry.deleting && meta::finalizers(&new).is_empty() && key.resource != "namespaces";
    let action = if finished {
        Action::Delete(Some(new))
    } else {
        Action::Put(new)
    };
    plane
        .store
        .write(key, Expect::Revision(entry.revision), action)
        .await
        .map(Saved::Stored)
}

/// What a failed write means to the caller.
pub fn refused(kind: &ResourceKind, name: &str, error: &WriteError) -> ApiError {
    match error {
        WriteError::Exists => ApiError::already_exists(kind, name),
        WriteError::Missing => ApiError::not_found(kind, name),
        WriteError::Stale => ApiError::modified(kind, name),
        WriteError::Closed => ApiError::unavailable("the server is shutting down"),
        WriteError::Full => ApiError::full(&error.to_string()),
        WriteError::Storage(_) => ApiError::internal(error),
    }
}

/// The object sent, in the form in which it is stored.
pub fn received(call: &Call<'_>, mut object: Value) -> Result<Value, ApiError> {
    // what was sent, or what a patch has made of what is there: a reader bears more than this, but not without end
    let owners = object["metadata"]
        .as_object_mut()
        .and_then(|meta| meta.remove("managedFields"));
    let bounded = bounds::nesting(&object, bounds::MAX_OBJECT_NESTING)
        .map_err(|error| ApiError::bad_request(format!("the object cannot be stored: {error}")));
    if let Some(owners) = owners {
        object["metadata"]["managedFields"] = owners;
    }
    bounded?;
    identify(call, &mut object)?;
    Ok(events::stored(call.kind(), object))
}
