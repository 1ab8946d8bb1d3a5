//! Pure: when people are reminded of a question that stays open, counted from the time of asking.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::cluster::{
    object_key::created_at,
    timers::{Again, Wake},
};
use signoff_api::Approval;

/// How many times to remind have come by now, if there is one more than the status says.
pub(super) fn due(approval: &Approval, now: Timestamp) -> Option<i64> {
    let every = every(approval)?;
    let open_for = now.duration_since(created_at(approval));
    // at least five minutes, so there are fewer than fit
    let come = i64::try_from(open_for.as_millis() / every.as_millis()).ok()?;
    (come > told(approval)).then_some(come)
}

/// When the next one comes.
pub(super) fn next(approval: &Approval, now: Timestamp) -> Option<Timestamp> {
    let every = every(approval)?;
    let come = due(approval, now).unwrap_or_else(|| told(approval));
    let after = every.checked_mul(i32::try_from(come.saturating_add(1)).ok()?)?;
    created_at(approval).checked_add(after).ok()
}

/// When to look again at a question that is looked at then anyway, and is reminded of.
pub(super) fn no_later(again: Again, reminder: Option<Timestamp>) -> Again {
    match (again, reminder) {
        (again, None) => again,
        (None, Some(at)) => Some(Wake::At(at)),
        (Some(Wake::At(look)), Some(at)) => Some(Wake::At(look.min(at))),
        // it is looked at again soon
        (Some(Wake::After(pause)), Some(_)) => Some(Wake::After(pause)),
    }
}

fn every(approval: &Approval) -> Option<SignedDuration> {
    let every = approval.spec.remind_every.as_ref()?.duration();
    SignedDuration::try_from(every)
        .ok()
        .filter(|every| every.as_millis() > 0)
}

fn told(approval: &Approval) -> i64 {
    let status = approval.status.as_ref();
    status.and_then(|status| status.reminders).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A question that was put at 0, and of which people are reminded every ten minutes.
    fn approval(reminders: Option<i64>) -> Approval {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval",
            "metadata": {"name": "a", "namespace": "ns", "uid": "a", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"subject": {"run": "r", "step": "s"}, "purpose": "Step", "title": "go?", "quorum": 1, "remindEvery": "10m",
                "digest": format!("sha256:{}", "0".repeat(64)), "selfApproval": false, "verdicts": ["Approve"]},
            "status": {"reminders": reminders}}))
        .unwrap()
    }

    #[test]
    fn a_reminder_is_due_once_for_each_time_that_has_come() {
        for (told, now, expected, next_at) in [
            (None, 0, None, 600),
            (None, 599, None, 600),
            (None, 600, Some(1), 1_200),
            (Some(1), 600, None, 1_200),
            (Some(1), 1_199, None, 1_200),
            (Some(1), 1_200, Some(2), 1_800),
            // several came while nobody looked
            (Some(1), 6_100, Some(10), 6_600),
            // a clock that was set back
            (Some(3), 600, None, 2_400),
            (None, -50, None, 600),
        ] {
            let approval = approval(told);
            assert_eq!(due(&approval, at(now)), expected, "{told:?} at {now}");
            assert_eq!(next(&approval, at(now)), Some(at(next_at)), "{told:?} at {now}");
        }
    }

    #[test]
    fn the_deadline_and_the_reminder_that_comes_first_is_looked_at() {
        let soon = Some(Wake::After(std::time::Duration::from_secs(5)));
        assert_eq!(no_later(None, None), None);
        assert_eq!(no_later(None, Some(at(5))), Some(Wake::At(at(5))));
        assert_eq!(
            no_later(Some(Wake::At(at(3))), Some(at(5))),
            Some(Wake::At(at(3)))
        );
        assert_eq!(
            no_later(Some(Wake::At(at(7))), Some(at(5))),
            Some(Wake::At(at(5)))
        );
        assert_eq!(no_later(soon, Some(at(1))), soon);
    }
}
