//! Start of a watch: from which revision, with or without what is there already.

use std::time::Duration;

use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use futures::StreamExt;

use super::Call;
use super::body::{self, Body};
use super::events;
use super::query::Match;
use crate::status::ApiError;
use crate::watch::{Start, Wanted, Watch};

/// How long a watch lasts that does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(45);

/// Answers with a watch.
pub fn start(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let kind = call.kind();
    let filter = call.filter()?;
    let store = &call.plane.store;
    let asked = call.query.revision()?;
    let matching = call.query.version_match()?;
    let initial = call
        .query
        .get("sendInitialEvents")
        .map(|_| call.query.flag("sendInitialEvents"));
    let bookmarks = call.query.flag("allowWatchBookmarks");
    match (initial, matching) {
        (Some(_), None | Some(Match::Exact)) => {
            return Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        (None, Some(_)) => {
            return Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        _ => {}
    }
    let current = store.revision();
    if let Some(asked) = asked
        && asked > current
    {
        return Err(ApiError::future_revision(asked, current));
    }
    let resource = events::stored_as(kind);
    let with_initial = initial.unwrap_or_else(|| asked.unwrap_or(0) == 0);
    let start = if with_initial {
        let page = store
            .list(&resource, call.target.namespace.as_deref(), None, None)
            .map_err(|e| ApiError::expired(e.to_string()))?;
        let objects = page
            .items
            .into_iter()
            .filter(|entry| filter.admits(entry))
            .collect();
        Start::With {
            objects,
            revision: page.revision,
            mark_end: initial == Some(true) && bookmarks,
        }
    } else {
        Start::After(asked.filter(|revision| *revision > 0).unwrap_or(current))
    };
    let timeout = call
        .query
        .number::<u64>("timeoutSeconds")?
        .filter(|seconds| *seconds > 0);
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let wanted = Wanted {
        kind: kind.clone(),
        filter,
        form: call.form,
        bookmarks,
        timeout,
    };
    let watch = Watch::new(store.clone(), wanted, start, call.plane.stop.clone());
    let body = StreamBody::new(watch.into_stream().map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync();
    Ok(body::respond(StatusCode::OK, "application/json", body))
}
