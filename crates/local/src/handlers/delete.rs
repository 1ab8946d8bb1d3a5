//! Delete, of one object or of a selection.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use super::query::{DeleteOptions, Propagation};
use super::{Call, events, meta, objects};
use crate::clock;
use crate::plane::Plane;
use crate::registry::ResourceKind;
use crate::status::{self, ApiError};
use crate::store::{Action, Entry, Expect, Key, WriteError};

/// Finalizer that holds an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer that holds an object until its dependents forgot it.
pub const ORPHAN: &str = "orphan";

/// What became of an object that was to be deleted.
#[derive(Debug)]
pub enum Outcome {
    /// It is gone; this was its last state.
    Gone(Value),
    /// It waits for its finalizers.
    Waiting(Value),
}

/// Answers the delete of one object.
pub async fn one(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let options = options(call)?;
    let kind = call.kind();
    let key = call.key(call.name());
    let outcome = remove_if(call.plane, kind, key, &options, |object| {
        call.admit_deletion(object, options.dry_run)
    })
    .await?;
    Ok(match outcome {
        Outcome::Gone(last) => {
            let uid = last["metadata"]["uid"].as_str().unwrap_or_default();
            body::object(StatusCode::OK, &status::success(kind, call.name(), uid))
        }
        Outcome::Waiting(object) => call.one(StatusCode::OK, object),
    })
}

/// Answers the delete of a selection with the list of what was selected.
pub async fn collection(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let options = options(call)?;
    let filter = call.filter()?;
    let kind = call.kind();
    let resource = events::stored_as(kind);
    let page = call
        .plane
        .store
        .list(&resource, call.target.namespace.as_deref(), None, None)
        .map_err(|e| ApiError::expired(e.to_string()))?;
    let mut removed = Vec::new();
    for entry in page.items.iter().filter(|entry| filter.admits(entry)) {
        let key = Key {
            resource: resource.clone(),
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
        };
        let outcome = remove_if(call.plane, kind, key, &options, |object| {
            call.admit_deletion(object, options.dry_run)
        });
        match outcome.await {
            Ok(Outcome::Gone(object) | Outcome::Waiting(object)) => removed.push(events::shown(kind, object)),
            // Somebody else was faster.
            Err(error) if error.code() == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let meta = json!({"resourceVersion": page.revision.to_string()});
    Ok(body::object(
        StatusCode::OK,
        &call.form.many(kind, removed, &meta),
    ))
}

fn options(call: &Call<'_>) -> Result<DeleteOptions, ApiError> {
    let body = if call.body.is_empty() {
        Value::Null
    } else {
        body::parse(&call.headers, &call.body)?.value
    };
    call.query.delete_options(&body)
}

/// Deletes an object, or marks it as being deleted when finalizers hold it.
pub async fn remove(
    plane: &Arc<Plane>,
    kind: &ResourceKind,
    key: Key,
    options: &DeleteOptions,
) -> Result<Outcome, ApiError> {
    remove_if(plane, kind, key, options, |_| Ok(())).await
}

/// The same, unless the object as it then is may not be deleted.
async fn remove_if(
    plane: &Arc<Plane>,
    kind: &ResourceKind,
    key: Key,
    options: &DeleteOptions,
    admit: impl Fn(&Value) -> Result<(), ApiError>,
) -> Result<Outcome, ApiError> {
    loop {
        let entry = plane
            .store
            .get(&key)
            .ok_or_else(|| ApiError::not_found(kind, &key.name))?;
        preconditions(kind, &entry, options)?;
        let mut object = entry.value();
        admit(&object)?;
        add_finalizer(&mut object, options.propagation);
        let namespace = kind.group.is_empty() && kind.kind == "Namespace";
        if meta::finalizers(&object).is_empty() && !namespace {
            if options.dry_run {
                return Ok(Outcome::Gone(object));
            }
            match plane
                .store
                .write(
                    key.clone(),
                    Expect::Revision(entry.revision),
                    Action::Delete(None),
                )
                .await
            {
                Ok(last) => return Ok(Outcome::Gone(last.value())),
                Err(WriteError::Stale) if options.revision.is_none() => continue,
                Err(error) => return Err(objects::refused(kind, &key.name, &error)),
            }
        }
        if entry.deleting && meta::finalizers(&object) == meta::finalizers(&entry.value()) {
            return Ok(Outcome::Waiting(object));
        }
        mark(&mut object, namespace);
        if options.dry_run {
            return Ok(Outcome::Waiting(object));
        }
        match plane
            .store
            .write(key.clone(), Expect::Revision(entry.revision), Action::Put(object))
            .await
        {
            Ok(entry) => return Ok(Outcome::Waiting(entry.value())),
            Err(WriteError::Stale) if options.revision.is_none() => {}
            Err(error) => return Err(objects::refused(kind, &key.name, &error)),
        }
    }
}

fn preconditions(kind: &ResourceKind, entry: &Entry, options: &DeleteOptions) -> Result<(), ApiError> {
    let revision = entry.revision.to_string();
    let checks = [
        ("UID", &options.uid, &entry.uid),
        ("ResourceVersion", &options.revision, &revision),
    ];
    for (what, asked, found) in checks {
        if let Some(asked) = asked
            && asked != found
        {
            let why = format!(
                "Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}"
            );
            return Err(ApiError::conflict(kind, &entry.name, &why));
        }
    }
    Ok(())
}

fn add_finalizer(object: &mut Value, propagation: Option<Propagation>) {
    let (wanted, unwanted) = match propagation {
        None => return,
        Some(Propagation::Background) => (None, [FOREGROUND, ORPHAN]),
        Some(Propagation::Foreground) => (Some(FOREGROUND), [ORPHAN, ""]),
        Some(Propagation::Orphan) => (Some(ORPHAN), [FOREGROUND, ""]),
    };
    let mut finalizers: Vec<String> = meta::finalizers(object).into_iter().map(str::to_owned).collect();
    finalizers.retain(|f| !unwanted.contains(&f.as_str()));
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|f| f == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    object["metadata"]["finalizers"] = json!(finalizers);
}

fn mark(object: &mut Value, namespace: bool) {
    let meta = &mut object["metadata"];
    if meta["deletionTimestamp"].is_null() {
        meta["deletionTimestamp"] = Value::from(clock::now());
        meta["deletionGracePeriodSeconds"] = Value::from(0);
        if let Some(generation) = meta["generation"].as_i64() {
            meta["generation"] = Value::from(generation + 1);
        }
    }
    if namespace {
        object["status"]["phase"] = Value::from("Terminating");
    }
}
