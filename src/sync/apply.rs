//! Performs what the plan says: applies and deletes flows, cuts releases. One flow that is refused does not hold back another.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions},
};

use serde_json::json;

use super::{
    files::Defined,
    plan::{Action, Cut, Todo, is_of},
};
use crate::{
    cluster::{
        context::Context,
        create::{Adopted, create_or_adopt},
        status::{is_invalid, is_missing, is_stale},
    },
    git::Problem,
    remotes::RepositoryError,
};
use signoff_api::{Flow, Release, ReleaseSpec, flow::FlowSpec, names};

/// How many flows are written at the same time.
const CONCURRENCY: usize = 16;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Flows that the API server refused, by place in their file.
    pub(super) problems: Vec<Problem>,
    /// Flows that were deleted.
    pub(super) deleted: Vec<String>,
    /// The first failure that is worth another try.
    pub(super) failure: Option<RepositoryError>,
}

pub(super) async fn apply(context: &Context, namespace: &str, todo: Todo, read: &[&Arc<Defined>]) -> Applied {
    let flows = by_flow(todo.actions).into_iter();
    let applying = flows.map(|(name, actions)| apply_flow(context, namespace, name, actions, read));
    let all: Vec<Applied> = stream::iter(applying).buffered(CONCURRENCY).collect().await;
    all.into_iter().fold(Applied::default(), |mut sum, one| {
        sum.problems.extend(one.problems);
        sum.deleted.extend(one.deleted);
        sum.failure = sum.failure.or(one.failure);
        sum
    })
}

/// The actions of each flow, which the plan has one after the other.
fn by_flow(actions: Vec<Action>) -> Vec<(String, Vec<Action>)> {
    let mut flows: Vec<(String, Vec<Action>)> = Vec::new();
    for action in actions {
        let name = match &action {
            Action::Apply(flow) => flow.name_any(),
            Action::Cut(cut) => cut.flow.clone(),
            Action::Delete { name, .. } => name.clone(),
        };
        match flows.last_mut() {
            Some((last, actions)) if *last == name => actions.push(action),
            _ => flows.push((name, vec![action])),
        }
    }
    flows
}

/// Does what is to be done for one flow. When an action comes to nothing, the later ones have no ground to stand on.
async fn apply_flow(
    context: &Context,
    namespace: &str,
    name: String,
    actions: Vec<Action>,
    read: &[&Arc<Defined>],
) -> Applied {
    let mut applied = Applied::default();
    for action in actions {
        let deletes = matches!(action, Action::Delete { .. });
        match perform(context, namespace, action).await {
            Ok(()) if deletes => applied.deleted.push(name.clone()),
            Ok(()) => {}
            Err(RepositoryError::Api(_, ref error @ kube::Error::Api(ref status)))
                if is_invalid(error) || status.code == 403 =>
            {
                let place = read
                    .iter()
                    .find_map(|defined| defined.flows.get(&name))
                    .map(|flow| &flow.place);
                applied
                    .problems
                    .extend(place.map(|place| place.refused(status)).unwrap_or_default());
                break;
            }
            Err(error) => {
                applied.failure = Some(error);
                break;
            }
        }
    }
    applied
}

async fn perform(context: &Context, namespace: &str, action: Action) -> Result<(), RepositoryError> {
    let flows = context.namespaced::<Flow>(namespace);
    match action {
        Action::Apply(flow) => {
            // what git says wins over what was edited by hand
            let params = PatchParams::apply(names::FIELD_MANAGER_REPOSITORY).force();
            let applied = flows.patch(&flow.name_any(), &params, &Patch::Apply(&flow)).await;
            let applied = applied.map_err(|error| RepositoryError::Api("apply a flow", error))?;
            set_right(&flows, &flow, &applied).await
        }
        Action::Cut(cut) => cut_release(context, namespace, *cut).await,
        Action::Delete { name, uid, version } => {
            // it may have become live meanwhile, behind a gate
            let same = Preconditions {
                uid: Some(uid),
                resource_version: Some(version),
            };
            let params = DeleteParams {
                preconditions: Some(same),
                ..DeleteParams::default()
            };
            match flows.delete(&name, &params).await {
                Err(error) if !is_missing(&error) => Err(RepositoryError::Api("delete a flow", error)),
                _ => Ok(()),
            }
        }
    }
}

/// Applying leaves alone what others added, but a definition is what git says and nothing more.
async fn set_right(flows: &Api<Flow>, wanted: &Flow, applied: &Flow) -> Result<(), RepositoryError> {
    if applied.spec.definition == wanted.spec.definition {
        return Ok(());
    }
    let spec = FlowSpec {
        definition: wanted.spec.definition.clone(),
        live: applied.spec.live.clone(),
        suspend: applied.spec.suspend,
    };
    let operations = serde_json::from_value(json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": applied.resource_version() },
        { "op": "replace", "path": "/spec", "value": spec },
    ]));
    let operations =
        operations.map_err(|error| RepositoryError::Api("write a flow", kube::Error::SerdeError(error)))?;
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER_REPOSITORY.to_owned()),
        ..PatchParams::default()
    };
    let written = flows
        .patch(&wanted.name_any(), &params, &Patch::<()>::Json(operations))
        .await;
    match written {
        // the watch brings the newer flow, and with it another look
        Err(error) if !is_stale(&error) => Err(RepositoryError::Api("write a flow", error)),
        _ => Ok(()),
    }
}

async fn cut_release(context: &Context, namespace: &str, cut: Cut) -> Result<(), RepositoryError> {
    let flow = context.namespaced::<Flow>(namespace).get(&cut.flow).await;
    let flow = flow.map_err(|error| RepositoryError::Api("read a flow", error))?;
    let releases = context.namespaced::<Release>(namespace);
    let release = release(&flow, &cut);
    match create_or_adopt(&releases, &release, |there| is_of(there, &cut)).await {
        Ok(Adopted::Ours(_)) => Ok(()),
        Ok(Adopted::Others(there)) => Err(RepositoryError::Collision(there.name_any())),
        Err(error) => Err(RepositoryError::Api("create a release", error)),
    }
}

fn release(flow: &Flow, cut: &Cut) -> Release {
    let labels = [
        (names::MANAGED_BY, names::MANAGED_BY_VALUE),
        (names::FLOW, cut.flow.as_str()),
    ];
    let metadata = ObjectMeta {
        name: Some(names::release_name(&cut.flow, &cut.digest)),
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        owner_references: flow.controller_owner_ref(&()).map(|owner| vec![owner]),
        finalizers: Some(vec![names::FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    let spec = ReleaseSpec {
        flow: cut.flow.clone(),
        definition: cut.definition.clone(),
        digest: cut.digest.clone(),
        dependencies: cut.dependencies.clone(),
        source: cut.source.clone(),
    };
    Release {
        metadata,
        spec,
        status: None,
    }
}
