//! The end of a namespace: first its contents, then itself.

use std::sync::Arc;

use http::StatusCode;

use crate::handlers::query::DeleteOptions;
use crate::handlers::remove;
use crate::plane::Plane;
use crate::status::ApiError;
use crate::store::{Action, Expect, Key, WriteError};

fn key(namespace: &str) -> Key {
    Key {
        resource: "namespaces".to_owned(),
        namespace: String::new(),
        name: namespace.to_owned(),
    }
}

/// Deletes everything in a terminating namespace; what has finalizers goes when they are done.
pub(super) async fn empty(plane: &Arc<Plane>, namespace: &str) -> Result<(), ApiError> {
    if !plane
        .store
        .get(&key(namespace))
        .is_some_and(|entry| entry.deleting)
    {
        return Ok(());
    }
    for inner in plane.store.all_in(namespace) {
        let (plural, group) = inner.resource.split_once('.').unwrap_or((&inner.resource, ""));
        let Some(kind) = plane.registry.resource(group, plural) else {
            continue;
        };
        match remove(plane, kind, inner.clone(), &DeleteOptions::default()).await {
            Ok(_) => {}
            Err(error) if error.code() == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    finish(plane, namespace).await
}

/// Removes a terminating namespace once nothing is left in it.
pub(super) async fn finish(plane: &Arc<Plane>, namespace: &str) -> Result<(), ApiError> {
    loop {
        let Some(entry) = plane.store.get(&key(namespace)).filter(|entry| entry.deleting) else {
            return Ok(());
        };
        let held = entry.value()["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if held || plane.store.any_in(namespace) {
            return Ok(());
        }
        match plane
            .store
            .write(
                key(namespace),
                Expect::Revision(entry.revision),
                Action::Delete(None),
            )
            .await
        {
            Ok(_) | Err(WriteError::Missing) => return Ok(()),
            Err(WriteError::Stale) => {}
            Err(error) => return Err(ApiError::internal(&error)),
        }
    }
}
