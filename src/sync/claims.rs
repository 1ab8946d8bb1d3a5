//! Which Repository brings a flow that is not in the cluster yet: two that read the same one at the same moment both see that it is not there, and
//! the second would take it from the first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use kube::ResourceExt as _;

use signoff_api::Repository;

/// The claims of each namespace, by flow. Only one process syncs, so that they need no place in the cluster.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<String, BTreeMap<String, Claim>>>);

#[derive(Clone, Debug)]
struct Claim {
    uid: String,
    repository: String,
}

impl Claims {
    /// Claims these flows for a Repository and lets go of all others of its own. Gives those that another one has claimed, with its name.
    pub(super) fn claim(
        &self,
        repository: &Repository,
        flows: &BTreeSet<&String>,
    ) -> BTreeMap<String, String> {
        let uid = repository.uid().unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = all.entry(repository.namespace().unwrap_or_default()).or_default();
        here.retain(|flow, claim| claim.uid != uid || flows.contains(flow));
        let mut others = BTreeMap::new();
        for &flow in flows {
            let claim = here.entry(flow.clone()).or_insert_with(|| Claim {
                uid: uid.clone(),
                repository: repository.name_any(),
            });
            if claim.uid != uid {
                others.insert(flow.clone(), claim.repository.clone());
            }
        }
        others
    }

    /// Lets go of all that a Repository has claimed that is gone.
    pub(super) fn forget(&self, uid: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for here in all.values_mut() {
            here.retain(|_, claim| claim.uid != uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn repository(name: &str, namespace: &str) -> Repository {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Repository",
            "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}")},
            "spec": {"url": "https://forge.example.com/a/b", "draft": {"ref": "main"}}}))
        .unwrap()
    }

    #[test]
    fn the_first_has_a_flow_until_it_lets_go_or_is_gone() {
        let claims = Claims::default();
        let (one, two, elsewhere) = (
            repository("one", "a"),
            repository("two", "a"),
            repository("one", "b"),
        );
        let (x, y) = ("x".to_owned(), "y".to_owned());
        let both = BTreeSet::from([&x, &y]);
        let of_one = BTreeMap::from([(x.clone(), "one".to_owned())]);
        assert!(claims.claim(&one, &BTreeSet::from([&x])).is_empty());
        assert_eq!(claims.claim(&two, &both), of_one);
        assert!(claims.claim(&elsewhere, &both).is_empty());
        assert!(claims.claim(&one, &BTreeSet::from([&x])).is_empty());
        // it is in the cluster now, or in git no more
        assert!(claims.claim(&one, &BTreeSet::new()).is_empty());
        assert!(claims.claim(&two, &both).is_empty());
        assert_eq!(claims.claim(&one, &both).len(), 2);
        claims.forget("a-two");
        assert!(claims.claim(&one, &both).is_empty());
    }
}
