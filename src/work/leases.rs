//! When each claim was first seen as it is. A worker is given its whole heartbeat from then at most, whatever its clock says.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use crate::cluster::object_key::ObjectKey;
use signoff_api::{WorkItem, WorkItemStatus};

/// When claims were first seen as they are.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<ObjectKey<WorkItem>, Seen>>);

#[derive(Debug)]
struct Seen {
    claim: i64,
    until: Option<MicroTime>,
    at: Timestamp,
}

impl Leases {
    /// When the claim of a task was first seen as it is: now, unless it was before.
    pub(super) fn seen(&self, item: &WorkItem, status: &WorkItemStatus, now: Timestamp) -> Timestamp {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = ObjectKey::of(item);
        if status.worker.is_none() {
            all.remove(&key);
            return now;
        }
        let is_same = |seen: &Seen| seen.claim == status.claim && seen.until == status.lease_until;
        if let Some(seen) = all.get(&key).filter(|seen| is_same(seen)) {
            return seen.at;
        }
        let (claim, until) = (status.claim, status.lease_until.clone());
        all.insert(
            key,
            Seen {
                claim,
                until,
                at: now,
            },
        );
        now
    }

    /// Forgets a task that is over.
    pub(super) fn forget(&self, item: &WorkItem) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&ObjectKey::of(item));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn item(status: &Value) -> WorkItem {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "WorkItem",
            "metadata": {"name": "t", "namespace": "ns"},
            "spec": {"run": "r", "flow": "f", "step": "s", "iteration": 1, "queue": "q", "heartbeat": "5m", "attempts": 1},
            "status": status}))
        .unwrap()
    }

    #[test]
    fn a_claim_counts_from_when_it_was_first_seen_and_a_renewed_one_anew() {
        let leases = Leases::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let see = |status: Value, now| {
            let item = item(&status);
            leases.seen(&item, &item.status.clone().unwrap(), at(now))
        };
        let claimed = |claim: i64, until: &str| json!({"phase": "Claimed", "claim": claim, "worker": "w", "leaseUntil": until});
        let first = claimed(1, "2026-01-01T00:00:00.000000Z");
        assert_eq!(see(first.clone(), 10), at(10));
        assert_eq!(see(first.clone(), 20), at(10), "it says the same");
        assert_eq!(
            see(claimed(1, "2026-01-01T00:05:00.000000Z"), 30),
            at(30),
            "it was renewed"
        );
        assert_eq!(
            see(claimed(2, "2026-01-01T00:05:00.000000Z"), 40),
            at(40),
            "it is another claim"
        );
        assert_eq!(see(json!({"phase": "Queued", "claim": 2}), 50), at(50));
        assert_eq!(
            see(claimed(2, "2026-01-01T00:05:00.000000Z"), 60),
            at(60),
            "it was given back"
        );
        leases.forget(&item(&first));
        assert_eq!(see(first, 70), at(70));
    }
}
