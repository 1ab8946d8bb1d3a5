//! Tasks of a run: queued, closed, and read.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Resource as _, ResourceExt as _, api::ObjectMeta, runtime::reflector::ObjectRef};

use super::{ObjectError, belongs_to, step_of};
use crate::{
    cluster::{
        context::Context,
        create::{Adopted, create_or_adopt},
        objects::{Decoded, Undecodable},
        status::{is_missing, is_stale, merge_status, patch_status},
    },
    runs::Deps,
};
use signoff_api::{Run, WorkItem, WorkItemPhase, names, run::StepStatus};
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
    let is_ours = |there: &WorkItem| belongs_to(&there.metadata, run) && there.spec == wanted.spec;
    match create_or_adopt(&api, &item, is_ours).await {
        Ok(Adopted::Ours(item)) => Ok(fact(&item)),
        Ok(Adopted::Others(_)) => Err(ObjectError::WorkTaken(wanted.name.clone())),
        // a worker may have written what cannot be decoded before it was known here that the task is there
        Err(kube::Error::SerdeError(_)) => {
            let of = (wanted.spec.step.clone(), wanted.spec.iteration, wanted.spec.item);
            let found = read(context, run, &wanted.name, of).await;
            let found =
                found.map_err(|error| ObjectError::Api(format!("read the task {:?}", wanted.name), error))?;
            found.ok_or_else(|| ObjectError::WorkTaken(wanted.name.clone()))
        }
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
    let api = context.namespaced::<Decoded<WorkItem>>(&run.namespace().unwrap_or_default());
    let failed = |error| ObjectError::Api(format!("close the task {:?}", wanted.key.name), error);
    loop {
        let Some(item) = api.get_opt(&wanted.key.name).await.map_err(failed)? else {
            return Ok(None);
        };
        let written = match &item {
            Decoded::Object(item) => {
                let status = item.status.clone().unwrap_or_default();
                if status.phase.is_closed() || !belongs_to(&item.metadata, run) {
                    return Ok(Some(fact(item)));
                }
                let closed =
                    work::cancelled(&status, &wanted.message, item.metadata.generation, context.now());
                let written = patch_status(context, item, &closed).await;
                written.map(|closed| Some(fact(&closed)))
            }
            Decoded::Undecodable(item) => {
                if !belongs_to(&item.metadata, run) {
                    return Ok(None);
                }
                let ended = end_unread(context, item, WorkItemPhase::Cancelled, &wanted.message).await;
                let of = step_of(run, &wanted.key).map(place);
                ended.map(|()| of.map(|of| unread_fact(of, WorkItemPhase::Cancelled, wanted.message.clone())))
            }
        };
        match written {
            Ok(closed) => return Ok(closed),
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
pub(super) async fn look(
    deps: &Deps,
    run: &Run,
    step: &StepStatus,
    name: &str,
) -> Result<Option<WorkFact>, kube::Error> {
    if let Some(shown) = shown(deps, run, name) {
        return Ok(Some(fact(&shown)));
    }
    read(&deps.context, run, name, place(step)).await
}

/// Step, iteration and item of a task.
type Place = (String, i64, Option<i64>);

/// Reads a task of this run. One that cannot be decoded, such as one with an answer that is nested too deep, has failed: the
/// watch passes over it, so nothing else would ever end it.
async fn read(context: &Context, run: &Run, name: &str, of: Place) -> Result<Option<WorkFact>, kube::Error> {
    let api = context.namespaced::<Decoded<WorkItem>>(run.metadata.namespace.as_deref().unwrap_or_default());
    loop {
        let unread = match api.get_opt(name).await? {
            None => return Ok(None),
            Some(Decoded::Object(item)) => {
                return Ok(Some(item)
                    .filter(|item| belongs_to(&item.metadata, run))
                    .map(|item| fact(&item)));
            }
            Some(Decoded::Undecodable(unread)) => unread,
        };
        if !belongs_to(&unread.metadata, run) {
            return Ok(None);
        }
        let message = format!("the task cannot be read: {}", unread.message());
        match end_unread(context, &unread, WorkItemPhase::Failed, &message).await {
            Err(error) if is_stale(&error) => continue,
            // what cannot be read and cannot be written has failed too; otherwise the run would never end
            Err(kube::Error::Api(status)) if matches!(status.code, 400..=428 | 430..=499) => {
                tracing::warn!(task = name, error = %status.message, "a task that cannot be read could not be closed");
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        return Ok(Some(unread_fact(of, WorkItemPhase::Failed, message)));
    }
}

/// Ends a task that cannot be decoded. Its answer, which is what its worker wrote, goes.
async fn end_unread(
    context: &Context,
    item: &Undecodable,
    phase: WorkItemPhase,
    message: &str,
) -> kube::Result<()> {
    let fields = work::ended_unread(
        &item.conditions,
        phase,
        message,
        item.metadata.generation,
        context.now(),
    );
    merge_status::<WorkItem>(context, item, &fields).await
}

fn unread_fact((step, iteration, item): Place, phase: WorkItemPhase, message: String) -> WorkFact {
    WorkFact {
        step,
        iteration,
        item,
        phase,
        worker: None,
        result: None,
        message: Some(message),
        is_lost: false,
    }
}

fn place(step: &StepStatus) -> Place {
    (step.name.clone(), step.iteration, step.item)
}

/// Whether the watch shows this task of this run as open.
pub(super) fn is_open(deps: &Deps, run: &Run, name: &str) -> bool {
    shown(deps, run, name).is_some()
}

fn shown(deps: &Deps, run: &Run, name: &str) -> Option<Arc<WorkItem>> {
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let item = deps.work.get(&ObjectRef::new(name).within(namespace))?;
    belongs_to(&item.metadata, run).then_some(item)
}
