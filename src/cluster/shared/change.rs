//! Pure: what has changed between two listings.

use std::{collections::HashMap, sync::Arc};

use kube::{Resource, runtime::reflector::ObjectRef};

/// What a subscriber is told of an object.
#[derive(Debug)]
pub enum Change<K> {
    /// It was there when the subscriber joined, or is in the first listing.
    Present(Arc<K>),
    /// It is new.
    Added(Arc<K>),
    /// It is another version now.
    Updated {
        /// As it was.
        before: Arc<K>,
        /// As it is.
        now: Arc<K>,
    },
    /// It is gone, or cannot be decoded any more. This is the last that is known of it.
    Removed(Arc<K>),
}

// written out, as a derive would ask the same of the kind
impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Present(object) => Self::Present(Arc::clone(object)),
            Self::Added(object) => Self::Added(Arc::clone(object)),
            Self::Updated { before, now } => Self::Updated {
                before: Arc::clone(before),
                now: Arc::clone(now),
            },
            Self::Removed(object) => Self::Removed(Arc::clone(object)),
        }
    }
}

impl<K> Change<K> {
    /// The object, as far as it is known.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Present(object) | Self::Added(object) | Self::Removed(object) => object,
            Self::Updated { now, .. } => now,
        }
    }

    /// The object, unless it is gone.
    pub fn applied(&self) -> Option<&Arc<K>> {
        match self {
            Self::Present(object) | Self::Added(object) => Some(object),
            Self::Updated { now, .. } => Some(now),
            Self::Removed(_) => None,
        }
    }
}

/// What an object is now that was another version before, or not there. The same version is no change; another object of its name takes its
/// place.
pub(super) fn applied<K: Resource>(before: Option<Arc<K>>, now: Arc<K>) -> Vec<Change<K>> {
    match before {
        None => vec![Change::Added(now)],
        Some(before) if before.meta().uid != now.meta().uid => {
            vec![Change::Removed(before), Change::Added(now)]
        }
        Some(before) if before.meta().resource_version == now.meta().resource_version => Vec::new(),
        Some(before) => vec![Change::Updated { before, now }],
    }
}

/// What has changed from what was known to what a new listing has brought.
pub(super) fn relisted<K>(before: Vec<Arc<K>>, now: Vec<Arc<K>>) -> Vec<Change<K>>
where
    K: Resource<DynamicType = ()>,
{
    let mut known: HashMap<ObjectRef<K>, Arc<K>> = before
        .into_iter()
        .map(|object| (ObjectRef::from_obj(&*object), object))
        .collect();
    let mut changes: Vec<Change<K>> = now
        .into_iter()
        .flat_map(|object| applied(known.remove(&ObjectRef::from_obj(&*object)), object))
        .collect();
    changes.extend(known.into_values().map(Change::Removed));
    changes
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;

    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> Arc<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.namespace = Some("ns".to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        Arc::new(object)
    }

    fn told(changes: &[Change<ConfigMap>]) -> Vec<String> {
        let version = |object: &ConfigMap| object.resource_version().unwrap();
        let line = |change: &Change<ConfigMap>| match change {
            Change::Present(object) => format!("present {}", object.name_any()),
            Change::Added(object) => format!("added {}@{}", object.name_any(), version(object)),
            Change::Updated { before, now } => {
                format!("updated {} {}->{}", now.name_any(), version(before), version(now))
            }
            Change::Removed(object) => format!("removed {}@{}", object.name_any(), version(object)),
        };
        let mut lines: Vec<String> = changes.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_listing_tells_what_is_new_other_or_gone_and_nothing_of_the_rest() {
        let before = vec![
            object("same", "a", "1"),
            object("edited", "b", "2"),
            object("gone", "c", "3"),
            object("anew", "d", "4"),
        ];
        let now = vec![
            object("same", "a", "1"),
            object("edited", "b", "7"),
            object("anew", "e", "8"),
            object("new", "f", "9"),
        ];
        assert_eq!(
            told(&relisted(before, now)),
            [
                "added anew@8",
                "added new@9",
                "removed anew@4",
                "removed gone@3",
                "updated edited 2->7"
            ]
        );
    }

    #[test]
    fn an_object_that_is_gone_is_not_among_those_that_are_there() {
        let removed = Change::Removed(object("a", "a", "1"));
        assert!(removed.applied().is_none());
        assert_eq!(removed.object().name_any(), "a");
        let updated = Change::Updated {
            before: object("a", "a", "1"),
            now: object("a", "a", "2"),
        };
        assert_eq!(updated.applied().unwrap().resource_version().unwrap(), "2");
    }
}
