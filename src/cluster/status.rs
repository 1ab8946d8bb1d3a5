//! Status writes that a stale writer cannot make, and the conditions every kind has.

use std::{fmt::Debug, time::Duration};

use json_patch::{AddOperation, Patch as Operations, PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams, Request},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{context::Context, objects::Undecodable};
use signoff_api::{
    condition::{self, ConditionStatus},
    names,
};

/// Writes an object's status whole, if the object is still as it was read. Gives the object as the API server acknowledged it.
///
/// # Errors
/// When the API server refuses or does not answer; [`is_stale`] tells whether somebody else wrote the object meanwhile.
pub async fn patch_status<K, S>(context: &Context, object: &K, status: &S) -> Result<K, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: Serialize + ?Sized,
{
    let status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    let version = object.resource_version().unwrap_or_default();
    let operations = Operations(vec![
        PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: Value::String(version),
        }),
        PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(["status"]),
            value: status,
        }),
    ]);
    let api = context.namespaced::<K>(&object.namespace().unwrap_or_default());
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_status(&object.name_any(), &params, &Patch::<()>::Json(operations))
        .await
}

/// Writes some fields of the status of an object that cannot be decoded, if it is still as it was read. The answer is not
/// decoded either.
///
/// # Errors
/// When the API server refuses or does not answer; [`is_stale`] tells whether somebody else wrote the object meanwhile.
pub async fn merge_status<K>(context: &Context, object: &Undecodable, fields: &Value) -> kube::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let meta = &object.metadata;
    // an object of that name that was made meanwhile is another one
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": fields});
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let name = meta.name.as_deref().unwrap_or_default();
    let request = Request::new(K::url_path(&(), meta.namespace.as_deref()))
        .patch_subresource("status", name, &params, &Patch::Merge(patch))
        .map_err(kube::Error::BuildRequest)?;
    context.client().request_text(request).await.map(drop)
}

/// Replaces a map in the status of an object, if the object is still as it was read. It may not have been there.
///
/// # Errors
/// When the API server refuses or does not answer; [`is_stale`] tells whether somebody else wrote the object meanwhile.
pub async fn replace_in_status<K>(
    api: &Api<K>,
    object: &K,
    field: &str,
    entries: Value,
    params: &PatchParams,
) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let operations = Operations(vec![
        PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: Value::String(object.resource_version().unwrap_or_default()),
        }),
        PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(["status", field]),
            value: entries,
        }),
    ]);
    api.patch_status(&object.name_any(), params, &Patch::<()>::Json(operations))
        .await
}

/// Pause before an object whose write met a newer one is looked at again. The watch brings that sooner, if there is one: an API server also
/// says so of what it keeps beside the object, such as a quota.
pub const AFTER_CONFLICT: Duration = Duration::from_secs(1);

/// Whether a write was refused because the object had changed: a failed `test` (422) or a conflict (409).
/// There is nothing to report; the object is looked at again.
pub fn is_stale(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            // a schema violation is 422 as well, but lists its causes; so may a failed test, with this one reason
            let violations = status.details.as_ref().is_some_and(|details| {
                let mut causes = details.causes.iter();
                causes.any(|cause| cause.reason != "UnexpectedServerResponse")
            });
            status.code == 409 || (status.code == 422 && !violations)
        }
        _ => false,
    }
}

/// Whether the API server will say the same again, whoever asks: the object itself is what it does not take.
pub fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 413 | 422)) && !is_stale(error)
}

/// Whether an object was not there.
pub fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// How an object stands, as `Ready`, `Reconciling` and `Stalled` (kstatus) tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as its spec says.
    Ready,
    /// Work goes on, or is tried again by itself.
    Reconciling,
    /// Nothing will change until a user acts.
    Stalled,
}

/// Sets the three conditions from one standing; those that do not apply are removed, as kstatus wants them.
pub fn stand(
    conditions: &mut Vec<Condition>,
    standing: Standing,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let ready = if standing == Standing::Ready {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    };
    condition::set(
        conditions,
        condition::READY,
        ready,
        reason,
        message,
        generation,
        now,
    );
    for (type_, of) in [
        (condition::RECONCILING, Standing::Reconciling),
        (condition::STALLED, Standing::Stalled),
    ] {
        if standing == of {
            condition::set(
                conditions,
                type_,
                ConditionStatus::True,
                reason,
                message,
                generation,
                now,
            );
        } else {
            condition::clear(conditions, type_);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_conditions_that_apply_are_there() {
        let mut conditions = vec![];
        let now = Timestamp::UNIX_EPOCH;
        stand(
            &mut conditions,
            Standing::Stalled,
            "InvalidDefinition",
            "no step",
            Some(3),
            now,
        );
        let types: Vec<_> = conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str()))
            .collect();
        assert_eq!(types, [("Ready", "False"), ("Stalled", "True")]);
        stand(&mut conditions, Standing::Ready, "Released", "", Some(4), now);
        let types: Vec<_> = conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.observed_generation))
            .collect();
        assert_eq!(types, [("Ready", Some(4))]);
    }

    #[test]
    fn a_repeated_standing_changes_nothing() {
        let mut conditions = vec![];
        stand(
            &mut conditions,
            Standing::Ready,
            "Released",
            "",
            Some(4),
            Timestamp::UNIX_EPOCH,
        );
        let before = conditions.clone();
        stand(
            &mut conditions,
            Standing::Ready,
            "Released",
            "",
            Some(4),
            Timestamp::from_second(9).unwrap(),
        );
        assert_eq!(conditions, before);
    }
}
