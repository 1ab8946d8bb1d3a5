//! The writer: takes what waits, decides it in order, commits it once, then tells everyone.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::disk::Disk;
use super::memory::{Change, ChangeKind};
use super::{Action, Entry, Expect, Job, Key, Note, Shared, WriteError};

/// Writes in one transaction at most.
const BATCH: usize = 512;

type Answer = (
    oneshot::Sender<Result<Arc<Entry>, WriteError>>,
    Result<Arc<Entry>, WriteError>,
);

/// Pause before a disk that refused is tried again while nobody writes.
const PROBE: Duration = Duration::from_secs(1);

/// Runs until every sender is gone.
pub(super) fn run(disk: Disk, shared: &Shared, queue: &Receiver<Job>) {
    let mut writer = Writer {
        disk,
        shared,
        doubt: None,
    };
    loop {
        let first = if shared.healthy.load(Ordering::Relaxed) {
            queue.recv().map_err(RecvTimeoutError::from)
        } else {
            queue.recv_timeout(PROBE)
        };
        match first {
            Ok(first) => writer.work(first, queue),
            Err(RecvTimeoutError::Timeout) => writer.probe(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Writer<'a> {
    disk: Disk,
    shared: &'a Shared,
    /// Changes of which it is not known whether the file has them: nothing else is written before that is known.
    doubt: Option<Vec<(Key, Change)>>,
}

impl Writer<'_> {
    fn work(&mut self, first: Job, queue: &Receiver<Job>) {
        if let Err(error) = self.settle() {
            // nobody to tell is no reason to stop
            let _gone = first.reply.send(Err(refusal(&error)));
            return;
        }
        let mut batch = Batch::new(self.shared);
        batch.decide(first);
        while batch.answers.len() < BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.decide(next);
        }
        let Batch { changes, answers, .. } = batch;
        let failed = if changes.is_empty() {
            None
        } else {
            self.write(changes).err()
        };
        for (reply, outcome) in answers {
            let outcome = match &failed {
                Some(error) => outcome.and(Err(error.clone())),
                None => outcome,
            };
            // A caller that went away does not undo what was written.
            let _gone = reply.send(outcome);
        }
    }

    /// Commits, takes the changes into the index, wakes watches.
    fn write(&mut self, changes: Vec<(Key, Change)>) -> Result<(), WriteError> {
        let Err(error) = self.disk.commit(&changes) else {
            publish(self.shared, changes);
            self.is_well(true);
            return Ok(());
        };
        tracing::error!(%error, "the store could not commit");
        self.is_well(false);
        let refused = refusal(&error);
        // it may be there all the same: the file says so, once it can be opened
        self.doubt = Some(changes);
        match self.settle() {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(refused),
        }
    }

    /// Finds out what became of changes in doubt. Says whether they are there.
    fn settle(&mut self) -> Result<bool, redb::Error> {
        let Some(last) = self.doubt.as_ref().and_then(|changes| changes.last()) else {
            return Ok(false);
        };
        let is_there = self.disk.revision()? >= last.1.current.revision;
        if let Some(changes) = self.doubt.take()
            && is_there
        {
            publish(self.shared, changes);
        }
        Ok(is_there)
    }

    /// Looks whether the disk takes writes again.
    fn probe(&mut self) {
        let probed = self.settle().and_then(|_| self.disk.probe());
        match probed {
            Ok(()) => self.is_well(true),
            Err(error) => tracing::debug!(%error, "the store still cannot write"),
        }
    }

    fn is_well(&self, well: bool) {
        let before = self.shared.healthy.swap(well, Ordering::Relaxed);
        if well && !before {
            tracing::info!("the store can write again");
        }
    }
}

fn refusal(error: &redb::Error) -> WriteError {
    match error {
        redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
        {
            WriteError::Full
        }
        other => WriteError::Storage(other.to_string()),
    }
}

struct Batch<'a> {
    shared: &'a Shared,
    revision: u64,
    pending: HashMap<Key, Option<Arc<Entry>>>,
    changes: Vec<(Key, Change)>,
    answers: Vec<Answer>,
}

impl<'a> Batch<'a> {
    fn new(shared: &'a Shared) -> Self {
        let revision = shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .revision;
        Self {
            shared,
            revision,
            pending: HashMap::new(),
            changes: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn current(&self, key: &Key) -> Option<Arc<Entry>> {
        match self.pending.get(key) {
            Some(entry) => entry.clone(),
            None => self
                .shared
                .state
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(key)
                .cloned(),
        }
    }

    fn decide(&mut self, job: Job) {
        let Job {
            key,
            expect,
            action,
            reply,
        } = job;
        let outcome = self.change(key, expect, action);
        self.answers.push((reply, outcome));
    }

    fn change(&mut self, key: Key, expect: Expect, action: Action) -> Result<Arc<Entry>, WriteError> {
        let previous = self.current(&key);
        match (expect, &previous) {
            (Expect::Absent, Some(_)) => return Err(WriteError::Exists),
            (Expect::Revision(_), None) => return Err(WriteError::Missing),
            (Expect::Revision(asked), Some(entry)) if entry.revision != asked => {
                return Err(WriteError::Stale);
            }
            _ => {}
        }
        let (plural, group) = key.resource.split_once('.').unwrap_or((&key.resource, ""));
        let Some(kind) = self.shared.registry.resource(group, plural) else {
            return Err(WriteError::Storage(format!("no such resource: {}", key.resource)));
        };
        let (what, object) = match action {
            Action::Put(object) => (ChangeKind::Put, object),
            Action::Delete(last) => {
                let stored = || previous.as_ref().map_or(Value::Null, |entry| entry.value());
                (ChangeKind::Delete, last.unwrap_or_else(stored))
            }
        };
        self.revision += 1;
        let current = Arc::new(Entry::new(kind, object, self.revision));
        self.pending
            .insert(key.clone(), (what == ChangeKind::Put).then(|| current.clone()));
        self.changes.push((
            key,
            Change {
                kind: what,
                current: current.clone(),
                previous,
            },
        ));
        Ok(current)
    }
}

fn publish(shared: &Shared, changes: Vec<(Key, Change)>) {
    let mut touched = BTreeSet::new();
    let mut notes = Vec::new();
    {
        let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
        for (key, change) in changes {
            note(&key, &change, &mut notes);
            state.commit(&key, change);
            touched.insert(key.resource);
        }
    }
    let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
    for resource in &touched {
        state.wake(resource);
    }
    drop(state);
    for note in notes {
        // Nobody listens while the control plane stops; the work is found again at the next start.
        let _stopping = shared.notes.send(note);
    }
}

/// What background work needs to know of a change.
fn note(key: &Key, change: &Change, notes: &mut Vec<Note>) {
    let entry = &change.current;
    match change.kind {
        ChangeKind::Delete => {
            notes.push(Note::Gone {
                uid: entry.uid.clone(),
                owners: entry.owners.clone(),
            });
            if !key.namespace.is_empty() {
                notes.push(Note::Left {
                    namespace: key.namespace.clone(),
                });
            }
        }
        ChangeKind::Put => {
            if key.resource == "namespaces" && entry.deleting {
                notes.push(Note::Terminating {
                    namespace: key.name.clone(),
                });
            }
            if entry.collecting && entry.deleting {
                notes.push(Note::Deleting(key.clone()));
            }
            let newly_owned = change
                .previous
                .as_ref()
                .is_none_or(|old| old.owners != entry.owners);
            if newly_owned && !entry.owners.is_empty() {
                notes.push(Note::Owned(key.clone()));
            }
        }
    }
}
