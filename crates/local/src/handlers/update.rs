//! Update (PUT), of an object or of its status.

use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{self, Body};
use super::decode::Decoded;
use super::objects::Tracked;
use super::query::WriteOptions;
use super::{Call, events, meta, objects};
use crate::admission::{Operation, Request};
use crate::clock;
use crate::core_kinds;
use crate::managed_fields::{self, ApplyContext};
use crate::registry::ResourceKind;
use crate::status::{ApiError, cause};
use crate::store::WriteError;

/// Times an unconditional write is tried again when others write the same object.
pub const ATTEMPTS: usize = 10;

/// Answers an update.
pub async fn update(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let kind = call.kind();
    let options = call.query.write_options(call.user_agent())?;
    let mut warnings = Vec::new();
    let Decoded { value, twice } = body::parse(&call.headers, &call.body)?;
    let mut sent = objects::received(call, value)?;
    objects::decoded(call, &options, &mut sent, &twice, &mut warnings)?;
    let asked = sent["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if asked.is_empty() && kind.crd.is_some() {
        call.current()?;
        let must = "Invalid value: 0: must be specified for an update";
        // a real server names the resource here, not the kind
        let named = ResourceKind {
            kind: kind.plural.clone(),
            ..(**kind).clone()
        };
        return Err(ApiError::invalid(
            &named,
            call.name(),
            vec![cause("FieldValueInvalid", "metadata.resourceVersion", must)],
        ));
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let entry = call.current()?;
        if !asked.is_empty() && asked != entry.revision.to_string() {
            return Err(ApiError::modified(kind, call.name()));
        }
        same_uid(call, &sent, &entry.uid)?;
        let old = entry.value();
        let mut new = sent.clone();
        call.admit_change(&options, &old, &mut new, Tracked::No)?;
        let saved = objects::replace(
            call.plane,
            call.key(call.name()),
            &entry,
            &old,
            new,
            options.dry_run,
        )
        .await;
        match saved {
            Ok(saved) => return Ok(call.saved(StatusCode::OK, saved, &warnings)),
            Err(WriteError::Stale) if asked.is_empty() && attempts < ATTEMPTS => {}
            Err(error) => return Err(objects::refused(kind, call.name(), &error)),
        }
    }
}

/// A uid that is sent must be that of the object.
pub fn same_uid(call: &Call<'_>, sent: &Value, uid: &str) -> Result<(), ApiError> {
    match sent["metadata"]["uid"]
        .as_str()
        .filter(|sent| !sent.is_empty() && *sent != uid)
    {
        None => Ok(()),
        Some(sent) => {
            let why = format!("Precondition failed: UID in precondition: {sent}, UID in object meta: {uid}");
            Err(ApiError::conflict(call.kind(), call.name(), &why))
        }
    }
}

impl Call<'_> {
    /// Brings a changed object into the shape in which it may be stored, or refuses it.
    pub(super) fn admit_change(
        &self,
        options: &WriteOptions,
        old: &Value,
        new: &mut Value,
        tracked: Tracked,
    ) -> Result<(), ApiError> {
        let kind = self.kind();
        // before they are compared: what is only left out is no change
        self.plane.schema(kind).default(new);
        objects::settle(kind, self.is_status(), old, new);
        if !self.is_status() {
            core_kinds::update(kind, old, new);
        }
        self.plane.schema(kind).default(new);
        if meta::same(old, new) {
            let request = self.admission(Operation::Update, self.name(), options.dry_run);
            return request.validate(&self.plane.policies, Some(old), Some(new));
        }
        self.admit(options, Some(old), new, tracked)
    }

    /// Ownership, admission and validation: the last steps before an object is stored. What the policies fill in, nobody owns.
    pub(super) fn admit(
        &self,
        options: &WriteOptions,
        old: Option<&Value>,
        new: &mut Value,
        tracked: Tracked,
    ) -> Result<(), ApiError> {
        if tracked == Tracked::No {
            managed_fields::track_update(old, new, &self.ownership(options, &clock::now()));
        }
        let plane = self.plane;
        let name = new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let operation = old.map_or(Operation::Create, |_| Operation::Update);
        let request = self.admission(operation, &name, options.dry_run);
        request.mutate(&plane.policies, old, new)?;
        objects::validate(plane, self.kind(), new, old)?;
        request.validate(&plane.policies, old, Some(new))?;
        events::complete(self.kind(), new);
        Ok(())
    }

    /// Refuses a deletion that the policies forbid.
    pub(super) fn admit_deletion(&self, object: &Value, dry_run: bool) -> Result<(), ApiError> {
        let request = self.admission(Operation::Delete, self.name(), dry_run);
        request.validate(&self.plane.policies, Some(object), None)
    }

    fn admission<'a>(&'a self, operation: Operation, name: &'a str, dry_run: bool) -> Request<'a> {
        Request {
            user: &self.user,
            kind: self.kind(),
            subresource: self.target.part.as_deref().unwrap_or_default(),
            namespace: self.namespace(),
            name,
            operation,
            dry_run,
            authorizer: self.plane.authorizer(),
        }
    }

    /// Who writes what, for field ownership.
    pub(super) fn ownership<'a>(&'a self, options: &'a WriteOptions, now: &'a str) -> ApplyContext<'a> {
        ApplyContext {
            manager: &options.manager,
            force: options.force,
            subresource: self.target.part.as_deref(),
            now,
            schema: self.plane.schema(self.kind()),
        }
    }
}
