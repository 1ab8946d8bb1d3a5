//! Patch, by content type.

use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{self, Body};
use super::decode::Decoded;
use super::objects::Tracked;
use super::query::{FieldValidation, WriteOptions};
use super::update::{ATTEMPTS, same_uid};
use super::{Call, create, objects};
use crate::clock;
use crate::managed_fields;
use crate::patch::{PatchError, json_patch, merge_patch, strategic_merge_patch};
use crate::status::{ApiError, cause};
use crate::store::WriteError;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Merge,
    Strategic,
}

/// Answers a patch.
pub async fn patch(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let options = call.query.write_options(call.user_agent())?;
    let custom = call.kind().crd.is_some();
    let format = match body::media_type(&call.headers).as_str() {
        APPLY => return apply(call, &options).await,
        JSON => Format::Json,
        MERGE => Format::Merge,
        STRATEGIC if !custom => Format::Strategic,
        _ if custom => return Err(ApiError::unsupported_media_type(&[JSON, MERGE, APPLY])),
        _ => return Err(ApiError::unsupported_media_type(&[JSON, MERGE, STRATEGIC, APPLY])),
    };
    if options.force {
        let forbidden = cause(
            "FieldValueForbidden",
            "force",
            "Forbidden: may not be specified for non-apply patch",
        );
        return Err(ApiError::invalid_options("PatchOptions", vec![forbidden]));
    }
    let Decoded { value: patch, twice } = body::json(&call.body)?;
    let of = if format == Format::Json { "json patch " } else { "" };
    let twice_told: Vec<String> = twice
        .iter()
        .map(|path| format!("{of}duplicate field \"{path}\""))
        .collect();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let entry = call.current()?;
        let old = entry.value();
        let shown = super::events::shown(call.kind(), old.clone());
        let mut new = objects::received(call, patched(format, &shown, &patch)?)?;
        let asked = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !asked.is_empty() && asked != entry.revision.to_string() {
            return Err(ApiError::modified(call.kind(), call.name()));
        }
        same_uid(call, &new, &entry.uid)?;
        let mut warnings = Vec::new();
        let odd = objects::prune(call, &mut new, &[]);
        let odd: Vec<String> = twice_told.iter().cloned().chain(odd).collect();
        match options.validation {
            FieldValidation::Strict if !odd.is_empty() => return Err(strict(&patch, &odd)),
            FieldValidation::Warn => warnings.extend(odd),
            _ => {}
        }
        call.admit_change(&options, &old, &mut new, Tracked::No)?;
        let key = call.key(call.name());
        match objects::replace(call.plane, key, &entry, &old, new, options.dry_run).await {
            Ok(saved) => return Ok(call.saved(StatusCode::OK, saved, &warnings)),
            Err(WriteError::Stale) if attempts < ATTEMPTS => {}
            Err(error) => return Err(objects::refused(call.kind(), call.name(), &error)),
        }
    }
}

/// 422: a strict caller's patch has fields twice, or makes fields that are unknown.
fn strict(patch: &Value, odd: &[String]) -> ApiError {
    let message = format!(
        "Invalid value: {patch}: strict decoding error: {}",
        odd.join(", ")
    );
    let error = ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "Invalid",
        format!(" \"\" is invalid: patch: {message}"),
    );
    error.with_causes(vec![cause("FieldValueInvalid", "patch", message)])
}

fn patched(format: Format, current: &Value, patch: &Value) -> Result<Value, ApiError> {
    let result = match format {
        Format::Json => json_patch(current, patch),
        Format::Merge => merge_patch(current, patch),
        Format::Strategic => strategic_merge_patch(current, patch),
    };
    result.map_err(|error| failed(&error))
}

fn failed(error: &PatchError) -> ApiError {
    match error {
        PatchError::Malformed(why) => ApiError::bad_request(format!("error decoding patch: {why}")),
        PatchError::Unfit(why) => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {why}"),
        ),
    }
}

/// Server-side apply: creates the object when it is not there.
async fn apply(call: &Call<'_>, options: &WriteOptions) -> Result<Response<Body>, ApiError> {
    let kind = call.kind();
    if !options.manager_given {
        let required = "Required value: is required for apply patch";
        let causes = vec![cause("FieldValueRequired", "fieldManager", required)];
        return Err(ApiError::invalid_options("PatchOptions", causes));
    }
    let Decoded { value, twice } = body::yaml(&call.body)?;
    let mut applied = objects::received(call, value)?;
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let mut warnings = Vec::new();
    objects::decoded(call, options, &mut applied, &twice, &mut warnings)?;
    // merging cannot tell which of two items is meant
    let duplicates = call.plane.schema(kind).duplicates(&applied);
    if !duplicates.is_empty() {
        let causes = duplicates
            .into_iter()
            .map(|error| cause(&error.reason, error.field, error.message))
            .collect();
        return Err(ApiError::invalid(kind, call.name(), causes));
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Some(entry) = call.plane.store.get(&call.key(call.name())) else {
            if call.is_status() {
                return Err(ApiError::not_found(kind, call.name()));
            }
            if let Some(uid) = applied["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(ApiError::conflict(kind, call.name(), &why));
            }
            let new = merge(call, options, None, &applied)?;
            let saved = create::insert(call, options, new, Tracked::Yes).await;
            if saved
                .as_ref()
                .is_err_and(|error| error.reason() == "AlreadyExists")
                && attempts < ATTEMPTS
            {
                continue;
            }
            return Ok(call.saved(StatusCode::CREATED, saved?, &warnings));
        };
        let old = entry.value();
        let asked = applied["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        if !asked.is_empty() && asked != entry.revision.to_string() {
            return Err(ApiError::modified(kind, call.name()));
        }
        same_uid(call, &applied, &entry.uid)?;
        let mut new = merge(call, options, Some(&old), &applied)?;
        call.admit_change(options, &old, &mut new, Tracked::Yes)?;
        let key = call.key(call.name());
        match objects::replace(call.plane, key, &entry, &old, new, options.dry_run).await {
            Ok(saved) => return Ok(call.saved(StatusCode::OK, saved, &warnings)),
            Err(WriteError::Stale) if asked.is_empty() && attempts < ATTEMPTS => {}
            Err(error) => return Err(objects::refused(kind, call.name(), &error)),
        }
    }
}

fn merge(
    call: &Call<'_>,
    options: &WriteOptions,
    live: Option<&Value>,
    applied: &Value,
) -> Result<Value, ApiError> {
    let now = clock::now();
    managed_fields::apply(live, applied, &call.ownership(options, &now)).map_err(|conflicts| {
        let causes: Vec<_> = conflicts
            .iter()
            .map(|c| cause("FieldManagerConflict", c.field.clone(), c.message.clone()))
            .collect();
        let plural = if causes.len() == 1 {
            "conflict"
        } else {
            "conflicts"
        };
        let list: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.message, c.field))
            .collect();
        let message = format!("Apply failed with {} {plural}: {}", causes.len(), list.join("\n"));
        ApiError::new(StatusCode::CONFLICT, "Conflict", message).with_causes(causes)
    })
}
