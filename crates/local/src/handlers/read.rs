//! Get and list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

use super::Call;
use super::body::{self, Body};
use super::events;
use super::negotiate::Form;
use super::query::Match;
use super::selector::Filter;
use crate::registry::ResourceKind;
use crate::status::ApiError;
use crate::store::{Entry, Expired, Page};

/// Answers with one object.
pub fn get(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let entry = call.current()?;
    let kind = call.kind();
    if call.form == Form::Object && !events::is_alias(kind) {
        return Ok(body::rendered(StatusCode::OK, entry.json.clone()));
    }
    Ok(body::object(
        StatusCode::OK,
        &call.form.one(kind, events::shown(kind, entry.value())),
    ))
}

/// Where the next page of a list starts.
#[derive(Debug)]
struct Continue {
    /// As of which revision; none to go on as of now, which the answer to an expired token offers.
    revision: Option<u64>,
    namespace: String,
    name: String,
}

/// In a token, that it goes on as of now.
const NOW: i64 = -1;

impl Continue {
    fn encode(&self) -> String {
        let revision = self
            .revision
            .map_or_else(|| json!(NOW), |revision| json!(revision));
        let token = json!({
            "v": "meta.k8s.io/v1", "rv": revision, "start": format!("{}/{}", self.namespace, self.name),
        });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::bad_request("continue key is not valid: the token could not be decoded");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let (namespace, name) = token["start"]
            .as_str()
            .and_then(|s| s.split_once('/'))
            .ok_or_else(bad)?;
        let revision = match token["rv"].as_i64().ok_or_else(bad)? {
            NOW => None,
            revision => Some(u64::try_from(revision).map_err(|_| bad())?),
        };
        Ok(Self {
            revision,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// Answers with a list.
pub fn list(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let kind = call.kind();
    let query = &call.query;
    let filter = call.filter()?;
    let limit: usize = query.number("limit")?.unwrap_or(0);
    let resume = query.get("continue").map(Continue::decode).transpose()?;
    let (page, filter) = read(call, filter, resume.as_ref(), limit > 0)?;
    let mut items: Vec<Arc<Entry>> = page
        .items
        .into_iter()
        .filter(|entry| filter.admits(entry))
        .collect();
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    if limit > 0 && items.len() > limit {
        if filter.selects_all() {
            meta["remainingItemCount"] = json!(items.len() - limit);
        }
        items.truncate(limit);
        if let Some(last) = items.last() {
            let token = Continue {
                revision: Some(page.revision),
                namespace: last.namespace.clone(),
                name: last.name.clone(),
            };
            meta["continue"] = json!(token.encode());
        }
    }
    if call.form == Form::Object && !events::is_alias(kind) {
        return Ok(body::rendered(StatusCode::OK, join(kind, &items, &meta)));
    }
    let objects = items
        .iter()
        .map(|entry| events::shown(kind, entry.value()))
        .collect();
    Ok(body::object(
        StatusCode::OK,
        &call.form.many(kind, objects, &meta),
    ))
}

fn read(
    call: &Call<'_>,
    filter: Filter,
    resume: Option<&Continue>,
    paged: bool,
) -> Result<(Page, Filter), ApiError> {
    let store = &call.plane.store;
    let resource = events::stored_as(call.kind());
    let namespace = call.target.namespace.as_deref();
    let asked = call.query.revision()?;
    let matching = call.query.version_match()?;
    if matching.is_some() && asked.is_none() {
        return Err(ApiError::bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if let Some(resume) = resume {
        let after = Some((resume.namespace.as_str(), resume.name.as_str()));
        let page = store
            .list(&resource, namespace, resume.revision, after)
            .map_err(|_| continue_expired(resume))?;
        return Ok((page, filter));
    }
    let current = store.revision();
    if let Some(asked) = asked
        && asked > current
    {
        return Err(ApiError::future_revision(asked, current));
    }
    let exact = match (matching, asked) {
        (Some(Match::Exact), Some(0)) => {
            return Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        (Some(Match::Exact), at) => at,
        // Without a match, a page of a given revision is of exactly that revision.
        (None, Some(at)) if at > 0 && paged => Some(at),
        _ => None,
    };
    let page = store.list(&resource, namespace, exact, None).map_err(too_old)?;
    Ok((page, filter))
}

fn too_old(expired: Expired) -> ApiError {
    ApiError::expired(format!(
        "The resourceVersion for the provided list is too old: {} ({})",
        expired.asked, expired.oldest
    ))
}

fn continue_expired(resume: &Continue) -> ApiError {
    let now = Continue {
        revision: None,
        namespace: resume.namespace.clone(),
        name: resume.name.clone(),
    };
    ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new \
         list without the continue parameter, or use the continue token in this response to retrieve the \
         remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
         that were created, modified, or deleted between the time the first chunk was returned and now may show \
         up in the list.",
    )
    .with_continue(now.encode())
}

/// A list from stored bytes: nothing is parsed.
fn join(kind: &ResourceKind, items: &[Arc<Entry>], meta: &Value) -> Bytes {
    let size: usize = items.iter().map(|entry| entry.json.len() + 1).sum();
    let mut out = BytesMut::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{meta},\"items\":[",
        json!(kind.list_kind),
        json!(kind.api_version())
    );
    out.put_slice(head.as_bytes());
    for (index, entry) in items.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(&entry.json);
    }
    out.put_slice(b"]}");
    out.freeze()
}
