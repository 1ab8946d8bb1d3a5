//! Which flows are looked at again when another one changes: those whose steps run it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::runtime::reflector::ObjectRef;

use crate::cluster::shared::Change;
use signoff_api::Flow;

/// Flows by the flows that their steps run.
#[derive(Debug, Default)]
pub(super) struct Dependents(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    of: HashMap<ObjectRef<Flow>, HashSet<ObjectRef<Flow>>>,
    children: HashMap<ObjectRef<Flow>, HashSet<ObjectRef<Flow>>>,
}

impl Dependents {
    /// A flow runs these and no others.
    pub(super) fn set(&self, flow: &ObjectRef<Flow>, children: HashSet<ObjectRef<Flow>>) {
        let mut known = self.lock();
        for before in known.children.remove(flow).unwrap_or_default() {
            if let Some(flows) = known.of.get_mut(&before) {
                flows.remove(flow);
                if flows.is_empty() {
                    known.of.remove(&before);
                }
            }
        }
        for child in &children {
            known.of.entry(child.clone()).or_default().insert(flow.clone());
        }
        if !children.is_empty() {
            known.children.insert(flow.clone(), children);
        }
    }

    /// A flow waits for this one as well.
    pub(super) fn add(&self, flow: &ObjectRef<Flow>, child: ObjectRef<Flow>) {
        let mut known = self.lock();
        known.of.entry(child.clone()).or_default().insert(flow.clone());
        known.children.entry(flow.clone()).or_default().insert(child);
    }

    /// The flows to look at after a change: the changed one, and those that run it if it matters to them.
    pub(super) fn after(&self, change: &Change<Flow>) -> Vec<ObjectRef<Flow>> {
        let flow = ObjectRef::from_obj(&**change.object());
        let mut all = match change {
            Change::Removed(_) => {
                self.set(&flow, HashSet::new());
                self.of(&flow)
            }
            Change::Updated { before, now } if !matters(before, now) => vec![],
            Change::Present(_) | Change::Added(_) | Change::Updated { .. } => self.of(&flow),
        };
        all.push(flow);
        all
    }

    fn of(&self, flow: &ObjectRef<Flow>) -> Vec<ObjectRef<Flow>> {
        self.lock().of.get(flow).into_iter().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a flow that runs this one may be another because of a change.
fn matters(before: &Flow, now: &Flow) -> bool {
    let of_status = |flow: &Flow| {
        let status = flow.status.clone().unwrap_or_default();
        (
            status.observed_generation,
            status.draft,
            status.live,
            status.problems,
        )
    };
    let of_meta = |flow: &Flow| {
        let meta = &flow.metadata;
        (
            meta.uid.clone(),
            meta.generation,
            meta.deletion_timestamp.is_some(),
        )
    };
    of_meta(before) != of_meta(now) || of_status(before) != of_status(now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn flow(name: &str, draft: &str) -> Arc<Flow> {
        let digest = format!("sha256:{}", "0".repeat(64));
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
            "metadata": {"name": name, "namespace": "ns", "generation": 1}, "spec": {"steps": []},
            "status": {"draft": {"release": draft, "digest": digest}}});
        Arc::new(serde_json::from_value(flow).unwrap())
    }

    fn named(name: &str) -> ObjectRef<Flow> {
        ObjectRef::new(name).within("ns")
    }

    #[test]
    fn flows_are_looked_at_again_when_one_that_they_run_has_another_draft() {
        let dependents = Dependents::default();
        dependents.set(&named("parent"), [named("child")].into());
        let updated = |before, now| Change::Updated {
            before: flow("child", before),
            now: flow("child", now),
        };
        assert_eq!(
            dependents.after(&updated("a", "b")),
            [named("parent"), named("child")]
        );
        assert_eq!(dependents.after(&updated("a", "a")), [named("child")]);
        dependents.add(&named("parent"), named("other"));
        assert_eq!(
            dependents.after(&Change::Added(flow("other", "a"))),
            [named("parent"), named("other")]
        );
        dependents.set(&named("parent"), HashSet::new());
        assert_eq!(
            dependents.after(&Change::Added(flow("other", "a"))),
            [named("other")]
        );
        assert_eq!(dependents.after(&updated("a", "b")), [named("child")]);
    }
}
