//! Which release a run takes.

use std::sync::Arc;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::{Deps, FlowKey};
use crate::cluster::releases::{LoadedRelease, ReleaseUnusable};
use signoff_api::{
    Flow, Run, RunPhase, RunStatus,
    condition::{self, ConditionStatus},
    reason::{Classified, ErrorClass, StepReason},
    run::{Channel, StepError, StepOutcome, StepPhase},
    text::visible,
};
use signoff_engine::facts;

/// Why a run has no release to go on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unpinned {
    /// There is no such flow.
    #[error("there is no flow {0:?} in this namespace")]
    FlowNotFound(String),
    /// Nothing is live yet.
    #[error("the flow {0:?} has no live release yet; promote one, or start the run with the draft channel")]
    NoLiveRelease(String),
    /// No release was cut yet.
    #[error("no release was cut from the flow {flow:?} yet{because}")]
    NoDraftRelease {
        /// The flow.
        flow: String,
        /// What the flow says of that, after a colon; empty if it is ready.
        because: String,
    },
    /// The release belongs to another flow.
    #[error("the release {release:?} is one of the flow {actual:?}, not of {wanted:?}")]
    OtherFlow {
        /// The release asked for.
        release: String,
        /// Its flow.
        actual: String,
        /// The run's flow.
        wanted: String,
    },
    /// The release it was pinned to is not what it was.
    #[error("the release {0:?} is not the one this run was pinned to")]
    Replaced(String),
    /// The release cannot be used.
    #[error(transparent)]
    Unusable(#[from] ReleaseUnusable),
}

impl Classified for Unpinned {
    fn class(&self) -> ErrorClass {
        match self {
            Self::FlowNotFound(_) | Self::NoLiveRelease(_) | Self::NoDraftRelease { .. } => {
                ErrorClass::Waiting
            }
            Self::OtherFlow { .. } | Self::Replaced(_) => ErrorClass::Invalid,
            Self::Unusable(unusable) => unusable.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::FlowNotFound(_) => "FlowNotFound",
            Self::NoLiveRelease(_) => "NoLiveRelease",
            Self::NoDraftRelease { .. } => "NoDraftRelease",
            Self::OtherFlow { .. } => "ReleaseOfOtherFlow",
            Self::Replaced(_) => "ReleaseReplaced",
            Self::Unusable(unusable) => unusable.reason(),
        }
    }
}

/// The release a run is pinned to, or is to be pinned to now.
pub(super) async fn release(deps: &Deps, run: &Run) -> Result<Arc<LoadedRelease>, Unpinned> {
    let namespace = run.namespace().unwrap_or_default();
    if let Some(pinned) = run.status.as_ref().and_then(|status| status.release.as_ref()) {
        let release = deps.releases.load(&namespace, &pinned.name).await?;
        return if release.facts.digest == pinned.digest {
            Ok(release)
        } else {
            Err(Unpinned::Replaced(pinned.name.clone()))
        };
    }
    let name = match &run.spec.release {
        Some(name) => name.to_string(),
        None => of_channel(
            deps,
            &namespace,
            &run.spec.flow,
            run.spec.channel.unwrap_or_default(),
        )?,
    };
    let release = deps.releases.load(&namespace, &name).await?;
    let pinned = run.spec.parent.as_ref().map(|parent| &parent.digest);
    if pinned.is_some_and(|pinned| *pinned != release.facts.digest) {
        return Err(Unpinned::Replaced(name));
    }
    if run.spec.flow == release.facts.flow {
        Ok(release)
    } else {
        Err(Unpinned::OtherFlow {
            release: name,
            actual: release.facts.flow.clone(),
            wanted: run.spec.flow.to_string(),
        })
    }
}

fn of_channel(deps: &Deps, namespace: &str, flow: &str, channel: Channel) -> Result<String, Unpinned> {
    let found = deps
        .flows
        .get(&ObjectRef::<Flow>::new(flow).within(namespace))
        .ok_or_else(|| Unpinned::FlowNotFound(flow.to_owned()))?;
    let status = found.status.as_ref();
    match channel {
        Channel::Live => status
            .and_then(|status| status.live_release().map(str::to_owned))
            .ok_or_else(|| Unpinned::NoLiveRelease(flow.to_owned())),
        Channel::Draft => status
            .and_then(|status| status.draft.as_ref())
            .map(|draft| draft.release.clone())
            .ok_or_else(|| Unpinned::NoDraftRelease {
                flow: flow.to_owned(),
                because: unready(&found),
            }),
    }
}

/// Why a flow is not ready, as it says itself.
fn unready(flow: &Flow) -> String {
    let conditions = flow.status.iter().flat_map(|status| &status.conditions);
    let mut unready = conditions.filter(|known| known.type_ == condition::READY && known.status != "True");
    let known = unready.next();
    known.map_or_else(String::new, |known| {
        format!(": {}: {}", known.reason, known.message)
    })
}

/// The status of a run that has no release to go on with.
pub(super) fn held(run: &Run, why: &Unpinned, now: Timestamp) -> RunStatus {
    let mut status = run.status.clone().unwrap_or_default();
    let message = why.to_string();
    status.observed_generation = run.metadata.generation;
    if run.spec.cancel == Some(true) || run.spec.terminate == Some(true) {
        return cancelled(run, status, now);
    }
    // the API server's caps; a name is far shorter
    status.waiting_on = Some(visible(&message).chars().take(512).collect());
    let generation = run.metadata.generation;
    condition::set_run(
        &mut status.conditions,
        ConditionStatus::Unknown,
        why.reason(),
        &message,
        generation,
        now,
    );
    status
}

/// The status of a run that cannot begin with the release it was to be pinned to.
pub(super) fn unfit(run: &Run, reason: StepReason, message: &str, now: Timestamp) -> RunStatus {
    let mut status = run.status.clone().unwrap_or_default();
    let generation = run.metadata.generation;
    let message: String = visible(message).chars().take(1_024).collect();
    status.observed_generation = generation;
    status.phase = RunPhase::Failed;
    status.waiting_on = None;
    status.finished_at = Some(MicroTime(now));
    condition::set_run(
        &mut status.conditions,
        ConditionStatus::False,
        reason.to_string().as_str(),
        &message,
        generation,
        now,
    );
    status.error = Some(StepError { reason, message });
    status
}

/// The status of a run whose next state the API server refuses: as little as possible is new in it.
pub(super) fn refused(run: &Run, why: &str, now: Timestamp) -> RunStatus {
    let why = visible(why);
    let message: String = format!("the API server refuses the status of the run: {why}")
        .chars()
        .take(1_024)
        .collect();
    let status = run.status.clone().unwrap_or_default();
    let reason = StepReason::StatusRefused;
    ended(
        status,
        RunPhase::Failed,
        reason,
        &message,
        run.metadata.generation,
        now,
    )
}

/// Ends a run without the release it ran on, if any. What was under way cannot be settled without it, and is not passed over either.
fn cancelled(run: &Run, status: RunStatus, now: Timestamp) -> RunStatus {
    let when = if status.release.is_some() {
        "while its release could not be used"
    } else {
        "before it was pinned to a release"
    };
    let (by, why) = (run.spec.stopped_by.as_deref(), run.spec.stop_message.as_deref());
    let stopped = facts::stopped(by, why);
    let message: String = visible(&format!("the run was cancelled {when}{stopped}"))
        .chars()
        .take(1_024)
        .collect();
    let reason = StepReason::Cancelled;
    let generation = run.metadata.generation;
    ended(status, RunPhase::Cancelled, reason, &message, generation, now)
}

/// Ends a run where it is.
fn ended(
    mut status: RunStatus,
    phase: RunPhase,
    reason: StepReason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> RunStatus {
    for step in status.steps.iter_mut().filter(|step| !step.phase.is_finished()) {
        let sent = step.attempt > 0 && step.phase != StepPhase::Retrying;
        step.phase = StepPhase::Cancelled;
        step.outcome = Some(StepOutcome::Cancelled);
        step.finished_at = Some(MicroTime(now));
        step.wake_at = None;
        step.waiting_on = None;
        if sent {
            step.error = Some(StepError {
                reason: StepReason::OutcomeUnknown,
                message: format!(
                    "attempt {} was sent, and it is unknown what came of it",
                    step.attempt
                ),
            });
        }
    }
    status.observed_generation = generation;
    status.ending = None;
    status.phase = phase;
    status.waiting_on = None;
    status.finished_at = Some(MicroTime(now));
    status.error = Some(StepError {
        reason,
        message: message.to_owned(),
    });
    condition::set_run(
        &mut status.conditions,
        ConditionStatus::False,
        &reason.to_string(),
        message,
        generation,
        now,
    );
    status
}

/// What has to change for a run to be looked at again: a flow, or a release of it.
pub(super) fn awaited(run: &Run) -> FlowKey {
    FlowKey::new(
        run.metadata.namespace.as_deref().unwrap_or_default(),
        &run.spec.flow,
    )
}
