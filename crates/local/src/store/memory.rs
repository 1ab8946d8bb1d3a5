//! The index of current objects, with a bounded history of changes that watches resume from.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Entry, Key, Note};

/// Changes kept per resource; a watch that is further behind has to list again.
const HISTORY_CHANGES: usize = 20_000;
/// Bytes of objects kept in the history of a resource.
const HISTORY_BYTES: usize = 32 << 20;
/// Changes handed out at a time.
const CHANGES: usize = 256;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Created or changed.
    Put,
    /// Removed; `current` is its last state at the revision of its removal.
    Delete,
}

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object afterwards, or its last state.
    pub current: Arc<Entry>,
    /// The object before.
    pub previous: Option<Arc<Entry>>,
}

impl Change {
    fn bytes(&self) -> usize {
        self.current.json.len()
    }
}

/// The revision asked for is older than what is kept; `oldest` is the oldest that would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Expired {
    /// The revision asked for.
    pub asked: u64,
    /// The oldest that would do.
    pub oldest: u64,
}

/// Objects as of one revision.
#[derive(Debug)]
pub struct Page {
    /// The objects, by namespace and name.
    pub items: Vec<Arc<Entry>>,
    /// The revision at which they were so.
    pub revision: u64,
}

type Names = BTreeMap<String, Arc<Entry>>;

pub(super) struct Bucket {
    objects: BTreeMap<String, Names>,
    history: VecDeque<Arc<Change>>,
    /// Changes at or below this revision are no longer known.
    pub(super) floor: u64,
    bytes: usize,
    pub(super) wake: watch::Sender<u64>,
}

impl Bucket {
    fn new(floor: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            floor,
            bytes: 0,
            wake: watch::Sender::new(floor),
        }
    }

    fn last_change(&self) -> u64 {
        self.history
            .back()
            .map_or(self.floor, |change| change.current.revision)
    }

    fn remember(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.history.push_back(Arc::new(change));
        while self.history.len() > HISTORY_CHANGES || (self.bytes > HISTORY_BYTES && self.history.len() > 1) {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.floor = oldest.current.revision;
        }
    }

    /// The objects as they were at an earlier revision: the changes since, undone newest first.
    fn as_of(&self, revision: u64) -> BTreeMap<String, Names> {
        let mut objects = self.objects.clone();
        for change in self
            .history
            .iter()
            .rev()
            .take_while(|change| change.current.revision > revision)
        {
            let names = objects.entry(change.current.namespace.clone()).or_default();
            match &change.previous {
                Some(previous) => names.insert(previous.name.clone(), previous.clone()),
                None => names.remove(&change.current.name),
            };
        }
        objects
    }
}

/// Everything in memory.
#[derive(Default)]
pub(super) struct State {
    pub(super) revision: u64,
    buckets: HashMap<String, Bucket>,
    uids: HashMap<String, Key>,
    dependents: HashMap<String, BTreeSet<Key>>,
}

impl State {
    pub(super) fn bucket(&mut self, resource: &str) -> &mut Bucket {
        self.buckets
            .entry(resource.to_owned())
            .or_insert_with(|| Bucket::new(0))
    }

    /// Puts an object read from disk into the index.
    pub(super) fn load(&mut self, key: Key, entry: Entry) {
        self.link(&key, &entry);
        let names = self
            .bucket(&key.resource)
            .objects
            .entry(key.namespace)
            .or_default();
        names.insert(key.name, Arc::new(entry));
    }

    fn link(&mut self, key: &Key, entry: &Entry) {
        self.uids.insert(entry.uid.clone(), key.clone());
        for owner in &entry.owners {
            self.dependents
                .entry(owner.clone())
                .or_default()
                .insert(key.clone());
        }
    }

    fn unlink(&mut self, key: &Key, entry: &Entry) {
        self.uids.remove(&entry.uid);
        for owner in &entry.owners {
            if let Some(keys) = self.dependents.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    /// Takes a committed change into the index and the history.
    pub(super) fn commit(&mut self, key: &Key, change: Change) {
        self.revision = self.revision.max(change.current.revision);
        if let Some(previous) = &change.previous {
            let previous = previous.clone();
            self.unlink(key, &previous);
        }
        if change.kind == ChangeKind::Put {
            self.link(key, &change.current);
        }
        let bucket = self.bucket(&key.resource);
        match change.kind {
            ChangeKind::Put => {
                let names = bucket.objects.entry(key.namespace.clone()).or_default();
                names.insert(key.name.clone(), change.current.clone());
            }
            ChangeKind::Delete => {
                if let Some(names) = bucket.objects.get_mut(&key.namespace) {
                    names.remove(&key.name);
                    if names.is_empty() {
                        bucket.objects.remove(&key.namespace);
                    }
                }
            }
        }
        bucket.remember(change);
    }

    /// Wakes the watches of a resource.
    pub(super) fn wake(&self, resource: &str) {
        if let Some(bucket) = self.buckets.get(resource) {
            bucket.wake.send_replace(bucket.last_change());
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.buckets
            .get(&key.resource)?
            .objects
            .get(&key.namespace)?
            .get(&key.name)
    }

    pub(super) fn uid(&self, uid: &str) -> Option<&Key> {
        self.uids.get(uid)
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Key> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    pub(super) fn last_change(&self, resources: &[&str]) -> u64 {
        resources
            .iter()
            .filter_map(|r| self.buckets.get(*r))
            .map(Bucket::last_change)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn unfinished(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for (resource, bucket) in &self.buckets {
            for entry in bucket.objects.values().flat_map(BTreeMap::values) {
                let key = Key {
                    resource: resource.clone(),
                    namespace: entry.namespace.clone(),
                    name: entry.name.clone(),
                };
                if entry.owners.iter().any(|uid| !self.uids.contains_key(uid)) {
                    notes.push(Note::Owned(key.clone()));
                }
                if entry.deleting && resource == "namespaces" {
                    notes.push(Note::Terminating {
                        namespace: entry.name.clone(),
                    });
                }
                if entry.deleting && entry.collecting {
                    notes.push(Note::Deleting(key));
                }
            }
        }
        notes
    }

    pub(super) fn subscribe(&self, resource: &str) -> Option<watch::Receiver<u64>> {
        Some(self.buckets.get(resource)?.wake.subscribe())
    }

    pub(super) fn any_in(&self, namespace: &str) -> bool {
        self.buckets
            .values()
            .any(|bucket| bucket.objects.contains_key(namespace))
    }

    pub(super) fn all_in(&self, namespace: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        for (resource, bucket) in &self.buckets {
            for name in bucket.objects.get(namespace).into_iter().flat_map(BTreeMap::keys) {
                keys.push(Key {
                    resource: resource.clone(),
                    namespace: namespace.to_owned(),
                    name: name.clone(),
                });
            }
        }
        keys
    }

    pub(super) fn list(
        &self,
        resource: &str,
        namespace: Option<&str>,
        at: Option<u64>,
        after: Option<(&str, &str)>,
    ) -> Result<Page, Expired> {
        let revision = at.unwrap_or(self.revision);
        let Some(bucket) = self.buckets.get(resource) else {
            return Ok(Page {
                items: Vec::new(),
                revision,
            });
        };
        if revision < bucket.floor {
            return Err(Expired {
                asked: revision,
                oldest: bucket.floor,
            });
        }
        let items = if revision < bucket.last_change() {
            select(&bucket.as_of(revision), namespace, after)
        } else {
            select(&bucket.objects, namespace, after)
        };
        Ok(Page { items, revision })
    }

    pub(super) fn changes(&self, resource: &str, since: u64) -> Result<(Vec<Arc<Change>>, u64), Expired> {
        let Some(bucket) = self.buckets.get(resource) else {
            return Ok((Vec::new(), self.revision));
        };
        if since < bucket.floor {
            return Err(Expired {
                asked: since,
                oldest: bucket.floor,
            });
        }
        let first = bucket
            .history
            .partition_point(|change| change.current.revision <= since);
        let changes: Vec<_> = bucket.history.range(first..).take(CHANGES).cloned().collect();
        let whole = first + changes.len() == bucket.history.len();
        let upto = changes
            .last()
            .filter(|_| !whole)
            .map_or(self.revision, |last| last.current.revision);
        Ok((changes, upto))
    }
}

fn select(
    objects: &BTreeMap<String, Names>,
    namespace: Option<&str>,
    after: Option<(&str, &str)>,
) -> Vec<Arc<Entry>> {
    let rest_of = |names: &Names, name: &str| -> Vec<Arc<Entry>> {
        let range = names.range::<str, _>((Bound::Excluded(name), Bound::Unbounded));
        range.map(|(_, entry)| entry.clone()).collect()
    };
    if let Some(namespace) = namespace {
        let Some(names) = objects.get(namespace) else {
            return Vec::new();
        };
        return match after {
            Some((_, name)) => rest_of(names, name),
            None => names.values().cloned().collect(),
        };
    }
    let Some((namespace, name)) = after else {
        return objects.values().flat_map(BTreeMap::values).cloned().collect();
    };
    let mut items = objects
        .get(namespace)
        .map(|names| rest_of(names, name))
        .unwrap_or_default();
    let later = objects.range::<str, _>((Bound::Excluded(namespace), Bound::Unbounded));
    items.extend(later.flat_map(|(_, names)| names.values().cloned()));
    items
}
