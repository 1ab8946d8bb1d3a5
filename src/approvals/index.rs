//! The decisions that the watch has shown and that still matter, by the approval they are on.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{ResourceExt as _, runtime::watcher::Event};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{object_key::ApprovalKey, objects::Decoded};
use signoff_api::Decision;

/// A decision and when this process first saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub decision: Arc<Decision>,
    pub since: Instant,
}

impl Seen {
    /// Whether it was told what became of it.
    pub(super) fn is_settled(&self) -> bool {
        let status = self.decision.status.as_ref();
        status.is_some_and(|status| status.reason.is_some())
    }

    /// Whether nothing is left to do for it while its approval is closed: it was told, and goes with the approval.
    pub(super) fn is_done(&self) -> bool {
        self.is_settled() && is_tied(&self.decision)
    }
}

/// Whether it goes with the approval it is on.
pub(super) fn is_tied(decision: &Decision) -> bool {
    !decision.owner_references().is_empty()
}

#[derive(Debug, Default)]
struct Inner {
    by_approval: HashMap<ApprovalKey, BTreeMap<String, Seen>>,
    /// What a new listing has brought so far.
    listing: Option<HashMap<ApprovalKey, BTreeMap<String, Seen>>>,
}

/// The decisions that the watch has shown.
#[derive(Debug, Default)]
pub(super) struct DecisionIndex {
    inner: Mutex<Inner>,
    /// Cancelled when the first listing is whole.
    filled: CancellationToken,
}

impl DecisionIndex {
    /// Takes in what the watch shows. Gives the decisions that are new or changed.
    pub(super) fn apply(&self, event: Event<Decoded<Decision>>) -> Vec<Arc<Decision>> {
        let mut inner = self.lock();
        match event {
            Event::Init => inner.listing = Some(HashMap::new()),
            Event::InitApply(Decoded::Undecodable(_)) => {}
            Event::InitApply(Decoded::Object(decision)) => {
                let seen = inner.seen(decision);
                let listing = inner.listing.get_or_insert_default();
                listing
                    .entry(ApprovalKey::decided_by(&seen.decision))
                    .or_default()
                    .insert(seen.decision.name_any(), seen);
            }
            Event::InitDone => {
                inner.by_approval = inner.listing.take().unwrap_or_default();
                self.filled.cancel();
                return inner
                    .by_approval
                    .values()
                    .flat_map(BTreeMap::values)
                    .map(|seen| Arc::clone(&seen.decision))
                    .collect();
            }
            Event::Apply(Decoded::Object(decision)) => {
                let seen = inner.seen(decision);
                let decision = Arc::clone(&seen.decision);
                inner
                    .by_approval
                    .entry(ApprovalKey::decided_by(&decision))
                    .or_default()
                    .insert(decision.name_any(), seen);
                return vec![decision];
            }
            Event::Apply(Decoded::Undecodable(decision)) | Event::Delete(Decoded::Undecodable(decision)) => {
                let meta = &decision.metadata;
                inner.forget(meta.namespace.as_deref(), meta.name.as_deref());
            }
            Event::Delete(Decoded::Object(decision)) => {
                let key = ApprovalKey::decided_by(&decision);
                if let Some(others) = inner.by_approval.get_mut(&key) {
                    others.remove(&decision.name_any());
                    if others.is_empty() {
                        inner.by_approval.remove(&key);
                    }
                }
            }
        }
        Vec::new()
    }

    /// The decisions on an approval.
    pub(super) fn on(&self, approval: &ApprovalKey) -> Vec<Seen> {
        self.lock()
            .by_approval
            .get(approval)
            .map(|seen| seen.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Returns when the watch has shown all there are.
    pub(super) async fn are_known(&self) {
        self.filled.cancelled().await;
    }

    /// Forgets the decisions on an approval that is closed and told to them all.
    pub(super) fn forget(&self, approval: &ApprovalKey) {
        self.lock().by_approval.remove(approval);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Forgets a decision that does not say any more what it is on.
    fn forget(&mut self, namespace: Option<&str>, name: Option<&str>) {
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        self.by_approval.retain(|approval, decisions| {
            if approval.namespace() == namespace {
                decisions.remove(name);
            }
            !decisions.is_empty()
        });
    }

    fn seen(&self, mut decision: Decision) -> Seen {
        decision.metadata.managed_fields = None;
        let known = self
            .by_approval
            .get(&ApprovalKey::decided_by(&decision))
            .and_then(|others| others.get(&decision.name_any()))
            .filter(|known| known.decision.uid() == decision.uid());
        let since = known.map_or_else(Instant::now, |known| known.since);
        Seen {
            decision: Arc::new(decision),
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decision(name: &str, approval: &str) -> Decision {
        let spec = json!({"approval": approval, "digest": format!("sha256:{}", "0".repeat(64)), "verdict": "Approve"});
        let metadata = json!({"name": name, "namespace": "default", "uid": name});
        let value = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Decision", "metadata": metadata, "spec": spec});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_new_listing_takes_the_place_of_what_was_known_when_it_is_whole() {
        let index = DecisionIndex::default();
        let on = |approval: &str| -> Vec<String> {
            let seen = index.on(&ApprovalKey::new("default", approval));
            seen.iter().map(|seen| seen.decision.name_any()).collect()
        };
        index.apply(Event::Apply(Decoded::Object(decision("one", "a"))));
        index.apply(Event::Apply(Decoded::Object(decision("two", "a"))));
        index.apply(Event::Delete(Decoded::Object(decision("two", "a"))));
        assert_eq!(on("a"), ["one"]);
        index.apply(Event::Init);
        index.apply(Event::InitApply(Decoded::Object(decision("three", "b"))));
        assert_eq!((on("a"), on("b")), (vec!["one".to_owned()], vec![]));
        assert_eq!(index.apply(Event::InitDone).len(), 1);
        assert_eq!((on("a"), on("b")), (vec![], vec!["three".to_owned()]));
    }
}
