//! The Jobs of steps, and their pods.

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Resource, runtime::watcher::Config};

use super::feed::Shared;
use crate::cluster::{context::Context, parts::beside};
use signoff_api::names;

/// The Jobs that steps have created and their pods, as the watches show them. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct JobStores {
    /// The Jobs.
    pub jobs: Shared<Job>,
    /// Their pods.
    pub pods: Shared<Pod>,
}

impl JobStores {
    /// Empty, with what has to be driven to fill them.
    pub fn watch(context: &Context) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let ours = format!(
            "{}={},{}",
            names::MANAGED_BY,
            names::MANAGED_BY_VALUE,
            names::STEP
        );
        let selected = || Config::default().labels(&ours);
        let (jobs, watch_jobs) = Shared::watch_some(context, selected(), without_managed_fields::<Job>);
        let (pods, watch_pods) = Shared::watch_some(context, selected(), without_managed_fields::<Pod>);
        (Self { jobs, pods }, beside(watch_jobs, watch_pods))
    }

    /// Returns when both are filled. Whether they are: otherwise a watch has ended.
    pub async fn are_known(&self) -> bool {
        let (jobs, pods) = tokio::join!(self.jobs.is_known(), self.pods.is_known());
        jobs && pods
    }
}

fn without_managed_fields<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}
