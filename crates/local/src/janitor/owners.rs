//! Garbage collection by owner references.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::handlers::query::{DeleteOptions, Propagation};
use crate::handlers::{FOREGROUND, ORPHAN, remove};
use crate::plane::Plane;
use crate::status::ApiError;
use crate::store::{Action, Entry, Expect, Key, WriteError};

/// An object is gone: its dependents follow, and owners that waited for it may finish.
pub(super) async fn gone(plane: &Arc<Plane>, uid: &str, owners: &[String]) -> Result<(), ApiError> {
    for dependent in plane.store.dependents(uid) {
        check(plane, &dependent).await?;
    }
    for owner in owners {
        if let Some(key) = plane.store.by_uid(owner) {
            finish(plane, &key).await?;
        }
    }
    Ok(())
}

/// Deletes an object all of whose owners are gone; one that has others left only forgets those gone.
pub(super) async fn check(plane: &Arc<Plane>, key: &Key) -> Result<(), ApiError> {
    let Some(entry) = plane.store.get(key) else {
        return Ok(());
    };
    let alive = |uid: &String| plane.store.by_uid(uid).is_some();
    if entry.owners.is_empty() || entry.owners.iter().all(alive) {
        return Ok(());
    }
    if entry.owners.iter().any(alive) {
        return forget_owners(plane, key, |uid| plane.store.by_uid(uid).is_none()).await;
    }
    delete(plane, key, &entry, Propagation::Background).await
}

async fn delete(plane: &Arc<Plane>, key: &Key, entry: &Entry, how: Propagation) -> Result<(), ApiError> {
    let (plural, group) = key.resource.split_once('.').unwrap_or((&key.resource, ""));
    let Some(kind) = plane.registry.resource(group, plural) else {
        return Ok(());
    };
    let uid = Some(entry.uid.clone());
    // Without a propagation that was asked for, finalizers of an earlier delete stay.
    let propagation = (how != Propagation::Background).then_some(how);
    let options = DeleteOptions {
        uid,
        propagation,
        ..DeleteOptions::default()
    };
    match remove(plane, kind, key.clone(), &options).await {
        Ok(_) => Ok(()),
        // Gone, or another object of that name, in the meantime.
        Err(error) if matches!(error.code(), StatusCode::NOT_FOUND | StatusCode::CONFLICT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Goes on with an object that waits for its dependents, to be gone (foreground) or to forget it (orphan).
pub(super) async fn finish(plane: &Arc<Plane>, key: &Key) -> Result<(), ApiError> {
    let Some(entry) = plane
        .store
        .get(key)
        .filter(|entry| entry.deleting && entry.collecting)
    else {
        return Ok(());
    };
    let object = entry.value();
    let finalizers = |name: &str| {
        object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| all.iter().any(|f| f == name))
    };
    if finalizers(ORPHAN) {
        for dependent in plane.store.dependents(&entry.uid) {
            forget_owners(plane, &dependent, |uid| uid == entry.uid).await?;
        }
        return drop_finalizer(plane, key, ORPHAN).await;
    }
    // as on a real server, all go at once, and only those that say so hold their owner back
    let blocks = |dependent: &Key| {
        plane.store.get(dependent).is_some_and(|found| {
            let object = found.value();
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners
                .into_iter()
                .flatten()
                .any(|owner| owner["uid"] == entry.uid.as_str() && owner["blockOwnerDeletion"] == true)
        })
    };
    let dependents = plane.store.dependents(&entry.uid);
    for dependent in &dependents {
        if let Some(found) = plane.store.get(dependent).filter(|found| !found.deleting) {
            // Only what has dependents of its own has to wait for them.
            let leaf = plane.store.dependents(&found.uid).is_empty();
            let how = if leaf {
                Propagation::Background
            } else {
                Propagation::Foreground
            };
            delete(plane, dependent, &found, how).await?;
        }
    }
    if finalizers(FOREGROUND) && !dependents.iter().any(blocks) {
        return drop_finalizer(plane, key, FOREGROUND).await;
    }
    Ok(())
}

async fn forget_owners(plane: &Arc<Plane>, key: &Key, gone: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    change(plane, key, |object| {
        if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
            owners.retain(|owner| !gone(owner["uid"].as_str().unwrap_or_default()));
        }
        if object["metadata"]["ownerReferences"] == json!([])
            && let Some(meta) = object["metadata"].as_object_mut()
        {
            meta.remove("ownerReferences");
        }
    })
    .await
}

async fn drop_finalizer(plane: &Arc<Plane>, key: &Key, name: &str) -> Result<(), ApiError> {
    change(plane, key, |object| {
        if let Some(all) = object["metadata"]["finalizers"].as_array_mut() {
            all.retain(|f| f != name);
        }
    })
    .await
}

/// Changes an object in place, again when somebody else was faster; it is removed when it was only held by
/// the finalizer that the change took away.
async fn change(plane: &Arc<Plane>, key: &Key, edit: impl Fn(&mut Value)) -> Result<(), ApiError> {
    loop {
        let Some(entry) = plane.store.get(key) else {
            return Ok(());
        };
        let mut object = entry.value();
        edit(&mut object);
        if object == entry.value() {
            return Ok(());
        }
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        let action = if entry.deleting && !held {
            Action::Delete(Some(object))
        } else {
            Action::Put(object)
        };
        match plane
            .store
            .write(key.clone(), Expect::Revision(entry.revision), action)
            .await
        {
            Ok(_) | Err(WriteError::Missing) => return Ok(()),
            Err(WriteError::Stale) => {}
            Err(error) => return Err(ApiError::internal(&error)),
        }
    }
}
