//! The Approval controller: folds Decisions into an answer, closes what nobody answered in time, tells losers.
//!
//! The judging itself is [`signoff_engine::judge`]; here is what it needs to know and what follows from it.

mod acts_as;
mod asked;
mod gather;
mod index;
mod orphans;
pub mod proposal;
mod reminders;
mod rest;
mod write;

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::index::DecisionIndex;
use crate::{
    cluster::{
        context::Context,
        error_chain,
        identity::Identity,
        object_key::{ApprovalKey, created_at},
        objects::{Decoded, watch},
        parts::beside,
        queue::{self, Touched},
        server_time::{ServerTimeError, server_time},
        shared::{ApprovalInbox, OpenApprovals},
        status::{AFTER_CONFLICT, is_missing, is_stale},
        timers::{Again, Wake},
    },
    runs::RunWaker,
    telemetry::metrics::Metrics,
};
use signoff_api::{Approval, Decision};
use signoff_engine::judge::{Proof, judge};

/// How many approvals are judged at the same time.
const CONCURRENCY: usize = 32;
/// Pause after a failed write or read before the approval is judged again.
const RETRY: Duration = Duration::from_secs(1);
/// Pause before an overdue approval is looked at again while it is not known whether it is proven who decides.
const WHILE_UNKNOWN: Duration = Duration::from_secs(15);
/// Longest pause before that: it may be set.
const SERVER_PAUSE: Duration = Duration::from_mins(1);
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
    /// The questions that are open, as the watch shows them.
    pub open: OpenApprovals,
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

/// Judges approvals until `shutdown`, as the inbox brings them.
pub async fn run(deps: Deps, inbox: ApprovalInbox, shutdown: CancellationToken) {
    let ApprovalInbox { touch, touched } = inbox;
    let judging = Arc::new(Judging {
        deps,
        decisions: DecisionIndex::default(),
    });
    let proving = keep_proving(Arc::clone(&judging), touch.clone(), shutdown.clone());
    let watching = watch_decisions(Arc::clone(&judging), touch);
    let watching = shutdown.clone().run_until_cancelled_owned(watching);
    let working = judge_all(judging, touched.stream(), shutdown);
    // boxed: it is large
    beside(proving, Box::pin(beside(watching, working))).await;
}

async fn judge_all(
    judging: Arc<Judging>,
    touched: impl Stream<Item = Touched<Approval>>,
    shutdown: CancellationToken,
) {
    // an answer that was half given is not to be taken back for want of the decisions it rests on
    let known = shutdown.run_until_cancelled(judging.decisions.are_known()).await;
    if known.is_none() {
        return;
    }
    let context = Arc::clone(&judging.deps.context);
    let looking = Arc::clone(&judging);
    let touched = touched.filter_map(move |touched| std::future::ready(unless_at_rest(&looking, touched)));
    queue::run(
        "Approval",
        &context,
        touched,
        CONCURRENCY,
        shutdown,
        |key, shown| {
            let judging = Arc::clone(&judging);
            async move {
                match reconcile(&key, shown, &judging).await {
                    Ok(again) => again,
                    Err(error) => Some(Wake::After(failed(&key, &error, &judging))),
                }
            }
        },
    )
    .await;
}

/// What is left to do for what was touched. An approval that nobody has decided on, and that says so, needs nothing until its deadline.
fn unless_at_rest(judging: &Judging, touched: Touched<Approval>) -> Option<Touched<Approval>> {
    let Touched::Shown(approval) = &touched else {
        return Some(touched);
    };
    let key = ApprovalKey::of(approval);
    if !judging.decisions.on(&key).is_empty() {
        return Some(touched);
    }
    let deps = &judging.deps;
    match rest::at_rest(approval, deps.identity.proof(), deps.context.now()) {
        None => Some(touched),
        Some(again) => again.map(|wake| Touched::Later(key, wake)),
    }
}

/// Judges everything anew when it becomes known, or is no longer known, who decides.
async fn keep_proving(
    judging: Arc<Judging>,
    touch: mpsc::UnboundedSender<Touched<Approval>>,
    shutdown: CancellationToken,
) {
    let Deps {
        context,
        identity,
        probe_namespace,
        open,
        ..
    } = &judging.deps;
    let judge_all = || open.touch_all(&touch);
    identity
        .keep_proving(context, probe_namespace, judge_all, shutdown)
        .await;
}

fn failed(key: &ApprovalKey, error: &ApprovalError, judging: &Judging) -> Duration {
    if let ApprovalError::Api(_, cause) = error
        && (is_stale(cause) || is_missing(cause))
    {
        judging.deps.metrics.api_conflict("approvals");
        return AFTER_CONFLICT;
    }
    judging.deps.metrics.reconcile_failed("Approval", "Transient");
    tracing::warn!(approval = %key, error = %error_chain(error), "an approval could not be judged; trying again");
    RETRY
}

async fn watch_decisions(judging: Arc<Judging>, touch: mpsc::UnboundedSender<Touched<Approval>>) {
    let context = &judging.deps.context;
    let mut events = watch::<Decision>(context, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        // a watch that broke starts again
        let Ok(event) = event else { continue };
        for decision in judging.decisions.apply(event) {
            let key = ApprovalKey::decided_by(&decision);
            let settled = decision
                .status
                .as_ref()
                .is_some_and(|status| status.reason.is_some());
            if settled && judging.deps.open.keeps(&key) {
                // the echo of our own word
                continue;
            }
            if touch.send(Touched::Named(key)).is_err() {
                return;
            }
        }
    }
}

/// Judges an approval. Gives when to look at it again.
async fn reconcile(
    key: &ApprovalKey,
    shown: Option<Arc<Approval>>,
    judging: &Judging,
) -> Result<Again, ApprovalError> {
    let began = Instant::now();
    let context = &judging.deps.context;
    let seen = judging.decisions.on(key);
    let approval = match shown {
        Some(approval) => approval,
        None if seen.iter().all(index::Seen::is_done) && !judging.deps.open.keeps(key) => {
            // a listing brings them all once more
            judging.decisions.forget(key);
            return Ok(None);
        }
        None => {
            let read = context
                .namespaced::<Approval>(key.namespace())
                .get_opt(key.name())
                .await;
            let read = read.map_err(|error| ApprovalError::Api("read the approval", error))?;
            let Some(approval) = read else {
                orphans::settle(context, &seen).await?;
                judging.decisions.forget(key);
                return Ok(None);
            };
            Arc::new(approval)
        }
    };
    if !asked::is_ours(judging, key, &approval, &seen).await? {
        return Ok(None);
    }
    let deadline = approval.spec.expires_at.as_ref().map(|time| time.0);
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
    let mut facts = gather::facts(&decisions);
    let proof = judging.deps.identity.proof();
    let held =
        open && matches!(proof, Proof::Proven { .. }) && acts_as::ask(context, &approval, &mut facts).await;
    let created_at = created_at(&*approval);
    let mut judgement = if approval.spec.form.is_some() {
        // whoever wrote the flow wrote the form, which answers are checked against
        let (spec, status) = (approval.spec.clone(), status.clone());
        let judged = move || judge(&spec, created_at, &status, &facts, server_now, proof);
        context.evaluate(key.namespace(), judged).await
    } else {
        judge(&approval.spec, created_at, &status, &facts, server_now, proof)
    };
    let closed = judgement.status.phase.is_closed();
    let reminder = reminders::due(&approval, context.now()).filter(|_| !closed);
    judgement.status.reminders = reminder.or(judgement.status.reminders);
    // a run that is about to go on is read while the answer is written
    let subject = approval.spec.subject.run.as_deref();
    let answering = (closed && open).then(|| {
        let deps = &judging.deps;
        deps.open.answering(key, subject, &deps.waker)
    });
    let writing = write::approval(context, &approval, &judgement.status);
    let (written, run) = tokio::join!(writing, gather::run(context, &approval, closed && open));
    let mut next_reminder = reminders::next(&approval, context.now());
    if let Some(written) = written? {
        next_reminder = reminders::next(&written, context.now());
        if let Some(reminder) = reminder {
            let (context, written) = (Arc::clone(context), written.clone());
            judging
                .deps
                .tasks
                .spawn(async move { write::remind(&context, &written, reminder).await });
        }
        if closed {
            let since = seen.iter().map(|seen| seen.since).max();
            judging.deps.waker.judged(&written, run, since);
            if let Some(answering) = answering {
                answering.told();
            }
            let (context, status) = (Arc::clone(context), judgement.status);
            judging
                .deps
                .tasks
                .spawn(async move { write::announce(&context, &written, &status).await });
        }
        judging.deps.metrics.reconciled("Approval", began.elapsed());
    }
    write::decisions(context, &decisions, judgement.decisions).await?;
    for decision in decisions.iter().filter(|decision| !index::is_tied(decision)) {
        if let Some(tied) = write::tie(context, decision, &approval).await? {
            judging.decisions.apply(Event::Apply(Decoded::Object(tied)));
        }
    }
    Ok(if held {
        Some(Wake::After(RETRY))
    } else if closed {
        if !open {
            judging.decisions.forget(key);
        }
        None
    } else {
        reminders::no_later(rest::next_look(deadline, server_now, proof), next_reminder)
    })
}
