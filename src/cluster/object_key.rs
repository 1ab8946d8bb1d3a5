//! Namespace and name of an object, as a key that costs no allocation while both are short: thousands of them are kept while runs wait, and
//! what is small and lives long among much that does not is what an allocator cannot give back.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
};

use compact_str::CompactString;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use signoff_api::{Approval, Decision};

/// Namespace and name of an object of the kind `K`.
pub struct ObjectKey<K> {
    namespace: CompactString,
    name: CompactString,
    kind: PhantomData<fn() -> K>,
}

impl<K> ObjectKey<K> {
    /// The key of a name in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            kind: PhantomData,
        }
    }

    /// The key of an object.
    pub fn of(object: &K) -> Self
    where
        K: Resource,
    {
        let meta = object.meta();
        Self::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name in the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

// written out, as a derive would ask the same of the kind

impl<K> Clone for ObjectKey<K> {
    fn clone(&self) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> PartialEq for ObjectKey<K> {
    fn eq(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl<K> Eq for ObjectKey<K> {}

impl<K> PartialOrd for ObjectKey<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for ObjectKey<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.namespace, &self.name).cmp(&(&other.namespace, &other.name))
    }
}

impl<K> Hash for ObjectKey<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.namespace, &self.name).hash(state);
    }
}

impl<K> fmt::Display for ObjectKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl<K> fmt::Debug for ObjectKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Namespace and name of an approval.
pub type ApprovalKey = ObjectKey<Approval>;

impl ApprovalKey {
    /// The approval that a decision is on.
    pub fn decided_by(decision: &Decision) -> Self {
        Self::new(
            decision.metadata.namespace.as_deref().unwrap_or_default(),
            &decision.spec.approval,
        )
    }
}

/// When the API server accepted an object; every stored object has that time.
pub fn created_at(object: &impl Resource) -> Timestamp {
    object
        .meta()
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// Stands for the uid of an object in eight bytes. An object of the same name that was made anew has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UidMark(u64);

impl UidMark {
    /// What stands for a uid.
    pub fn of(uid: &str) -> Self {
        use std::hash::DefaultHasher;
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The same as a number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// What stands for the uid of an object.
    pub fn of_object(object: &impl Resource) -> Self {
        Self::of(object.meta().uid.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signoff_api::Run;

    #[test]
    fn a_key_of_usual_names_costs_no_allocation() {
        assert_eq!(size_of::<ObjectKey<Run>>(), 48);
        let key = ObjectKey::<Run>::new("payments-production-eu", "refund-7c2k-review");
        assert!(!key.namespace.is_heap_allocated() && !key.name.is_heap_allocated());
        assert_eq!(key.to_string(), "payments-production-eu/refund-7c2k-review");
    }
}
