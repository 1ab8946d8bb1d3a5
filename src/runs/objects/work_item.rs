//! Tasks of a run: queued, closed, and read.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Resource as _, ResourceExt as _, api::ObjectMeta, runtime::reflector::ObjectRef};

use super::ObjectError;
use crate::{
    cluster::{
        context::Context,
        create::{Adopted, create_or_adopt},
        status::{is_missing, is_stale, patch_status},
    },
    runs::Deps,
};
use signoff_api::{Run, WorkItem, names};
use signoff_engine::{
    facts::WorkFact,
    object::{CloseObject, OpenWorkItem},
    work,
};

/// Creates a task, or finds the one that an earlier attempt created.
pub(super) async fn open(
    context: &Context,
    run: &Run,
    wanted: &OpenWorkItem,
) -> Result<WorkFact, ObjectError> {
    let api = context.namespaced::<WorkItem>(&run.namespace().unwrap_or_default());
    let mut item = WorkItem::new(&wanted.name, wanted.spec.clone());
    item.metadata = ObjectMeta {
        labels: Some(labels(run, wanted)),
        owner_references: run.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..item.metadata
    };
    let is_ours = |there: &WorkItem| belongs_to(there, run) && there.spec == wanted.spec;
    match create_or_adopt(&api, &item, is_ours).await {
        Ok(Adopted::Ours(item)) => Ok(fact(&item)),
        Ok(Adopted::Others(_)) => Err(ObjectError::WorkTaken(wanted.name.clone())),
        Err(error) => Err(ObjectError::Api(
            format!("queue the task {:?}", wanted.name),
            error,
        )),
    }
}

fn labels(run: &Run, wanted: &OpenWorkItem) -> BTreeMap<String, String> {
    let status = run.status.as_ref();
    let release = status
        .and_then(|status| status.release.as_ref())
        .map(|release| release.name.clone());
    [
        (names::MANAGED_BY, Some(names::MANAGED_BY_VALUE.to_owned())),
        (names::FLOW, Some(run.spec.flow.to_string())),
        (names::RELEASE, release),
        (names::RUN, Some(run.name_any())),
        (names::STEP, Some(wanted.spec.step.clone())),
        (names::QUEUE, Some(wanted.spec.queue.to_string())),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some((label.to_owned(), value?)))
    .collect()
}

/// Closes a task of this run that is still open. Its worker sees that, and cannot answer any more.
pub(super) async fn close(
    context: &Context,
    run: &Run,
    wanted: &CloseObject,
) -> Result<Option<WorkFact>, ObjectError> {
    let api = context.namespaced::<WorkItem>(&run.namespace().unwrap_or_default());
    let failed = |error| ObjectError::Api(format!("close the task {:?}", wanted.key.name), error);
    loop {
        let Some(item) = api.get_opt(&wanted.key.name).await.map_err(failed)? else {
            return Ok(None);
        };
        let status = item.status.clone().unwrap_or_default();
        if status.phase.is_closed() || !belongs_to(&item, run) {
            return Ok(Some(fact(&item)));
        }
        let closed = work::cancelled(&status, &wanted.message, item.metadata.generation, context.now());
        match patch_status(context, &item, &closed).await {
            Ok(closed) => return Ok(Some(fact(&closed))),
            Err(error) if is_missing(&error) => return Ok(None),
            // its worker wrote at the same time: look again
            Err(error) if is_stale(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// A task as the engine sees it.
pub(in crate::runs) fn fact(item: &WorkItem) -> WorkFact {
    work::fact(&item.spec, &item.status.clone().unwrap_or_default())
}

/// What is known of a task: what the watch shows as open is; the others are read.
pub(super) async fn look(deps: &Deps, run: &Run, name: &str) -> Result<Option<WorkFact>, kube::Error> {
    if let Some(shown) = shown(deps, run, name) {
        return Ok(Some(fact(&shown)));
    }
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let item = deps
        .context
        .namespaced::<WorkItem>(namespace)
        .get_opt(name)
        .await?;
    Ok(item.filter(|item| belongs_to(item, run)).map(|item| fact(&item)))
}

/// Whether the watch shows this task of this run as open.
pub(super) fn is_open(deps: &Deps, run: &Run, name: &str) -> bool {
    shown(deps, run, name).is_some()
}

fn shown(deps: &Deps, run: &Run, name: &str) -> Option<Arc<WorkItem>> {
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let item = deps.work.get(&ObjectRef::new(name).within(namespace))?;
    belongs_to(&item, run).then_some(item)
}

/// Whether a task was queued by this very run.
fn belongs_to(item: &WorkItem, run: &Run) -> bool {
    let mut owners = item.owner_references().iter();
    owners.any(|owner| owner.kind == "Run" && Some(&owner.uid) == run.metadata.uid.as_ref())
}
