//! What a worker writes. The admission policy holds it to the same.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use super::{MAX_MESSAGE, cut};
use crate::heartbeat::later;
use signoff_api::{WorkItemPhase, WorkItemSpec, WorkItemStatus, work_item::WorkAnswer};

/// Why a worker cannot write to a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Somebody has it.
    #[error("{0} has the task")]
    Taken(String),
    /// The same worker has claimed it anew.
    #[error("the claim on the task is lost: you have it under claim {0} now")]
    Renewed(i64),
    /// It is over.
    #[error("the task is over: {0}")]
    Over(WorkItemPhase),
    /// The claim is not in force any more, and nobody else has it yet.
    #[error("the claim on the task is lost: it is in the queue again")]
    Queued,
}

/// Whether a worker has the task under this claim.
///
/// # Errors
/// Why not.
pub fn owns(status: &WorkItemStatus, worker: &str, claim: i64) -> Result<(), Lost> {
    match status.phase {
        WorkItemPhase::Queued => Err(Lost::Queued),
        WorkItemPhase::Claimed if status.worker.as_deref() == Some(worker) => {
            if status.claim == claim {
                Ok(())
            } else {
                Err(Lost::Renewed(status.claim))
            }
        }
        WorkItemPhase::Claimed => Err(Lost::Taken(status.worker.clone().unwrap_or_default())),
        WorkItemPhase::Succeeded
        | WorkItemPhase::Failed
        | WorkItemPhase::Expired
        | WorkItemPhase::Cancelled => Err(Lost::Over(status.phase)),
    }
}

/// The status with which a worker takes a task from the queue.
///
/// # Errors
/// If it is not in the queue.
pub fn claim(
    spec: &WorkItemSpec,
    status: &WorkItemStatus,
    worker: &str,
    now: Timestamp,
) -> Result<WorkItemStatus, Lost> {
    match status.phase {
        WorkItemPhase::Queued => {}
        WorkItemPhase::Claimed => return Err(Lost::Taken(status.worker.clone().unwrap_or_default())),
        WorkItemPhase::Succeeded
        | WorkItemPhase::Failed
        | WorkItemPhase::Expired
        | WorkItemPhase::Cancelled => return Err(Lost::Over(status.phase)),
    }
    Ok(WorkItemStatus {
        phase: WorkItemPhase::Claimed,
        claim: status.claim.saturating_add(1),
        worker: Some(worker.to_owned()),
        lease_until: Some(lease(spec.heartbeat.duration(), now)),
        ..status.clone()
    })
}

/// The status with which it renews its lease and says how far it is, in one write.
pub fn renew(
    spec: &WorkItemSpec,
    status: &WorkItemStatus,
    progress: Option<&str>,
    now: Timestamp,
) -> WorkItemStatus {
    let progress = progress.map(|progress| cut(progress, MAX_MESSAGE));
    WorkItemStatus {
        lease_until: Some(lease(spec.heartbeat.duration(), now)),
        progress: progress.or_else(|| status.progress.clone()),
        ..status.clone()
    }
}

/// The status with which it answers. The problem of an answer that was given back is not the new one's.
pub fn answer(status: &WorkItemStatus, answer: WorkAnswer) -> WorkItemStatus {
    WorkItemStatus {
        answer: Some(answer),
        problem: None,
        ..status.clone()
    }
}

/// The status with which it puts the task back in the queue. That is no failure.
pub fn give_back(status: &WorkItemStatus) -> WorkItemStatus {
    WorkItemStatus {
        phase: WorkItemPhase::Queued,
        worker: None,
        lease_until: None,
        progress: None,
        answer: None,
        problem: None,
        given_back: 0,
        ..status.clone()
    }
}

fn lease(heartbeat: Duration, now: Timestamp) -> MicroTime {
    MicroTime(later(now, heartbeat))
}
