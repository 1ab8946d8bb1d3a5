//! The Approval controller: folds Decisions into an answer, closes what nobody answered in time, tells losers.
//!
//! The judging itself is [`crate::engine::judge`]; here is what it needs to know and what follows from it.

mod gather;
mod index;
mod orphans;
mod write;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, channel::mpsc};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        controller::{Action, Config, ReconcileReason, ReconcileRequest, applier},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::index::{DecisionIndex, approval_of, key_of};
use super::{
    context::Context,
    error_chain,
    identity::Identity,
    run::RunWaker,
    server_time::{ServerTimeError, server_time},
    status::{AFTER_CONFLICT, is_missing, is_stale},
};
use crate::{
    api::{Approval, Decision},
    engine::judge::judge,
    telemetry::metrics::Metrics,
};

/// How many approvals are judged at the same time.
const CONCURRENCY: u16 = 32;
/// Pause after a failed write or read before the approval is judged again.
const RETRY: Duration = Duration::from_secs(1);
/// Shortest pause before the server's clock, which is read in whole seconds, is asked again.
const CLOCK_PAUSE: Duration = Duration::from_millis(200);

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

/// What approvals need to be judged.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Client, clock, events.
    pub context: Arc<Context>,
    /// Approvals as the watch shows them.
    pub approvals: Store<Approval>,
    /// Whether decisions may count.
    pub identity: Arc<Identity>,
    /// Namespace in which a forgery may be tried.
    pub probe_namespace: String,
    /// Lets runs go on at once.
    pub waker: RunWaker,
    /// What is counted.
    pub metrics: Metrics,
    /// What goes on beside the judging and is waited for at the end, such as Events.
    pub tasks: TaskTracker,
}

struct Judging {
    deps: Deps,
    decisions: DecisionIndex,
}

/// Approvals to be looked at, as their watch shows them.
pub type Changes = mpsc::UnboundedReceiver<ObjectRef<Approval>>;

/// Judges approvals until `shutdown`. The store must be filled before.
pub async fn run(deps: Deps, changes: Changes, shutdown: CancellationToken) {
    let approvals = deps.approvals.clone();
    let judging = Arc::new(Judging {
        deps,
        decisions: DecisionIndex::default(),
    });
    let (sender, touched) = mpsc::unbounded();
    let proving = keep_proving(Arc::clone(&judging), sender.clone(), shutdown.clone());
    let proving = tokio::spawn(proving);
    let watching = watch_decisions(Arc::clone(&judging), sender);
    let watching = tokio::spawn(shutdown.clone().run_until_cancelled_owned(watching));
    let queue = futures::stream::select(changes, touched)
        .map(|reference| {
            Ok::<_, std::convert::Infallible>(ReconcileRequest {
                obj_ref: reference,
                reason: ReconcileReason::Unknown,
            })
        })
        .take_until(shutdown.cancelled_owned());
    applier(
        |approval, judging| Box::pin(reconcile(approval, judging)),
        |approval, error, judging| failed(&approval, error, &judging),
        judging,
        approvals,
        queue,
        Config::default().concurrency(CONCURRENCY),
    )
    .for_each(|_| std::future::ready(()))
    .await;
    watching.abort();
    proving.abort();
}

/// Judges everything anew when it becomes known, or is no longer known, who decides.
async fn keep_proving(
    judging: Arc<Judging>,
    touched: mpsc::UnboundedSender<ObjectRef<Approval>>,
    shutdown: CancellationToken,
) {
    let Deps {
        context,
        identity,
        probe_namespace,
        approvals,
        ..
    } = &judging.deps;
    let judge_all = || {
        for approval in approvals.state() {
            // the receiver is gone only when the operator ends
            let _ = touched.unbounded_send(ObjectRef::from_obj(&*approval));
        }
    };
    identity
        .keep_proving(context, probe_namespace, judge_all, shutdown)
        .await;
}

fn failed(approval: &Approval, error: &ApprovalError, judging: &Judging) -> Action {
    if let ApprovalError::Api(_, cause) = error
        && (is_stale(cause) || is_missing(cause))
    {
        judging.deps.metrics.api_conflict("approvals");
        return Action::requeue(AFTER_CONFLICT);
    }
    judging.deps.metrics.reconcile_failed("Approval", "Transient");
    tracing::warn!(approval = %approval.name_any(), error = %error_chain(error), "an approval could not be judged; trying again");
    Action::requeue(RETRY)
}

async fn watch_decisions(judging: Arc<Judging>, touched: mpsc::UnboundedSender<ObjectRef<Approval>>) {
    let context = &judging.deps.context;
    let mut events = watcher(context.all::<Decision>(), watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "the watch of decisions broke; it starts again");
                continue;
            }
        };
        for decision in judging.decisions.apply(event) {
            let (namespace, name) = approval_of(&decision);
            let reference = ObjectRef::new(&name).within(&namespace);
            if judging.deps.approvals.get(&reference).is_none() {
                judging
                    .deps
                    .tasks
                    .spawn(orphans::settle(judging.deps.clone(), decision));
            } else if touched.unbounded_send(reference).is_err() {
                return;
            }
        }
    }
}

async fn reconcile(approval: Arc<Approval>, judging: Arc<Judging>) -> Result<Action, ApprovalError> {
    let began = Instant::now();
    let context = &judging.deps.context;
    let deadline = approval.spec.expires_at.as_ref().map(|time| time.0);
    let seen = judging.decisions.on(&key_of(&approval));
    let open = !approval
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_closed());
    // past the deadline only the server's clock and a consistent list can say what was in time
    let over = open && deadline.is_some_and(|deadline| deadline <= context.now());
    let (server_now, decisions) = if over {
        let now = server_time(context.client()).await?;
        (Some(now), gather::fresh(context, &approval).await?)
    } else {
        (None, seen.iter().map(|seen| Arc::clone(&seen.decision)).collect())
    };
    let status = approval.status.clone().unwrap_or_default();
    let facts = gather::facts(&decisions);
    let judgement = judge(
        &approval.spec,
        gather::created_at(&*approval),
        &status,
        &facts,
        server_now,
        judging.deps.identity.is_proven(),
    );
    let closed = judgement.status.phase.is_closed();
    if let Some(written) = write::approval(context, &approval, &judgement.status).await? {
        if closed {
            let since = seen.iter().map(|seen| seen.since).max();
            judging.deps.waker.judged(&written, since);
            let (context, status) = (Arc::clone(context), judgement.status);
            judging
                .deps
                .tasks
                .spawn(async move { write::announce(&context, &written, &status).await });
        }
        judging.deps.metrics.reconciled("Approval", began.elapsed());
    }
    write::decisions(context, &decisions, judgement.decisions).await?;
    Ok(match deadline {
        Some(deadline) if !closed => {
            Action::requeue(until(deadline, server_now.unwrap_or_else(|| context.now())))
        }
        _ => Action::await_change(),
    })
}

/// How long until the deadline has surely passed.
fn until(deadline: Timestamp, now: Timestamp) -> Duration {
    let left = deadline.duration_since(now).max(SignedDuration::ZERO);
    left.unsigned_abs().max(CLOCK_PAUSE)
}

/// Counts the approvals that are pending.
pub fn count_pending(approvals: &Store<Approval>, metrics: &Metrics) {
    let pending: Vec<Timestamp> = approvals
        .state()
        .iter()
        .filter(|approval| {
            !approval
                .status
                .as_ref()
                .is_some_and(|status| status.phase.is_closed())
        })
        .map(|approval| gather::created_at(&**approval))
        .collect();
    let oldest = pending
        .iter()
        .min()
        .map(|oldest| oldest.as_duration().as_secs_f64());
    metrics.approvals_pending(pending.len(), oldest);
}
