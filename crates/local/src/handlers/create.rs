//! Create.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{self, Body};
use super::decode::Decoded;
use super::objects::{Saved, Tracked};
use super::query::WriteOptions;
use super::{Call, objects};
use crate::core_kinds;
use crate::ids;
use crate::plane::Plane;
use crate::registry::ResourceKind;
use crate::status::{ApiError, cause};
use crate::store::{Action, Expect, Key, WriteError};

use super::meta;

/// Names tried for `generateName` before giving up.
const ATTEMPTS: usize = 8;

/// Answers a create.
pub async fn create(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let options = call.query.write_options(call.user_agent())?;
    let mut warnings = Vec::new();
    let Decoded { value, twice } = body::parse(&call.headers, &call.body)?;
    let mut object = objects::received(call, value)?;
    if !object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    objects::decoded(call, &options, &mut object, &twice, &mut warnings)?;
    let saved = insert(call, &options, object, Tracked::No).await?;
    Ok(call.saved(StatusCode::CREATED, saved, &warnings))
}

/// Stores a new object; used by create and by apply.
pub async fn insert(
    call: &Call<'_>,
    options: &WriteOptions,
    mut object: Value,
    tracked: Tracked,
) -> Result<Saved, ApiError> {
    let kind = call.kind();
    must_exist(call)?;
    prepare(call, &mut object);
    let stem = object["metadata"]["generateName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let generated = object["metadata"]["name"].as_str().unwrap_or_default().is_empty() && !stem.is_empty();
    let mut attempts = 0;
    loop {
        attempts += 1;
        if generated {
            object["metadata"]["name"] = Value::from(ids::name(&stem));
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            let required = cause(
                "FieldValueRequired",
                "metadata.name",
                "Required value: name or generateName is required",
            );
            return Err(ApiError::invalid(kind, "", vec![required]));
        }
        if attempts == 1 {
            core_kinds::create(kind, &mut object);
            call.admit(options, None, &mut object, tracked)?;
            core_kinds::created(kind, &mut object);
        }
        let key = call.key(&name);
        if options.dry_run {
            return if call.plane.store.get(&key).is_some() {
                Err(ApiError::already_exists(kind, &name))
            } else {
                Ok(Saved::Only(object))
            };
        }
        match call
            .plane
            .store
            .write(key, Expect::Absent, Action::Put(object.clone()))
            .await
        {
            Ok(entry) => return Ok(Saved::Stored(entry)),
            Err(WriteError::Exists) if generated && attempts < ATTEMPTS => {}
            Err(error) => return Err(objects::refused(kind, &name, &error)),
        }
    }
}

fn prepare(call: &Call<'_>, object: &mut Value) {
    let kind = call.kind();
    meta::create(object, counts_generations(kind));
    if kind.status_subresource
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    call.plane.schema(kind).default(object);
}

/// Whether objects of the kind have a generation.
fn counts_generations(kind: &ResourceKind) -> bool {
    kind.crd.is_some() || kind.kind == "Job"
}

/// The namespace of a new object must be there and not on its way out.
fn must_exist(call: &Call<'_>) -> Result<(), ApiError> {
    if !call.kind().namespaced {
        return Ok(());
    }
    let name = call.namespace();
    let Some(kind) = call.plane.registry.resource("", "namespaces") else {
        return Ok(());
    };
    let key = Key::new(kind, "", name);
    match call.plane.store.get(&key) {
        None => Err(ApiError::not_found(kind, name)),
        Some(entry) if entry.deleting => {
            let why =
                format!("unable to create new content in namespace {name} because it is being terminated");
            let terminating = cause(
                "NamespaceTerminating",
                "metadata.namespace",
                format!("namespace {name} is being terminated"),
            );
            Err(ApiError::forbidden(call.kind(), "", &why).with_causes(vec![terminating]))
        }
        Some(_) => Ok(()),
    }
}

/// Puts an object of the server itself into the store when it is missing, or differs and is to be `renewed`.
pub async fn bootstrap(plane: &Arc<Plane>, mut object: Value, renewed: bool) -> Result<(), ApiError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let Some(kind) = plane.registry.by_kind(&api_version, &kind) else {
        return Err(ApiError::no_such_resource());
    };
    let name = text(&object["metadata"]["name"]);
    let key = Key::new(kind, &text(&object["metadata"]["namespace"]), &name);
    let expect = match plane.store.get(&key) {
        None => {
            meta::create(&mut object, counts_generations(kind));
            core_kinds::create(kind, &mut object);
            core_kinds::created(kind, &mut object);
            Expect::Absent
        }
        Some(entry) => {
            let old = entry.value();
            meta::keep_servers(&old, &mut object);
            if !renewed || meta::same(&old, &object) {
                return Ok(());
            }
            Expect::Revision(entry.revision)
        }
    };
    let written = plane.store.write(key, expect, Action::Put(object)).await;
    written
        .map(|_| ())
        .map_err(|error| objects::refused(kind, &name, &error))
}
