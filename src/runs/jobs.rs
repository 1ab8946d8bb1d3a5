//! The Jobs of steps: how they are run, and what the watches show of them.

use std::sync::Arc;

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    ResourceExt as _,
    runtime::reflector::{ObjectRef, Store, store},
};

use crate::cluster::shared::JobStores;
use signoff_engine::job;

/// The label on pods that names their Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// How Jobs of steps are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRunner {
    /// They are not. The text says what to do about it.
    Off(&'static str),
    /// By whoever runs Jobs on the API server.
    On,
}

/// The Jobs of steps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    runner: JobRunner,
    jobs: Store<Job>,
    pods: Store<Pod>,
}

impl Jobs {
    /// None are run.
    pub fn off(why: &'static str) -> Self {
        Self {
            runner: JobRunner::Off(why),
            jobs: store().0,
            pods: store().0,
        }
    }

    /// Those that the watches show.
    pub fn on(stores: &JobStores) -> Self {
        Self {
            runner: JobRunner::On,
            jobs: stores.jobs.store(),
            pods: stores.pods.store(),
        }
    }

    /// Why no Jobs are run, if they are not.
    pub(super) fn why_off(&self) -> Option<&'static str> {
        match self.runner {
            JobRunner::Off(why) => Some(why),
            JobRunner::On => None,
        }
    }

    /// A Job as the watch shows it.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Job>> {
        self.jobs.get(&ObjectRef::new(name).within(namespace))
    }

    /// The Jobs that have not ended, as the watch shows them.
    pub(super) fn open(&self) -> Vec<Arc<Job>> {
        let mut all = self.jobs.state();
        all.retain(|job| !job::has_ended(job));
        all
    }

    /// The pods of a Job as the watch shows them, the newest one last.
    pub(super) fn pods(&self, namespace: &str, job: &str) -> Vec<Pod> {
        let all = self.pods.state().into_iter();
        let of_job = all.filter(|pod| {
            let is_here = pod.metadata.namespace.as_deref() == Some(namespace);
            is_here && pod.labels().get(JOB_NAME).is_some_and(|name| name == job)
        });
        in_order(of_job.map(|pod| (*pod).clone()).collect())
    }
}

/// A selector of the pods of a Job.
pub(super) fn of_job(job: &str) -> String {
    format!("{JOB_NAME}={job}")
}

/// Pods with the newest one last.
pub(super) fn in_order(mut pods: Vec<Pod>) -> Vec<Pod> {
    pods.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|at| at.0);
        (created, pod.metadata.name.clone())
    });
    pods
}
