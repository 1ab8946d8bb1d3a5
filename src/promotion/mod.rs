//! The Flow controller: checks the definition, cuts its release, and promotes the release that `spec.live` names.

mod cut;
mod dependencies;
mod dependents;
mod promote;
pub mod release;
mod summary;

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use kube::{
    ResourceExt as _,
    runtime::reflector::{ObjectRef, Store},
};
use tokio_util::sync::CancellationToken;

use self::{cut::Drafted, dependents::Dependents};
use crate::cluster::{
    backoff::Backoffs,
    context::Context,
    error_chain,
    fairness::Permits,
    reconciler::Reconciler,
    shared::{Change, SharedStores},
    status::{AFTER_CONFLICT, is_stale, patch_status},
    timers::{Again, Wake},
    written::Written,
};
use signoff_api::{
    Approval, Flow, Release, Repository,
    reason::{Classified, ErrorClass},
};
use signoff_engine::promotion::brought;

/// How many flows of a namespace are worked on at the same time.
const CONCURRENCY: usize = 16;

/// Why a flow could not be brought forward now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The definition has no JSON form.
    #[error("the definition has no canonical form")]
    NotCanonical(#[source] serde_json::Error),
}

impl Classified for FlowError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) => ErrorClass::Transient,
            Self::NotCanonical(_) => ErrorClass::Invalid,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) => "APIFailed",
            Self::NotCanonical(_) => "NotCanonical",
        }
    }
}

/// What the reconciler shares.
struct Flows {
    context: Arc<Context>,
    releases: Store<Release>,
    /// The open questions about promotions.
    questions: Store<Approval>,
    repositories: Store<Repository>,
    backoffs: Backoffs<ObjectRef<Flow>>,
    /// What the watch shows.
    known: Store<Flow>,
    written: Written<Flow>,
    turns: Permits,
    dependents: Arc<Dependents>,
}

/// Brings flows forward until `shutdown`. The stores must be filled before.
pub async fn run(context: Arc<Context>, stores: SharedStores, shutdown: CancellationToken) {
    let (flows, releases) = (stores.flows.store(), stores.releases.store());
    let (owners, gated) = (releases.clone(), flows.clone());
    let of_release = |release: Change<Release>| stream::iter(flow_of(release.object()));
    let of_question =
        move |question: Change<Approval>| stream::iter(flow_of_promotion(question.object(), &owners));
    // a changed gate counts from the next promotion on, and its flows say at once whether there is one
    let of_repository =
        move |repository: Change<Repository>| stream::iter(gated_otherwise(repository.object(), &gated));
    let flow_changes = stores.flows.subscribe();
    let dependents = Arc::new(Dependents::default());
    let concerned = Arc::clone(&dependents);
    let queue = stream::select_all([
        flow_changes
            .flat_map(move |change| stream::iter(concerned.after(&change)))
            .boxed(),
        stores.releases.subscribe().flat_map(of_release).boxed(),
        stores.promotions.subscribe().flat_map(of_question).boxed(),
        stores.repositories.subscribe().flat_map(of_repository).boxed(),
    ]);
    let shared = Arc::new(Flows {
        context: Arc::clone(&context),
        releases,
        questions: stores.promotions.store(),
        repositories: stores.repositories.store(),
        backoffs: Backoffs::default(),
        known: flows.clone(),
        written: Written::default(),
        turns: Permits::of_which_one_may_hold(CONCURRENCY),
        dependents,
    });
    let reconciler = Reconciler {
        // bounded by their turns, of which one namespace has not all
        concurrency: 0,
        name: "Flow",
        reconcile: |flow, shared| Box::pin(in_turn(flow, shared)),
        failed: |flow: &Flow, error: &FlowError, shared: &Flows| {
            tracing::warn!(flow = %flow.name_any(), error = %error_chain(error), "a flow could not be brought forward; trying again");
            shared.backoffs.failed(ObjectRef::from_obj(flow))
        },
    };
    reconciler.run(&context, shared, flows, queue, shutdown).await;
}

fn flow_of(release: &Release) -> Option<ObjectRef<Flow>> {
    Some(ObjectRef::new(&release.spec.flow).within(&release.namespace()?))
}

fn flow_of_promotion(approval: &Approval, releases: &Store<Release>) -> Option<ObjectRef<Flow>> {
    let release = approval.spec.subject.release.as_deref()?;
    let release = releases.get(&ObjectRef::new(release).within(&approval.namespace()?))?;
    flow_of(&release)
}

/// The flows of a Repository that do not say yet whether it has a gate.
fn gated_otherwise(repository: &Repository, flows: &Store<Flow>) -> Vec<ObjectRef<Flow>> {
    let otherwise = |flow: &Flow| {
        let status = flow.status.as_ref();
        status.is_some_and(|status| {
            status.live.is_some() && status.gated.unwrap_or_default() != repository.spec.promotion.is_some()
        }) && brought(repository, flow)
    };
    let flows = flows.state();
    let flows = flows.iter().filter(|flow| otherwise(flow));
    flows.map(|flow| ObjectRef::from_obj(&**flow)).collect()
}

/// Brings it forward as it is when its namespace has a turn.
async fn in_turn(flow: Arc<Flow>, shared: Arc<Flows>) -> Result<Again, FlowError> {
    let _turn = shared.turns.acquire(&flow.namespace().unwrap_or_default()).await;
    // it may have changed while it waited for its turn
    let Some(flow) = shared.known.get(&ObjectRef::from_obj(&*flow)) else {
        shared.written.forget(&flow);
        return Ok(None);
    };
    let context = Arc::clone(&shared.context);
    Box::pin(context.counted("Flow", reconcile(flow, shared))).await
}

async fn reconcile(flow: Arc<Flow>, shared: Arc<Flows>) -> Result<Again, FlowError> {
    if flow.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    if shared.written.is_behind(&flow) {
        // the watch brings it as it was written
        return Ok(None);
    }
    let before = flow.status.clone().unwrap_or_default();
    let mut next = before.clone();
    let drafted = cut::draft(&shared, &flow, &mut next).await?;
    if matches!(drafted, Drafted::Changing) {
        return Ok(None);
    }
    let promoted = promote::promote(&shared, &flow, &mut next).await?;
    next.gated = promote::gated(&shared, &flow, &next).await?;
    summary::summarise(&shared.context, &flow, &drafted, &promoted, &mut next);
    if flow.status.as_ref() != Some(&next) {
        match patch_status(&shared.context, &*flow, &next).await {
            Ok(written) => {
                shared.written.wrote(&written);
                summary::tell(&shared.context, &flow, &before, &next).await;
            }
            Err(error) if is_stale(&error) => {
                shared.context.metrics().api_conflict("flows");
                return Ok(Some(Wake::After(AFTER_CONFLICT)));
            }
            Err(error) => return Err(FlowError::Api("write the flow's status", error)),
        }
    }
    shared.backoffs.succeeded(&ObjectRef::from_obj(&*flow));
    Ok(None)
}
