//! What is left to do about runs beside their own progress: questions and runs that an ended one left open, and runs that
//! make way for newer ones.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::batch::v1::Job;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    Deps, RunKey,
    actor::is_stopped,
    objects::{self, ObjectError},
};
use crate::cluster::{backoff::Backoff, error_chain, object_key::UidMark, status::is_missing};
use signoff_api::{Run, names};
use signoff_engine::{
    job,
    object::{CloseObject, Closing, ObjectKey},
};

/// Pauses between attempts.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(15),
};

/// Closes a question or a task if its run has ended. One whose run is gone goes with it, by its owner reference.
pub(super) async fn close_if_ended(deps: Arc<Deps>, run: RunKey, object: ObjectKey) {
    let mut failures = 0;
    while let Err(error) = try_to_close(&deps, &run, &object).await {
        tracing::warn!(%run, %object, error = %error_chain(&error), "something that a run left open could not be closed; trying again");
        tokio::time::sleep(PAUSES.after(failures)).await;
        failures += 1;
    }
}

/// Stops a run that another one started, if that has ended. If that is gone, it goes with it, by its owner reference.
pub(super) async fn stop_if_ended(deps: Arc<Deps>, parent: RunKey, child: String) {
    let mut failures = 0;
    while let Err(error) = try_to_stop(&deps, &parent, &child).await {
        tracing::warn!(run = %parent, child, error = %error_chain(&error), "a run that another one left could not be stopped; trying again");
        tokio::time::sleep(PAUSES.after(failures)).await;
        failures += 1;
    }
}

/// Deletes a Job if its run has ended, or went on without it.
pub(super) async fn delete_if_left(deps: Arc<Deps>, run: RunKey, job: Arc<Job>) {
    let mut failures = 0;
    while let Err(error) = try_to_delete(&deps, &run, &job).await {
        tracing::warn!(%run, job = %job.name_any(), error = %error_chain(&error), "a job that a run left could not be deleted; trying again");
        tokio::time::sleep(PAUSES.after(failures)).await;
        failures += 1;
    }
}

/// Cancels a run for a newer one that takes its place.
pub(super) async fn make_way(deps: Arc<Deps>, run: RunKey, uid: u64, by: String) {
    let mut failures = 0;
    while let Err(error) = try_to_cancel(&deps, &run, uid, &by).await {
        tracing::warn!(%run, by, error = %error_chain(&error), "a run could not be cancelled for a newer one; trying again");
        tokio::time::sleep(PAUSES.after(failures)).await;
        failures += 1;
    }
}

async fn try_to_cancel(deps: &Deps, run: &RunKey, uid: u64, by: &str) -> Result<(), kube::Error> {
    let runs = deps.context.namespaced::<Run>(run.namespace());
    let Some(found) = runs.get_opt(run.name()).await? else {
        return Ok(());
    };
    let has_ended = found
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished());
    if UidMark::of_object(&found).number() != uid || has_ended || is_stopped(&found) {
        return Ok(());
    }
    let message = format!("run {by} takes its place (whenFull: CancelRunning)");
    let spec = json!({ "cancel": true, "stopMessage": message });
    let patch = json!({ "metadata": { "uid": found.metadata.uid }, "spec": spec });
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match runs.patch(run.name(), &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn try_to_stop(deps: &Deps, parent: &RunKey, child: &str) -> Result<(), ObjectError> {
    if let Some(run) = ended(deps, parent.namespace(), parent.name()).await? {
        let wanted = CloseObject {
            key: ObjectKey::run(child),
            closing: Closing::Cancelled,
            message: "the run that started it has ended".to_owned(),
        };
        objects::close(deps, &run, &wanted).await?;
    }
    Ok(())
}

async fn try_to_delete(deps: &Deps, run: &RunKey, job: &Job) -> Result<(), ObjectError> {
    let found = deps
        .context
        .namespaced::<Run>(run.namespace())
        .get_opt(run.name())
        .await;
    let run = match found {
        Ok(Some(run)) => run,
        // one that is gone takes its Jobs with it
        Ok(None) | Err(kube::Error::SerdeError(_)) => return Ok(()),
        Err(error) => return Err(ObjectError::Api(format!("read the run {run}"), error)),
    };
    let status = run.status.clone().unwrap_or_default();
    let fact = job::fact(job, &[], None);
    let is_left = status.phase.is_finished() || fact.is_some_and(|fact| job::is_left(&fact, &status));
    if is_left {
        let wanted = CloseObject {
            key: ObjectKey::job(job.name_any()),
            closing: Closing::Cancelled,
            message: "the run goes on without it".to_owned(),
        };
        objects::close(deps, &run, &wanted).await?;
    }
    Ok(())
}

async fn try_to_close(deps: &Deps, run: &RunKey, object: &ObjectKey) -> Result<(), ObjectError> {
    if let Some(run) = ended(deps, run.namespace(), run.name()).await? {
        let wanted = CloseObject {
            key: object.clone(),
            closing: Closing::Cancelled,
            message: "the run has ended".to_owned(),
        };
        objects::close(deps, &run, &wanted).await?;
    }
    Ok(())
}

/// The run of this name, if it has ended.
async fn ended(deps: &Deps, namespace: &str, run: &str) -> Result<Option<Run>, ObjectError> {
    let found = deps.context.namespaced::<Run>(namespace).get_opt(run).await;
    if let Err(kube::Error::SerdeError(_)) = found {
        // whether it has ended cannot be known, and will not be by reading it again
        return Ok(None);
    }
    let found = found.map_err(|error| ObjectError::Api(format!("read the run {run:?}"), error))?;
    let has_ended = |run: &Run| {
        run.status
            .as_ref()
            .is_some_and(|status| status.phase.is_finished())
    };
    Ok(found.filter(has_ended))
}
