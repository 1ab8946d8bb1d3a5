//! Closing the questions of a promotion that is no longer wanted.

use k8s_openapi::jiff::Timestamp;

use super::GATES;
use signoff_api::{
    ApprovalPhase, ApprovalStatus,
    condition::{self, ConditionStatus},
    flow::PromotionStatus,
    names,
};

/// The questions of one round about a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questions {
    /// Name of the release.
    pub release: String,
    /// The round, from 1.
    pub round: i64,
}

impl Questions {
    /// Those of the first round about a release.
    pub fn first(release: &str) -> Self {
        Self {
            release: release.to_owned(),
            round: 1,
        }
    }

    /// Those that a promotion put.
    pub(super) fn of(promotion: &PromotionStatus) -> Self {
        Self {
            release: promotion.release.clone(),
            round: promotion.round.unwrap_or(1),
        }
    }

    /// The names that they have, whether they were put or not.
    pub fn names(&self) -> [String; GATES.len()] {
        GATES.map(|gate| names::promotion_approval_name(&self.release, self.round, gate))
    }
}

/// What an open question says once another release is to become live. None if it is closed already.
pub fn superseded(status: &ApprovalStatus, now: Timestamp) -> Option<ApprovalStatus> {
    if status.phase.is_closed() {
        return None;
    }
    let message = "another release is to become live";
    let mut next = ApprovalStatus {
        phase: ApprovalPhase::Superseded,
        needs: None,
        message: Some(message.to_owned()),
        ..status.clone()
    };
    let truth = ConditionStatus::True;
    condition::set_question(&mut next.conditions, truth, "Superseded", message, None, now);
    Some(next)
}
