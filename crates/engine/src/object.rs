//! Objects that a run owns. One may take days: it has a name that follows from the run and the step, is created or
//! adopted, watched, and closed. Nothing in memory waits for it, and a new leader adopts it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::facts::{ApprovalFact, JobFact, JobState, ProcessFact, RunFact, WorkFact};
use signoff_api::{
    ApprovalSpec, Digest, WorkItemSpec,
    json::JsonObject,
    name::FlowName,
    run::{RunParent, StepStatus},
};

/// The kinds of objects that a run owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ObjectKind {
    /// A question to people.
    Approval,
    /// A run of another flow.
    Run,
    /// A task in a queue.
    WorkItem,
    /// A Job of the cluster.
    Job,
    /// A process on another machine. A call starts it; it is only closed as an object.
    Process,
}

/// Names one object that a run owns, in the run's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

/// An object to be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OwnedObject {
    /// A question to people.
    Approval(Box<OpenApproval>),
    /// A run of another flow.
    Run(Box<StartRun>),
    /// A task in a queue.
    WorkItem(Box<OpenWorkItem>),
    /// A Job of the cluster.
    Job(Box<OpenJob>),
}

/// An Approval to be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenApproval {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: ApprovalSpec,
    /// Whether those decide who may promote, if the Repository that the release comes from has a gate: the spec names
    /// nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ask_owners: bool,
}

/// A Run to be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartRun {
    /// Its name.
    pub name: String,
    /// Its flow.
    pub flow: FlowName,
    /// Name of its release.
    pub release: String,
    /// Its inputs.
    pub inputs: JsonObject,
    /// User who requested the run that starts it.
    pub requested_by: Option<String>,
    /// Users who requested the runs that led to that one.
    pub earlier_requesters: Vec<String>,
    /// Whether other runs may have started it under the same key.
    pub is_keyed: bool,
    /// The step that starts it.
    pub parent: RunParent,
    /// Name of the ended run on which it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
}

/// A WorkItem to be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenWorkItem {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: WorkItemSpec,
}

/// A Job to be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenJob {
    /// Its name.
    pub name: String,
    /// The step that creates it.
    pub step: String,
    /// The iteration of that step.
    pub iteration: i64,
    /// The item of that step, if it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<i64>,
    /// The attempt of that step.
    pub attempt: i64,
    /// Whether the end of its log is kept.
    pub keep_log: bool,
    /// Its spec.
    pub spec: Value,
}

/// An object to be closed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseObject {
    /// Which one.
    pub key: ObjectKey,
    /// What it comes to.
    pub closing: Closing,
    /// Why, as one sentence.
    pub message: String,
}

/// What an object comes to that is closed before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Closing {
    /// Nobody needs it any more.
    Cancelled,
    /// Another one takes its place.
    Superseded,
    /// Nobody needs it any more, and what it would do at its end is left out.
    Terminated,
}

/// What is known about one owned object.
#[derive(Clone, Debug)]
pub enum ObjectFact {
    /// A question to people.
    Approval(Box<ApprovalFact>),
    /// A run of another flow.
    Run(RunFact),
    /// A task in a queue.
    WorkItem(Box<WorkFact>),
    /// A Job of the cluster.
    Job(Box<JobFact>),
    /// A process on another machine.
    Process(ProcessFact),
}

impl ObjectKey {
    /// The key of an Approval.
    pub fn approval(name: impl Into<String>) -> Self {
        Self {
            kind: ObjectKind::Approval,
            name: name.into(),
        }
    }

    /// The key of a Run.
    pub fn run(name: impl Into<String>) -> Self {
        Self {
            kind: ObjectKind::Run,
            name: name.into(),
        }
    }

    /// The key of a WorkItem.
    pub fn work_item(name: impl Into<String>) -> Self {
        Self {
            kind: ObjectKind::WorkItem,
            name: name.into(),
        }
    }

    /// The key of a Job.
    pub fn job(name: impl Into<String>) -> Self {
        Self {
            kind: ObjectKind::Job,
            name: name.into(),
        }
    }

    /// The key of a process.
    pub fn process(name: impl Into<String>) -> Self {
        Self {
            kind: ObjectKind::Process,
            name: name.into(),
        }
    }

    /// The object that a step owns, as the run's state has it.
    pub fn of(step: &StepStatus) -> Option<Self> {
        let approval = step.approval.as_ref().map(Self::approval);
        let run = || step.run.as_ref().map(Self::run);
        let task = || step.task.as_ref().map(Self::work_item);
        let job = || step.job.as_ref().map(Self::job);
        approval.or_else(run).or_else(task).or_else(job)
    }

    /// Writes into the state that a step owns this object.
    pub(crate) fn own(&self, step: &mut StepStatus) {
        match self.kind {
            ObjectKind::Approval => step.approval = Some(self.name.clone()),
            ObjectKind::Run => step.run = Some(self.name.clone()),
            ObjectKind::WorkItem => step.task = Some(self.name.clone()),
            ObjectKind::Job => step.job = Some(self.name.clone()),
            // the run's state lists processes, because they outlive their steps
            ObjectKind::Process => {}
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "Cancelled",
            Self::Superseded => "Superseded",
            Self::Terminated => "Terminated",
        })
    }
}

impl OwnedObject {
    /// Its kind and name.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Approval(open) => ObjectKey::approval(&open.name),
            Self::Run(run) => ObjectKey::run(&run.name),
            Self::WorkItem(open) => ObjectKey::work_item(&open.name),
            Self::Job(open) => ObjectKey::job(&open.name),
        }
    }

    /// What binds its content, where something does.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Approval(open) => Some(&open.spec.digest),
            Self::Run(_) | Self::WorkItem(_) | Self::Job(_) => None,
        }
    }

    /// Whether the state names it only once it is there, so that one that was deleted is told from one that was not
    /// created yet.
    pub fn is_named_when_there(&self) -> bool {
        match self {
            Self::Approval(_) | Self::WorkItem(_) => false,
            Self::Run(_) | Self::Job(_) => true,
        }
    }
}

impl ObjectFact {
    /// Whether nothing more will come of it.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Approval(fact) => fact.status.phase.is_closed(),
            Self::Run(fact) => fact.phase.is_finished(),
            Self::WorkItem(fact) => fact.phase.is_closed(),
            Self::Job(fact) => match fact.state {
                JobState::Open(_) => false,
                JobState::Succeeded { .. } | JobState::Failed(_) => true,
            },
            Self::Process(fact) => fact.is_ended,
        }
    }

    /// Whether it is what the state of a step says, and not something that somebody else put under its name.
    pub(crate) fn is_of(&self, step: &StepStatus) -> bool {
        match self {
            Self::Approval(fact) => step.digest.as_ref() == Some(&fact.digest),
            // only the operator creates tasks
            Self::WorkItem(fact) => {
                (&fact.step, fact.iteration, fact.item) == (&step.name, step.iteration, step.item)
            }
            Self::Job(fact) => {
                let of = (&fact.step, fact.iteration, fact.item, fact.attempt);
                of == (&step.name, step.iteration, step.item, step.attempt)
            }
            // only the operator creates runs with a parent, and no step waits for a process
            Self::Run(_) | Self::Process(_) => true,
        }
    }

    /// The question, if it is one.
    pub fn as_approval(&self) -> Option<&ApprovalFact> {
        match self {
            Self::Approval(fact) => Some(fact),
            Self::Run(_) | Self::WorkItem(_) | Self::Job(_) | Self::Process(_) => None,
        }
    }

    /// The run, if it is one.
    pub fn as_run(&self) -> Option<&RunFact> {
        match self {
            Self::Approval(_) | Self::WorkItem(_) | Self::Job(_) | Self::Process(_) => None,
            Self::Run(fact) => Some(fact),
        }
    }

    /// The task, if it is one.
    pub(crate) fn as_work(&self) -> Option<&WorkFact> {
        match self {
            Self::Approval(_) | Self::Run(_) | Self::Job(_) | Self::Process(_) => None,
            Self::WorkItem(fact) => Some(fact),
        }
    }

    /// The Job, if it is one.
    pub fn as_job(&self) -> Option<&JobFact> {
        match self {
            Self::Approval(_) | Self::Run(_) | Self::WorkItem(_) | Self::Process(_) => None,
            Self::Job(fact) => Some(fact),
        }
    }

    /// The process, if it is one.
    pub(crate) fn as_process(&self) -> Option<&ProcessFact> {
        match self {
            Self::Approval(_) | Self::Run(_) | Self::WorkItem(_) | Self::Job(_) => None,
            Self::Process(fact) => Some(fact),
        }
    }
}
