//! Versions that were written here and that the watch has not shown yet. To decide from what it shows would be to write the
//! same again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, runtime::reflector::ObjectRef};

/// The newest version written of each object.
#[derive(Debug)]
pub struct Written<K: Resource<DynamicType = ()>>(Mutex<HashMap<ObjectRef<K>, u64>>);

impl<K: Resource<DynamicType = ()>> Default for Written<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource<DynamicType = ()>> Written<K> {
    /// Whether the watch has not shown yet what was written last.
    pub fn is_ahead_of(&self, shown: &K) -> bool {
        let key = ObjectRef::from_obj(shown);
        let mut written = self.lock();
        let is_ahead = written
            .get(&key)
            .is_some_and(|written| version(shown).is_some_and(|shown| shown < *written));
        if !is_ahead {
            written.remove(&key);
        }
        is_ahead
    }

    /// Notes what the API server acknowledged.
    pub fn note(&self, object: &K) {
        if let Some(version) = version(object) {
            self.lock().insert(ObjectRef::from_obj(object), version);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectRef<K>, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of an object, which grows with each write.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}
