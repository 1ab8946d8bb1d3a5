//! The one place where objects live: on disk in a transactional file, in memory as an index that every
//! read uses. One thread writes; it puts all waiting writes into one durable transaction and answers
//! each caller after that commit, so whatever was acknowledged survives a crash.

mod disk;
mod entry;
mod memory;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

pub use disk::OpenError;
pub use entry::Entry;
pub use memory::{Change, ChangeKind, Expired, Page};

use super::registry::{Registry, ResourceKind};
use memory::State;

/// Names one object: resource (`plural.group`), namespace (empty when cluster-scoped), name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `plural.group`.
    pub resource: String,
    /// Namespace, empty for a cluster-scoped object.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// The key of an object of this kind.
    pub fn new(kind: &ResourceKind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced {
            namespace.to_owned()
        } else {
            String::new()
        };
        Self {
            resource: kind.qualified(),
            namespace,
            name: name.to_owned(),
        }
    }
}

/// What a write needs to find before it takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No object of that name.
    Absent,
    /// The object at exactly this revision.
    Revision(u64),
}

/// What a write does.
#[derive(Debug)]
pub enum Action {
    /// Stores the object; its `metadata.resourceVersion` is set by the store.
    Put(Value),
    /// Removes the object; its last state is this one (or the stored one).
    Delete(Option<Value>),
}

/// Why a write did not take effect. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Expected absent, but it is there.
    #[error("the object exists")]
    Exists,
    /// Expected a revision, but there is no object.
    #[error("there is no such object")]
    Missing,
    /// The object has another revision.
    #[error("the object has been modified")]
    Stale,
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
    /// There is no room on the disk.
    #[error("there is no space left on the disk of the server; it takes writes again once there is")]
    Full,
    /// The disk refused; the text says what redb said.
    #[error("the store could not write: {0}")]
    Storage(String),
}

/// What background work learns from the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An object is gone: its dependents may have to go, and owners may have waited for it.
    Gone {
        /// Its uid.
        uid: String,
        /// The uids of its owners.
        owners: Vec<String>,
    },
    /// An object with owners was written: they may be gone already.
    Owned(Key),
    /// An object in a namespace was removed; empty namespaces may end.
    Left {
        /// The namespace.
        namespace: String,
    },
    /// A namespace started terminating.
    Terminating {
        /// The namespace.
        namespace: String,
    },
    /// An object is being deleted and waits for its dependents to be gone or to forget it.
    Deleting(Key),
}

pub(super) struct Job {
    key: Key,
    expect: Expect,
    action: Action,
    reply: oneshot::Sender<Result<Arc<Entry>, WriteError>>,
}

struct Shared {
    state: RwLock<State>,
    registry: Arc<Registry>,
    notes: mpsc::UnboundedSender<Note>,
    healthy: AtomicBool,
}

/// The store. Dropping it (or [`Store::close`]) ends the writer after the writes already handed in.
pub struct Store {
    shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the store file, reads it whole into the index and starts the writer.
    pub fn open(
        file: &Path,
        registry: Arc<Registry>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Note>), OpenError> {
        let (disk, state) = disk::Disk::open(file, &registry)?;
        Self::start(disk, state, registry)
    }

    fn start(
        disk: disk::Disk,
        state: State,
        registry: Arc<Registry>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Note>), OpenError> {
        let (notes, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            state: RwLock::new(state),
            registry,
            notes,
            healthy: AtomicBool::new(true),
        });
        let (jobs, queue) = std::sync::mpsc::channel();
        let for_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(disk, &for_writer, &queue))
            .map_err(OpenError::Thread)?;
        Ok((
            Self {
                shared,
                jobs: Mutex::new(Some(jobs)),
                writer: Mutex::new(Some(writer)),
            },
            inbox,
        ))
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.state().revision
    }

    /// The object, if it is there.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.state().get(key).cloned()
    }

    /// The object of this uid, if it is there.
    pub fn by_uid(&self, uid: &str) -> Option<Key> {
        self.state().uid(uid).cloned()
    }

    /// The objects that name this uid as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Key> {
        self.state().dependents(uid)
    }

    /// What background work has to look at after a restart.
    pub fn unfinished(&self) -> Vec<Note> {
        self.state().unfinished()
    }

    /// The revision of the last change of any of these resources.
    pub fn last_change(&self, resources: &[&str]) -> u64 {
        self.state().last_change(resources)
    }

    /// Whether what was last tried to be written could be.
    pub fn healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Relaxed)
    }

    /// Objects in the order of namespace and name, `after` that pair, as of the revision `at` (or now).
    pub fn list(
        &self,
        resource: &str,
        namespace: Option<&str>,
        at: Option<u64>,
        after: Option<(&str, &str)>,
    ) -> Result<Page, Expired> {
        self.state().list(resource, namespace, at, after)
    }

    /// Whether any object lies in the namespace.
    pub fn any_in(&self, namespace: &str) -> bool {
        self.state().any_in(namespace)
    }

    /// Every object that lies in the namespace.
    pub fn all_in(&self, namespace: &str) -> Vec<Key> {
        self.state().all_in(namespace)
    }

    /// The next changes of a resource after `since`, oldest first, and the revision up to which they are whole.
    pub fn changes(&self, resource: &str, since: u64) -> Result<(Vec<Arc<Change>>, u64), Expired> {
        self.state().changes(resource, since)
    }

    /// Wakes whenever objects of the resource change; the value is the revision of the last change.
    pub fn subscribe(&self, resource: &str) -> watch::Receiver<u64> {
        if let Some(receiver) = self.state().subscribe(resource) {
            return receiver;
        }
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        state.bucket(resource).wake.subscribe()
    }

    /// Writes, and returns once the write is durable.
    pub async fn write(&self, key: Key, expect: Expect, action: Action) -> Result<Arc<Entry>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            key,
            expect,
            action,
            reply,
        };
        {
            let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
            if !sent {
                return Err(WriteError::Closed);
            }
        }
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Takes no more writes, ends those handed in, and lets go of the file.
    pub fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
