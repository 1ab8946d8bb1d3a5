//! The Approval controller: folds Decisions into an answer, closes what nobody answered in time, tells losers.
//!
//! The judging itself is [`crate::engine::judge`]; here is what it needs to know and what follows from it.

mod gather;
mod write;

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        controller::{Action, Config, applier, trigger_self, trigger_with},
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    context::Context,
    error_chain,
    server_time::{ServerTimeError, server_time},
};
use crate::{
    api::{Approval, Decision},
    engine::judge::judge,
};

/// How many approvals are judged at the same time.
const CONCURRENCY: u16 = 32;
/// Pause after a failed write or read before the approval is judged again.
const RETRY: Duration = Duration::from_secs(1);

/// Why an approval could not be judged now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// The server's clock is not known, so nothing can be expired.
    #[error(transparent)]
    ServerTime(#[from] ServerTimeError),
}

struct Judging {
    context: Arc<Context>,
    decisions: Store<Decision>,
}

/// Judges approvals until `shutdown`.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let (approvals, approval_writer) = reflector::store::<Approval>();
    let (decisions, decision_writer) = reflector::store::<Decision>();
    let approval_events = watcher(context.all::<Approval>(), watcher::Config::default())
        .default_backoff()
        .reflect(approval_writer)
        .touched_objects();
    let decision_events = watcher(context.all::<Decision>(), watcher::Config::default())
        .default_backoff()
        .reflect(decision_writer)
        .touched_objects();
    let queue = stream::select(
        trigger_self(approval_events, ()).map_err(Arc::new),
        trigger_with(decision_events, |decision: Decision| Some(approval_of(&decision))).map_err(Arc::new),
    )
    .take_until(shutdown.cancelled_owned());
    drive(context, approvals, decisions, queue).await;
}

async fn drive<Q, E>(context: Arc<Context>, approvals: Store<Approval>, decisions: Store<Decision>, queue: Q)
where
    Q: Stream<Item = Result<kube::runtime::controller::ReconcileRequest<Approval>, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let judging = Arc::new(Judging { context, decisions });
    applier(
        |approval, judging| Box::pin(reconcile(approval, judging)),
        |approval: Arc<Approval>, error: &ApprovalError, _| {
            tracing::warn!(approval = %approval.name_any(), error = %error_chain(error), "an approval could not be judged; trying again");
            Action::requeue(RETRY)
        },
        judging,
        approvals,
        queue,
        Config::default().concurrency(CONCURRENCY),
    )
    .for_each(|_| std::future::ready(()))
    .await;
}

fn approval_of(decision: &Decision) -> ObjectRef<Approval> {
    ObjectRef::new(&decision.spec.approval).within(&decision.namespace().unwrap_or_default())
}

async fn reconcile(approval: Arc<Approval>, judging: Arc<Judging>) -> Result<Action, ApprovalError> {
    let context = &judging.context;
    let deadline = approval.spec.expires_at.as_ref().map(|time| time.0);
    let open = !approval
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_closed());
    let over = open && deadline.is_some_and(|deadline| deadline <= context.now());
    // past the deadline only the server's clock and a consistent list can say what was in time
    let (server_now, decisions) = if over {
        let now = server_time(context.client()).await?;
        (Some(now), gather::fresh(context, &approval).await?)
    } else {
        (None, gather::cached(&judging.decisions, &approval))
    };
    let status = approval.status.clone().unwrap_or_default();
    let judgement = judge(
        &approval.spec,
        gather::created_at(&*approval),
        &status,
        &gather::facts(&decisions),
        server_now,
    );
    let closed = judgement.status.phase.is_closed();
    write::approval(context, &approval, judgement.status).await?;
    write::decisions(context, &approval, &decisions, judgement.decisions).await?;
    Ok(match deadline {
        Some(deadline) if !closed => {
            Action::requeue(until(deadline, server_now.unwrap_or_else(|| context.now())))
        }
        _ => Action::await_change(),
    })
}

/// How long until the deadline has surely passed on the server's clock, which is read in whole seconds.
fn until(deadline: Timestamp, now: Timestamp) -> Duration {
    let left = deadline.duration_since(now).max(SignedDuration::ZERO);
    left.unsigned_abs().max(Duration::from_millis(200))
}
