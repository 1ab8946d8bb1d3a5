//! Objects that a run owns: opened, closed and looked at, a file for each kind.

pub(super) mod approval;
pub(super) mod child;
pub(super) mod job;
pub(super) mod work_item;

use super::Deps;
use crate::runs::contents;
use kube::api::ObjectMeta;
use signoff_api::{Run, run::StepStatus};
use signoff_engine::object::{CloseObject, Closing, ObjectFact, ObjectKey, ObjectKind, OwnedObject};

/// An object could not be opened or closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObjectError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(String, #[source] kube::Error),
    /// The name is taken by an Approval that is not this run's.
    #[error("the name of the approval {0:?} is taken by one that does not belong to this run")]
    Taken(String),
    /// The name is taken by a Run that this run did not start.
    #[error(
        "the name of the run {0:?} is taken by one that this run did not start, or that uses another release: delete it or this run"
    )]
    RunTaken(String),
    /// The name is taken by a WorkItem that is not this run's.
    #[error("the name of the task {0:?} is taken by one that this run did not queue: delete it or this run")]
    WorkTaken(String),
    /// The name is taken by a Job that is not this run's.
    #[error("the name of the job {0:?} is taken by one that this run did not create: delete it or this run")]
    JobTaken(String),
    /// The operator runs no Jobs.
    #[error("{0}")]
    NoJobs(&'static str),
    /// What the engine has made of a step is no Job.
    #[error("the job is not valid: {0}")]
    InvalidJob(String),
    /// Somebody else put another question under the name.
    #[error(
        "the approval {0:?} is not the question that the run asks: somebody else made it, and no answer to it counts"
    )]
    NotOurs(String),
}

impl ObjectError {
    /// Why the API server refuses it for good: it is not valid, or too large. Another answer may change.
    pub(super) fn refusal(&self) -> Option<String> {
        match self {
            Self::Api(_, kube::Error::Api(status)) if matches!(status.code, 400 | 413 | 422) => {
                Some(status.message.clone())
            }
            Self::NoJobs(_) | Self::InvalidJob(_) => Some(self.to_string()),
            Self::Api(..)
            | Self::Taken(_)
            | Self::RunTaken(_)
            | Self::WorkTaken(_)
            | Self::JobTaken(_)
            | Self::NotOurs(_) => None,
        }
    }

    /// Whether the operator lacks a right.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api(_, kube::Error::Api(status)) if status.code == 403)
    }
}

/// Creates an object, or finds the one that an earlier attempt created.
pub(super) async fn open(deps: &Deps, run: &Run, wanted: &OwnedObject) -> Result<ObjectFact, ObjectError> {
    let context = &deps.context;
    match wanted {
        OwnedObject::Approval(wanted) => {
            let opened = approval::open(context, run, wanted).await;
            opened.map(|fact| ObjectFact::Approval(Box::new(fact)))
        }
        OwnedObject::Run(wanted) => child::open(context, run, wanted).await.map(ObjectFact::Run),
        OwnedObject::WorkItem(wanted) => {
            let opened = work_item::open(context, run, wanted).await;
            opened.map(|fact| ObjectFact::WorkItem(Box::new(fact)))
        }
        OwnedObject::Job(wanted) => {
            let opened = job::open(deps, run, wanted).await;
            opened.map(|fact| ObjectFact::Job(Box::new(fact)))
        }
    }
}

/// Closes an object of this run that is still open, and says what became of it if it is there.
pub(super) async fn close(
    deps: &Deps,
    run: &Run,
    wanted: &CloseObject,
) -> Result<Option<ObjectFact>, ObjectError> {
    let context = &deps.context;
    match wanted.key.kind {
        ObjectKind::Process => Ok(end_process(deps, run, wanted).await),
        ObjectKind::Approval => {
            let closed = approval::close(context, run, wanted).await;
            closed.map(|fact| fact.map(|fact| ObjectFact::Approval(Box::new(fact))))
        }
        ObjectKind::Run => {
            let closed = child::close(context, run, wanted).await;
            closed.map(|fact| fact.map(ObjectFact::Run))
        }
        ObjectKind::WorkItem => {
            let closed = work_item::close(context, run, wanted).await;
            closed.map(|fact| fact.map(|fact| ObjectFact::WorkItem(Box::new(fact))))
        }
        ObjectKind::Job => {
            let closed = job::close(context, run, wanted).await;
            closed.map(|fact| fact.map(|fact| ObjectFact::Job(Box::new(fact))))
        }
    }
}

/// Ends a process that the state of the run lists. That it could not be ended is a fact too.
async fn end_process(deps: &Deps, run: &Run, wanted: &CloseObject) -> Option<ObjectFact> {
    let mut known = run.status.iter().flat_map(|status| &status.processes);
    let process = known.find(|process| process.name == wanted.key.name)?;
    let at_once = match wanted.closing {
        Closing::Terminated => true,
        Closing::Cancelled | Closing::Superseded => false,
    };
    let owner = contents::owner(run);
    let fact = deps.executors.end_process(&owner, process, at_once).await;
    deps.metrics.process_ended(fact.is_ended);
    Some(ObjectFact::Process(fact))
}

/// Whether the watch shows this object of this run as open.
pub(super) fn is_open(deps: &Deps, run: &Run, key: &ObjectKey) -> bool {
    match key.kind {
        ObjectKind::Approval => approval::is_open(deps, run, &key.name),
        ObjectKind::WorkItem => work_item::is_open(deps, run, &key.name),
        ObjectKind::Job => job::is_open(deps, run, &key.name),
        // no watch is asked: a run that ends tells the one that waits for it
        // nor for a process: the run's state says what is to be done about it
        ObjectKind::Run | ObjectKind::Process => false,
    }
}

/// What is known of the object that a step owns.
pub(super) async fn look(
    deps: &Deps,
    run: &Run,
    step: &StepStatus,
    key: &ObjectKey,
) -> Result<Option<ObjectFact>, kube::Error> {
    match key.kind {
        ObjectKind::Approval => {
            let fact = approval::look(deps, run, step, &key.name).await?;
            Ok(fact.map(|fact| ObjectFact::Approval(Box::new(fact))))
        }
        ObjectKind::Run => {
            let fact = child::look(&deps.context, run, &key.name).await?;
            Ok(fact.map(ObjectFact::Run))
        }
        ObjectKind::WorkItem => {
            let fact = work_item::look(deps, run, step, &key.name).await?;
            Ok(fact.map(|fact| ObjectFact::WorkItem(Box::new(fact))))
        }
        ObjectKind::Job => {
            let fact = job::look(deps, run, &key.name).await?;
            Ok(fact.map(|fact| ObjectFact::Job(Box::new(fact))))
        }
        // no step waits for one
        ObjectKind::Process => Ok(None),
    }
}

/// Whether an object is owned by this very run.
fn belongs_to(object: &ObjectMeta, run: &Run) -> bool {
    let mut owners = object.owner_references.iter().flatten();
    owners.any(|owner| owner.kind == "Run" && Some(&owner.uid) == run.metadata.uid.as_ref())
}

/// The step that owns an object, as the run's state has it.
fn step_of<'a>(run: &'a Run, key: &ObjectKey) -> Option<&'a StepStatus> {
    let mut steps = run.status.iter().flat_map(|status| &status.steps);
    steps.find(|step| ObjectKey::of(step).as_ref() == Some(key))
}
