//! What stays when a Repository is deleted. Flows that go with it have an owner reference, so that the API server's garbage
//! collector deletes them. Flows that stay have none: an owner that is deleted in the foreground loses all its dependents at once.
//! A finalizer holds the Repository until the flows that stay no longer name it.

use std::sync::Arc;

use json_patch::{
    AddOperation, Patch as Operations, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf,
};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    runtime::events::EventType,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::plan;
use crate::{
    cluster::{context::Context, status::is_missing},
    remotes::RepositoryError,
};
use signoff_api::{Flow, Repository, flow::repository_owners, names, repository::Prune};

/// As an owner that does not wait for its dependents: one that is deleted in the foreground would have them deleted before it.
pub(super) fn owner(mut owner: OwnerReference) -> OwnerReference {
    owner.block_owner_deletion = Some(false);
    owner
}

/// Takes the owner reference from the flows that stay when the Repository goes.
pub(super) async fn untie(
    context: &Context,
    repository: &Repository,
    flows: &[Arc<Flow>],
) -> Result<(), RepositoryError> {
    let tied = |flow: &&Arc<Flow>| {
        let mut owners = repository_owners(&***flow);
        owners.any(|uid| Some(uid) == repository.metadata.uid.as_ref()) && keeps(repository, flow)
    };
    for flow in flows.iter().filter(tied) {
        without_owner(context, repository, flow, false).await?;
    }
    Ok(())
}

/// Whether a flow stays when its Repository goes, or when its file goes and nothing else says what is live.
pub(super) fn keeps(repository: &Repository, flow: &Flow) -> bool {
    match repository.spec.prune.unwrap_or_default() {
        Prune::KeepLive => {
            let status = flow.status.as_ref();
            flow.spec.live.is_some() || status.is_some_and(|status| status.live.is_some())
        }
        Prune::All => false,
        Prune::Never => true,
    }
}

pub(super) fn never_prunes(repository: &Repository) -> bool {
    repository.spec.prune == Some(Prune::Never)
}

fn is_held(repository: &Repository) -> bool {
    repository
        .finalizers()
        .iter()
        .any(|name| name == names::FINALIZER)
}

/// Holds a Repository whose flows may have to stay, or lets go of one whose flows all go with it. Whether it was changed.
pub(super) async fn hold(context: &Context, repository: &Repository) -> Result<bool, RepositoryError> {
    let wanted = repository.spec.prune.unwrap_or_default() != Prune::All;
    if wanted == is_held(repository) {
        return Ok(false);
    }
    set_finalizer(context, repository, wanted).await?;
    Ok(true)
}

/// Of a Repository that is being deleted: lets go of the flows that stay, then of itself.
pub(super) async fn let_go(context: &Context, repository: &Repository) -> Result<(), RepositoryError> {
    if !is_held(repository) {
        return Ok(());
    }
    // as they are now: one that has just become live stays
    let namespace = repository.namespace().unwrap_or_default();
    let all = context.list::<Flow>(&namespace, &ListParams::default()).await;
    let all = all.map_err(|error| RepositoryError::Api("list the flows", error))?;
    let mut kept = Vec::new();
    for flow in all.items.iter().filter(|flow| plan::is_owned(repository, *flow)) {
        if keeps(repository, flow) {
            without_owner(context, repository, flow, true).await?;
            kept.push(flow.name_any());
        }
    }
    if !kept.is_empty() {
        let note = format!("these flows stay, as spec.prune says: {}", kept.join(", "));
        let note: String = note.chars().take(1_000).collect();
        context
            .event(repository, EventType::Normal, "FlowsKept", &note)
            .await;
    }
    set_finalizer(context, repository, false).await
}

/// Takes the owner reference from a flow, and what else says that it belongs to the Repository if it is to be forgotten.
async fn without_owner(
    context: &Context,
    repository: &Repository,
    flow: &Flow,
    forget: bool,
) -> Result<(), RepositoryError> {
    let uid = repository.uid();
    let left: Vec<&OwnerReference> = flow
        .owner_references()
        .iter()
        .filter(|owner| Some(&owner.uid) != uid.as_ref())
        .collect();
    let mut changes = vec![replaced("ownerReferences", json!(left))];
    if forget && flow.annotations().contains_key(names::REPOSITORY_UID) {
        changes.push(PatchOperation::Remove(RemoveOperation {
            path: PointerBuf::from_tokens(["metadata", "annotations", names::REPOSITORY_UID]),
        }));
    }
    change(context, flow, changes, "keep a flow").await
}

async fn set_finalizer(
    context: &Context,
    repository: &Repository,
    held: bool,
) -> Result<(), RepositoryError> {
    let mut finalizers = repository.finalizers().to_vec();
    finalizers.retain(|name| name != names::FINALIZER);
    if held {
        finalizers.push(names::FINALIZER.to_owned());
    }
    let changes = vec![replaced("finalizers", json!(finalizers))];
    change(context, repository, changes, "hold or let go of the repository").await
}

fn replaced(field: &str, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: PointerBuf::from_tokens(["metadata", field]),
        value,
    })
}

/// Changes an object's metadata, if the object is as it was seen.
async fn change<K>(
    context: &Context,
    object: &K,
    changes: Vec<PatchOperation>,
    doing: &'static str,
) -> Result<(), RepositoryError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let unchanged = PatchOperation::Test(TestOperation {
        path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
        value: Value::String(object.resource_version().unwrap_or_default()),
    });
    let operations = Operations(std::iter::once(unchanged).chain(changes).collect());
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = context.namespaced::<K>(&object.namespace().unwrap_or_default());
    let patched = api
        .patch(&object.name_any(), &params, &Patch::<()>::Json(operations))
        .await;
    match patched {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(RepositoryError::Api(doing, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(prune: &Value) -> Repository {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "r", "uid": "u"},
            "spec": {"url": "https://forge.example.com/a/b", "draft": {"ref": "main"}, "prune": prune}}))
        .unwrap()
    }

    fn flow(spec_live: &Value, status_live: &Value) -> Flow {
        serde_json::from_value(
            json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow", "metadata": {"name": "f"},
            "spec": {"steps": [], "live": spec_live}, "status": {"live": status_live}}),
        )
        .unwrap()
    }

    #[test]
    fn what_is_live_stays_unless_all_is_to_go_and_nothing_goes_where_nothing_is_to() {
        let (none, live) = (
            flow(&Value::Null, &Value::Null),
            flow(&json!("f-1"), &Value::Null),
        );
        for (prune, drafts_stay, live_stays) in [
            (Value::Null, false, true),
            (json!("KeepLive"), false, true),
            (json!("All"), false, false),
            (json!("Never"), true, true),
        ] {
            let repository = repository(&prune);
            assert_eq!(
                (keeps(&repository, &none), keeps(&repository, &live)),
                (drafts_stay, live_stays),
                "{prune}"
            );
        }
    }
}
