//! Tells runs of what they may be waiting for.

use futures::StreamExt as _;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;

use crate::{
    cluster::shared::{Change, JobStores, SharedStores},
    runs::RunWaker,
};
use signoff_api::Connection;
use signoff_engine::job;

/// Tells runs of each change of a flow, of a release of one, and of a Connection, as long as there is anything to tell.
pub(super) async fn wake_runs(stores: SharedStores, waker: RunWaker) {
    let mut flows = Box::pin(stores.flows.subscribe());
    let mut releases = Box::pin(stores.releases.subscribe());
    let mut connections = Box::pin(stores.connections.subscribe());
    let mut work = Box::pin(stores.work.subscribe());
    loop {
        tokio::select! {
            Some(flow) = flows.next() => waker.flow_changed(flow.object()),
            // one that becomes ready lets the runs go on that wait for it
            Some(release) = releases.next() => waker.release_changed(release.object()),
            Some(connection) = connections.next() => if has_changed(&connection) {
                waker.connection_changed(&connection.object().namespace().unwrap_or_default());
            },
            Some(change) = work.next() => if let Change::Removed(item) = &change {
                waker.work_left(item);
            },
            else => return,
        }
    }
}

/// Tells runs of what changes about their Jobs: that one begins, ends or is gone, and what keeps its pod from running.
pub(super) async fn wake_runs_of_jobs(stores: JobStores, waker: RunWaker) {
    let mut jobs = Box::pin(stores.jobs.subscribe());
    let mut pods = Box::pin(stores.pods.subscribe());
    loop {
        tokio::select! {
            Some(job) = jobs.next() => if job_moved(&job) {
                waker.job_changed(&job.object().metadata);
            },
            Some(pod) = pods.next() => if pod_moved(&pod) {
                waker.job_changed(&pod.object().metadata);
            },
            else => return,
        }
    }
}

fn job_moved(job: &Change<Job>) -> bool {
    let started = |job: &Job| job.status.as_ref().and_then(|status| status.start_time.clone());
    match job {
        // runs that go on look at it then
        Change::Present(_) => false,
        Change::Added(job) => job::has_ended(job),
        Change::Removed(_) => true,
        Change::Updated { before, now } => {
            job::has_ended(before) != job::has_ended(now) || started(before) != started(now)
        }
    }
}

fn pod_moved(pod: &Change<Pod>) -> bool {
    match pod {
        Change::Present(_) | Change::Removed(_) => false,
        Change::Added(pod) => job::trouble(pod).is_some(),
        Change::Updated { before, now } => job::trouble(before) != job::trouble(now),
    }
}

/// Whether people may have been shown something else of a Connection before. The generation counts changes of the spec.
fn has_changed(connection: &Change<Connection>) -> bool {
    match connection {
        // runs that go on look at it then
        Change::Present(_) => false,
        Change::Added(_) | Change::Removed(_) => true,
        Change::Updated { before, now } => before.metadata.generation != now.metadata.generation,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn connection(generation: i64) -> Arc<Connection> {
        let connection = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection",
            "metadata": {"name": "shop", "namespace": "ns", "generation": generation},
            "spec": {"http": {"baseURL": "https://shop.example.com"}}});
        Arc::new(serde_json::from_value(connection).unwrap())
    }

    #[test]
    fn runs_are_woken_by_another_connection_and_not_by_one_that_is_only_seen_again() {
        let updated = |before, now| Change::Updated {
            before: connection(before),
            now: connection(now),
        };
        assert!(!has_changed(&Change::Present(connection(1))));
        assert!(!has_changed(&updated(1, 1)), "only its metadata is another");
        assert!(has_changed(&updated(1, 2)));
        assert!(has_changed(&Change::Added(connection(1))));
        assert!(has_changed(&Change::Removed(connection(1))));
    }
}
