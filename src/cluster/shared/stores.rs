//! What the controllers of a term share.

use kube::Resource;

use super::{
    approvals::{ApprovalInbox, Approvals, watch_approvals},
    feed::Shared,
    open_approvals::{OpenApprovals, QuestionListener},
    questions::RepositoryQuestions,
};
use crate::cluster::{context::Context, parts::beside};
use signoff_api::{Approval, Connection, Flow, Release, Repository};

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
            questions,
        };
        // each is a task of its own, so that a long list is decoded beside the others
        let watching = beside(watch_releases, watch_approvals);
        let watching = beside(watch_repositories, beside(watch_connections, watching));
        let watching = beside(watch_flows, watching);
        (stores, inbox, watching)
    }

    /// Returns when all of them are filled. Whether they are: otherwise a watch has ended, and with it everything else. An empty store is not an
    /// empty cluster.
    pub async fn are_known(&self) -> bool {
        self.open.are_known().await;
        let (flows, releases, repositories, connections) = tokio::join!(
            self.flows.is_known(),
            self.releases.is_known(),
            self.repositories.is_known(),
            self.connections.is_known()
        );
        flows && releases && repositories && connections
    }
}

fn without_managed_fields<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}
