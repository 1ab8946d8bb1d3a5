//! What is kept in memory for Connections, such as access tokens. A namespace with many Connections gives up its own only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How much is kept for one namespace. Beyond that, what it does not use is given up.
const MOST: usize = 100;

/// Entries by namespace and key. Whoever fills one holds its lock, and the others wait for it. Clones share them.
#[derive(Debug)]
pub(in crate::perform::http) struct KeptByNamespace<T>(Arc<Mutex<HashMap<String, OfNamespace<T>>>>);

type OfNamespace<T> = HashMap<String, Arc<tokio::sync::Mutex<T>>>;

impl<T> Clone for KeptByNamespace<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for KeptByNamespace<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Default> KeptByNamespace<T> {
    /// The entry of a key.
    pub(super) fn entry(&self, namespace: &str, key: String) -> Arc<tokio::sync::Mutex<T>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(namespace.to_owned()).or_default();
        if known.len() >= MOST && !known.contains_key(&key) {
            // of one that is in use, another would be made beside it
            known.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(known.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_many_connections_gives_up_nothing_of_another() {
        let kept = KeptByNamespace::<()>::default();
        let others = kept.entry("b", "k".to_owned());
        for number in 0..=MOST {
            kept.entry("a", number.to_string());
        }
        assert!(Arc::ptr_eq(&others, &kept.entry("b", "k".to_owned())));
        let of_a = kept.0.lock().unwrap()["a"].len();
        assert!(of_a <= MOST, "{of_a}");
    }
}
