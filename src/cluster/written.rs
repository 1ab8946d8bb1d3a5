//! What was written here and the watch has not shown yet. To decide from what it shows would be to write the same again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::Resource;

use super::object_key::ObjectKey;

/// Versions of objects of a kind that were written here.
pub struct Written<K>(Mutex<HashMap<ObjectKey<K>, u64>>);

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K> fmt::Debug for Written<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

impl<K: Resource> Written<K> {
    /// An object was written, and the API server acknowledged it like this.
    pub fn wrote(&self, object: &K) {
        if let Some(version) = version(object) {
            self.lock().insert(ObjectKey::of(object), version);
        }
    }

    /// Whether the watch has not shown yet what was written last. It will, and the object is looked at again then.
    pub fn is_behind(&self, shown: &K) -> bool {
        let key = ObjectKey::of(shown);
        let mut written = self.lock();
        let is_behind = written
            .get(&key)
            .is_some_and(|written| version(shown).is_some_and(|shown| shown < *written));
        if !is_behind {
            written.remove(&key);
        }
        is_behind
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, gone: &K) {
        self.lock().remove(&ObjectKey::of(gone));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey<K>, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of an object, which grows with each write.
fn version(object: &impl Resource) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str, version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some("ns".to_owned()),
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    #[test]
    fn the_watch_is_behind_until_it_shows_what_was_written_or_something_newer() {
        let written = Written::default();
        assert!(!written.is_behind(&object("a", "7")), "nothing was written");
        written.wrote(&object("a", "10"));
        // versions are numbers and not texts
        assert!(written.is_behind(&object("a", "9")));
        assert!(written.is_behind(&object("a", "9")));
        assert!(!written.is_behind(&object("b", "9")), "another was not written");
        assert!(!written.is_behind(&object("a", "10")));
        written.wrote(&object("a", "12"));
        assert!(!written.is_behind(&object("a", "13")));
        // it was shown, so that an older one is a new listing
        assert!(!written.is_behind(&object("a", "11")));
    }

    #[test]
    fn what_is_gone_or_has_no_number_for_a_version_is_not_waited_for() {
        let written = Written::default();
        written.wrote(&object("a", "10"));
        written.forget(&object("a", "10"));
        assert!(!written.is_behind(&object("a", "9")));
        written.wrote(&object("a", "ten"));
        assert!(!written.is_behind(&object("a", "9")));
        assert!(
            written.lock().is_empty(),
            "nothing is kept for what needs nothing"
        );
    }
}
