//! Pure: whether an approval needs nothing now, as far as the watch has shown it. Ten thousand that wait are then not read again after a restart.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{CLOCK_PAUSE, SERVER_PAUSE, WHILE_UNKNOWN, reminders};
use crate::cluster::{
    object_key::created_at,
    timers::{Again, Wake},
};
use signoff_api::Approval;
use signoff_engine::judge::{Proof, judge};

/// When to look again at an approval that nobody has decided on, if its status says already what there is to say.
pub(super) fn at_rest(approval: &Approval, proof: Proof, now: Timestamp) -> Option<Again> {
    let status = approval.status.as_ref()?;
    let deadline = approval.spec.expires_at.as_ref().map(|time| time.0);
    if status.phase.is_closed() || deadline.is_some_and(|deadline| deadline <= now) {
        return None;
    }
    if reminders::due(approval, now).is_some() {
        return None;
    }
    let judgement = judge(&approval.spec, created_at(approval), status, &[], None, proof);
    (judgement.status == *status)
        .then(|| reminders::no_later(next_look(deadline, None, proof), reminders::next(approval, now)))
}

/// When to look again at an approval that stays open.
pub(super) fn next_look(deadline: Option<Timestamp>, server_now: Option<Timestamp>, proof: Proof) -> Again {
    let deadline = deadline?;
    Some(match proof {
        Proof::Proven { .. } => until(deadline, server_now),
        // whoever proves it has everything judged anew
        Proof::Unknown | Proof::Refuted | Proof::Interrupted => Wake::After(WHILE_UNKNOWN),
    })
}

/// When the deadline may have passed. Where the server says that it has not, though our clock shows it, the server is asked again.
fn until(deadline: Timestamp, server_now: Option<Timestamp>) -> Wake {
    let Some(now) = server_now else {
        return Wake::At(deadline);
    };
    let left = deadline.duration_since(now).max(SignedDuration::ZERO);
    Wake::After(left.unsigned_abs().clamp(CLOCK_PAUSE, SERVER_PAUSE))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use signoff_api::ApprovalStatus;

    const PROVEN: Proof = Proof::Proven {
        since: None,
        written: None,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn approval(more: &Value) -> Approval {
        let mut approval = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval",
            "metadata": {"name": "a", "namespace": "ns", "uid": "a", "creationTimestamp": "1970-01-01T00:01:00Z"},
            "spec": {"subject": {"run": "r", "step": "s"}, "purpose": "Step", "title": "go?", "quorum": 1,
                "digest": format!("sha256:{}", "0".repeat(64)), "selfApproval": false, "verdicts": ["Approve"]}});
        json_patch::merge(&mut approval, more);
        serde_json::from_value(approval).unwrap()
    }

    fn with_deadline() -> Approval {
        approval(&json!({"spec": {"expiresAt": "1970-01-01T01:00:00Z"}}))
    }

    /// As it is when it was judged once.
    fn judged(mut approval: Approval, proof: Proof) -> Approval {
        let created = created_at(&approval);
        let before = ApprovalStatus::default();
        let judgement = judge(&approval.spec, created, &before, &[], None, proof);
        approval.status = Some(judgement.status);
        approval
    }

    #[test]
    fn one_that_was_judged_needs_nothing_until_its_deadline() {
        let plain = judged(approval(&json!({})), PROVEN);
        assert_eq!(at_rest(&plain, PROVEN, at(100)), Some(None));
        let ends = judged(with_deadline(), PROVEN);
        assert_eq!(at_rest(&ends, PROVEN, at(100)), Some(Some(Wake::At(at(3_600)))));
        assert_eq!(at_rest(&ends, PROVEN, at(3_600)), None, "it is over");
    }

    #[test]
    fn one_with_reminders_is_looked_at_when_the_next_one_comes() {
        let reminded = judged(approval(&json!({"spec": {"remindEvery": "10m"}})), PROVEN);
        assert_eq!(at_rest(&reminded, PROVEN, at(100)), Some(Some(Wake::At(at(660)))));
        assert_eq!(at_rest(&reminded, PROVEN, at(660)), None, "it is due");
    }

    #[test]
    fn one_that_was_not_judged_or_is_closed_is_looked_at() {
        assert_eq!(at_rest(&approval(&json!({})), PROVEN, at(100)), None);
        let mut closed = judged(approval(&json!({})), PROVEN);
        closed.status.as_mut().unwrap().phase = signoff_api::ApprovalPhase::Approved;
        assert_eq!(at_rest(&closed, PROVEN, at(100)), None);
    }

    #[test]
    fn one_whose_status_says_otherwise_whether_decisions_are_proven_is_looked_at() {
        let unproven = judged(with_deadline(), Proof::Refuted);
        assert_eq!(at_rest(&unproven, PROVEN, at(100)), None);
        let soon = Some(Some(Wake::After(WHILE_UNKNOWN)));
        assert_eq!(at_rest(&unproven, Proof::Refuted, at(100)), soon);
        let proven = judged(with_deadline(), PROVEN);
        assert_eq!(at_rest(&proven, Proof::Refuted, at(100)), None);
    }

    #[test]
    fn a_deadline_that_only_our_clock_has_passed_is_asked_of_the_server_again() {
        let look = |server_now| next_look(Some(at(3_600)), Some(at(server_now)), PROVEN);
        assert_eq!(look(3_590), Some(Wake::After(std::time::Duration::from_secs(10))));
        assert_eq!(look(3_600), Some(Wake::After(CLOCK_PAUSE)));
        assert_eq!(look(0), Some(Wake::After(SERVER_PAUSE)));
        assert_eq!(next_look(None, Some(at(1)), PROVEN), None);
    }
}
