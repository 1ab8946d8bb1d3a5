//! What the controllers of a term share.

use kube::{Resource, runtime::watcher::Config};

use super::{
    approvals::{ApprovalInbox, Approvals, watch_approvals},
    feed::Shared,
    open_approvals::{OpenApprovals, QuestionListener},
    questions::RepositoryQuestions,
};
use crate::cluster::{context::Context, parts::beside};
use signoff_api::{Approval, Connection, Flow, Release, Repository, WorkItem, WorkItemPhase};

/// What the API server has of our kinds, but for runs and decisions, which one controller reads each. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct SharedStores {
    /// All flows.
    pub flows: Shared<Flow>,
    /// All releases.
    pub releases: Shared<Release>,
    /// All Repositories.
    pub repositories: Shared<Repository>,
    /// All Connections.
    pub connections: Shared<Connection>,
    /// The questions that are open: a row for each.
    pub open: OpenApprovals,
    /// Those about promotions, whole. One that is not there is closed, or not there at all.
    pub promotions: Shared<Approval>,
    /// The tasks that are open, without what only their workers read.
    pub work: Shared<WorkItem>,
    /// Those about flows of a Repository.
    pub questions: RepositoryQuestions,
}

impl SharedStores {
    /// Empty, with what has to be driven to fill them, and where it arrives what has to be judged. `listener` learns of questions that are over.
    pub fn watch(
        context: &Context,
        listener: impl QuestionListener,
    ) -> (Self, ApprovalInbox, impl Future<Output = ()> + Send + 'static) {
        // who changed which field is asked of flows only
        let (flows, watch_flows) = Shared::watch(context, |_: &mut Flow| {});
        let (releases, watch_releases) = Shared::watch(context, without_managed_fields::<Release>);
        let (repositories, watch_repositories) = Shared::watch(context, without_managed_fields::<Repository>);
        let (connections, watch_connections) = Shared::watch(context, without_managed_fields::<Connection>);
        let not_closed = WorkItemPhase::CLOSED
            .map(|phase| format!("status.phase!={phase}"))
            .join(",");
        let open_work = Config::default().fields(&not_closed);
        let (work, watch_work) = Shared::watch_some(context, open_work, slim_work);
        let (approvals, inbox, watch_approvals) = watch_approvals(context, listener);
        let Approvals {
            open,
            promotions,
            questions,
        } = approvals;
        let stores = Self {
            flows,
            releases,
            repositories,
            connections,
            open,
            promotions,
            work,
            questions,
        };
        // each is a task of its own, so that a long list is decoded beside the others
        let watching = beside(watch_releases, watch_approvals);
        let watching = beside(watch_repositories, beside(watch_connections, watching));
        let watching = beside(watch_flows, beside(watch_work, watching));
        (stores, inbox, watching)
    }

    /// Returns when all of them are filled. Whether they are: otherwise a watch has ended, and with it everything else. An empty store is not an
    /// empty cluster.
    pub async fn are_known(&self) -> bool {
        self.open.are_known().await;
        let (flows, releases, repositories, connections, work) = tokio::join!(
            self.flows.is_known(),
            self.releases.is_known(),
            self.repositories.is_known(),
            self.connections.is_known(),
            self.work.is_known()
        );
        flows && releases && repositories && connections && work
    }
}

/// Leaves out what a task is about, which may be large, and which only its worker reads.
fn slim_work(item: &mut WorkItem) {
    without_managed_fields(item);
    item.spec.input = None;
    item.spec.instructions = None;
}

fn without_managed_fields<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}
