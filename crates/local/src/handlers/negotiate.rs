//! In which form an answer is wanted: the object, its metadata only, or a table.

use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

use super::query::Query;
use crate::registry::ResourceKind;
use crate::status::ApiError;
use crate::table;

/// How much of an object a table row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As stored.
    Object,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `Table`.
    Table(Include),
}

impl Form {
    /// The first form in `Accept` that can be served.
    pub fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, ApiError> {
        let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
        for option in accept.split(',') {
            let mut parts = option.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if !matches!(media, "application/json" | "*/*" | "application/*" | "") {
                continue;
            }
            let (mut wanted, mut group, mut version) = (None, None, None);
            for part in parts {
                match part.split_once('=') {
                    Some(("as", value)) => wanted = Some(value),
                    Some(("g", value)) => group = Some(value),
                    Some(("v", value)) => version = Some(value),
                    _ => {}
                }
            }
            let ours = group == Some("meta.k8s.io") && version == Some("v1");
            match wanted {
                None => return Ok(Self::Object),
                Some("Table") if ours => return Ok(Self::Table(include(query)?)),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if ours => {
                    return Ok(Self::Metadata);
                }
                Some(_) => {}
            }
        }
        Err(ApiError::not_acceptable())
    }

    /// One object in this form.
    pub fn one(self, kind: &ResourceKind, object: Value) -> Value {
        match self {
            Self::Object => object,
            Self::Metadata => partial(object),
            Self::Table(include) => {
                let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                render_table(kind, vec![object], &meta, include, true)
            }
        }
    }

    /// A list in this form, `meta` being its metadata.
    pub fn many(self, kind: &ResourceKind, objects: Vec<Value>, meta: &Value) -> Value {
        match self {
            Self::Object => json!({
                "kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": meta, "items": objects,
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
                "items": objects.into_iter().map(partial).collect::<Vec<_>>(),
            }),
            Self::Table(include) => render_table(kind, objects, meta, include, true),
        }
    }
}

fn include(query: &Query) -> Result<Include, ApiError> {
    match query.get("includeObject") {
        None | Some("Metadata") => Ok(Include::Metadata),
        Some("None") => Ok(Include::None),
        Some("Object") => Ok(Include::Object),
        Some(other) => Err(ApiError::bad_request(format!(
            "unrecognized includeObject value: {other:?}"
        ))),
    }
}

/// The object's metadata as an object of its own.
pub fn partial(object: Value) -> Value {
    let metadata = match object {
        Value::Object(mut map) => map.remove("metadata").unwrap_or(Value::Null),
        _ => Value::Null,
    };
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// A table of objects; without `columns` the column definitions are left out, as in later watch events.
pub fn render_table(
    kind: &ResourceKind,
    objects: Vec<Value>,
    meta: &Value,
    include: Include,
    columns: bool,
) -> Value {
    let mut table = table::render(kind, &objects, meta);
    if let Some(rows) = table["rows"].as_array_mut() {
        for (row, object) in rows.iter_mut().zip(objects) {
            match include {
                Include::None => {
                    if let Some(row) = row.as_object_mut() {
                        row.remove("object");
                    }
                }
                Include::Metadata => row["object"] = partial(object),
                Include::Object => row["object"] = object,
            }
        }
    }
    if !columns {
        table["columnDefinitions"] = Value::Null;
    }
    table
}
