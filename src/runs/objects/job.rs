//! Jobs of a run: created, deleted, and read with their pods.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::Pod,
};
use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, Preconditions, PropagationPolicy},
};

use super::{ObjectError, belongs_to};
use crate::{
    cluster::{
        context::Context,
        create::{Adopted, create_or_adopt},
        status::is_missing,
    },
    perform::{JobAttempt, JobSaidError},
    runs::{Deps, actor::is_stopped, contents, jobs},
};
use signoff_api::{Run, canonical, names};
use signoff_engine::{
    facts::{EffectError, JobFact, JobState},
    job,
    object::{CloseObject, OpenJob},
};

/// Creates a Job, or finds the one that an earlier attempt to create it has made.
pub(super) async fn open(deps: &Deps, run: &Run, wanted: &OpenJob) -> Result<JobFact, ObjectError> {
    if let Some(why) = deps.jobs.why_off() {
        return Err(ObjectError::NoJobs(why));
    }
    let spec: JobSpec = serde_json::from_value(wanted.spec.clone())
        .map_err(|error| ObjectError::InvalidJob(error.to_string()))?;
    let api = deps
        .context
        .namespaced::<Job>(&run.namespace().unwrap_or_default());
    let notes = annotations(wanted);
    let object = Job {
        metadata: ObjectMeta {
            name: Some(wanted.name.clone()),
            labels: Some(labels(run, wanted)),
            annotations: Some(notes.clone()),
            owner_references: run.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    };
    // one of another spec is not what this step is to run, whoever made it
    let is_ours = |there: &Job| {
        let said = there.annotations();
        belongs_to(&there.metadata, run) && notes.iter().all(|(note, value)| said.get(note) == Some(value))
    };
    match create_or_adopt(&api, &object, is_ours).await {
        Ok(Adopted::Ours(there)) => {
            let fact = job::fact(&there, &[], None).filter(|_| !job::has_ended(&there));
            match fact {
                Some(fact) => Ok(fact),
                // one that has ended meanwhile is read whole
                None => whole(deps, run, there)
                    .await
                    .map_err(|error| ObjectError::Api(format!("read the job {:?}", wanted.name), error))?
                    .ok_or_else(|| ObjectError::JobTaken(wanted.name.clone())),
            }
        }
        Ok(Adopted::Others(_)) | Err(kube::Error::SerdeError(_)) => {
            Err(ObjectError::JobTaken(wanted.name.clone()))
        }
        Err(error) => Err(ObjectError::Api(
            format!("create the job {:?}", wanted.name),
            error,
        )),
    }
}

fn labels(run: &Run, wanted: &OpenJob) -> BTreeMap<String, String> {
    let status = run.status.as_ref();
    let release = status
        .and_then(|status| status.release.as_ref())
        .map(|release| release.name.clone());
    [
        (names::MANAGED_BY, Some(names::MANAGED_BY_VALUE.to_owned())),
        (names::FLOW, Some(run.spec.flow.to_string())),
        (names::RELEASE, release),
        (names::RUN, Some(run.name_any())),
        (names::STEP, Some(wanted.step.clone())),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some((label.to_owned(), value?)))
    .collect()
}

fn annotations(wanted: &OpenJob) -> BTreeMap<String, String> {
    [
        (names::ITERATION, Some(wanted.iteration.to_string())),
        (names::ITEM, wanted.item.map(|item| item.to_string())),
        (names::ATTEMPT, Some(wanted.attempt.to_string())),
        (names::KEEP_LOG, (!wanted.keep_log).then(|| false.to_string())),
        (
            names::JOB_DIGEST,
            Some(canonical::digest_of_value(&wanted.spec).to_string()),
        ),
    ]
    .into_iter()
    .filter_map(|(note, value)| Some((note.to_owned(), value?)))
    .collect()
}

/// Deletes a Job of this run that has not ended, and its pods.
pub(super) async fn close(
    context: &Context,
    run: &Run,
    wanted: &CloseObject,
) -> Result<Option<JobFact>, ObjectError> {
    let name = &wanted.key.name;
    let api = context.namespaced::<Job>(&run.namespace().unwrap_or_default());
    let failed = |error| ObjectError::Api(format!("delete the job {name:?}"), error);
    let there = match api.get_opt(name).await {
        Ok(Some(there)) => there,
        // what cannot be decoded is not what this operator wrote
        Ok(None) | Err(kube::Error::SerdeError(_)) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !belongs_to(&there.metadata, run) {
        return Ok(None);
    }
    if job::has_ended(&there) {
        return Ok(job::fact_of_deleted(&there));
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: there.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(job::fact_of_deleted(&there)),
        Err(error) if is_missing(&error) => Ok(job::fact_of_deleted(&there)),
        Err(error) => Err(failed(error)),
    }
}

/// What is known of a Job of this run: one that the watch does not show is read.
pub(in crate::runs) async fn look(
    deps: &Deps,
    run: &Run,
    name: &str,
) -> Result<Option<JobFact>, kube::Error> {
    if deps.jobs.why_off().is_some() {
        return Ok(None);
    }
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let there = match deps.jobs.get(namespace, name) {
        Some(shown) => (*shown).clone(),
        None => match deps.context.namespaced::<Job>(namespace).get_opt(name).await {
            Ok(Some(there)) => there,
            Ok(None) | Err(kube::Error::SerdeError(_)) => return Ok(None),
            Err(error) => return Err(error),
        },
    };
    if !belongs_to(&there.metadata, run) {
        return Ok(None);
    }
    if !job::has_ended(&there) {
        return Ok(job::fact(&there, &deps.jobs.pods(namespace, name), None));
    }
    whole(deps, run, there).await
}

/// A Job that has ended, with what its pods said.
async fn whole(deps: &Deps, run: &Run, ended: Job) -> Result<Option<JobFact>, kube::Error> {
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let list = ListParams::default().labels(&jobs::of_job(&ended.name_any()));
    let pods = deps.context.namespaced::<Pod>(namespace).list(&list).await?;
    let mut pods = jobs::in_order(pods.items);
    // others may have made pods with the same label
    pods.retain(|pod| {
        let mut owners = pod.owner_references().iter();
        owners.any(|owner| Some(&owner.uid) == ended.metadata.uid.as_ref())
    });
    let reader = deps.executors.jobs();
    let (pods, secrets) = match reader.redacted(&ended, pods).await {
        Ok(redacted) => redacted,
        Err(error @ JobSaidError::Forbidden(_)) => return Ok(withheld(&ended, &error)),
        Err(error) => return Err(as_api(error)),
    };
    let Some(fact) = job::fact(&ended, &pods, None) else {
        return Ok(None);
    };
    let keeps = ended
        .annotations()
        .get(names::KEEP_LOG)
        .is_none_or(|keeps| keeps != "false");
    // a run that is stopped waits for nothing
    if !keeps || is_stopped(run) {
        return Ok(Some(fact));
    }
    let attempt = JobAttempt {
        step: &fact.step,
        iteration: fact.iteration,
        attempt: fact.attempt,
    };
    let owner = contents::owner(run);
    let log = reader.log(&owner, attempt, pods.last(), &secrets).await;
    let log = log.map_err(as_api)?;
    Ok(Some(JobFact {
        log: Some(log),
        ..fact
    }))
}

/// A Job whose output may hold a Secret that cannot be taken out of it.
fn withheld(ended: &Job, why: &JobSaidError) -> Option<JobFact> {
    let fact = job::fact(ended, &[], None)?;
    let error = EffectError {
        reason: signoff_api::reason::StepReason::SecretNotFound,
        message: why.to_string(),
        retryable: false,
        may_have_happened: false,
        retry_after: None,
        status: None,
    };
    Some(JobFact {
        state: JobState::Failed(error),
        ..fact
    })
}

fn as_api(error: JobSaidError) -> kube::Error {
    match error {
        JobSaidError::Api(error) => error,
        other @ (JobSaidError::Store(_) | JobSaidError::Forbidden(_)) => {
            kube::Error::Service(Box::new(other))
        }
    }
}

/// Whether the watch shows this Job of this run as one that has not ended.
pub(super) fn is_open(deps: &Deps, run: &Run, name: &str) -> bool {
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    let shown = deps.jobs.get(namespace, name);
    shown.is_some_and(|shown| belongs_to(&shown.metadata, run) && !job::has_ended(&shown))
}
