//! Events are kept for an hour, as in a cluster.

use std::sync::Arc;

use crate::clock;
use crate::plane::Plane;
use crate::status::ApiError;
use crate::store::{Action, Expect, Key, WriteError};

/// Seconds an event is kept after it last changed.
const KEEP: i64 = 3600;

/// Removes events that are too old.
pub(super) async fn sweep(plane: &Arc<Plane>) -> Result<(), ApiError> {
    let page = plane
        .store
        .list("events", None, None, None)
        .map_err(|e| ApiError::internal(&e))?;
    for entry in page.items {
        let object = entry.value();
        // whoever writes it may say any time
        let times = [
            &object["metadata"]["creationTimestamp"],
            &object["lastTimestamp"],
            &object["eventTime"],
            &object["series"]["lastObservedTime"],
        ];
        let ages = times
            .into_iter()
            .filter_map(|time| clock::seconds_since(time.as_str()?));
        if ages.min().is_none_or(|age| age < KEEP) {
            continue;
        }
        let key = Key {
            resource: "events".to_owned(),
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
        };
        match plane
            .store
            .write(key, Expect::Revision(entry.revision), Action::Delete(None))
            .await
        {
            Ok(_) | Err(WriteError::Missing | WriteError::Stale) => {}
            Err(error) => return Err(ApiError::internal(&error)),
        }
    }
    Ok(())
}
