//! The file: redb tables of objects and of what the store must remember about itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::memory::{Change, ChangeKind, State};
use super::{Entry, Key};
use crate::registry::Registry;

/// `resource/namespace/name` to the object's JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// `format`, `revision`, and `last/<resource>`: the revision of the last change of a resource.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// As [`OBJECTS`]: what could not be read when the store was opened. It is tried again at each opening.
const UNREADABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("unreadable");
/// Why, by the same key.
const REASONS: TableDefinition<'_, &str, &str> = TableDefinition::new("unreadable-reasons");
/// What this version writes; a store with a higher number was written by a newer version.
const FORMAT: u64 = 1;
/// Memory redb may use for its own page cache, in bytes: reads do not go through it.
const CACHE: usize = 32 << 20;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A newer version wrote it.
    #[error("{} has store format {found}, newer than the {FORMAT} this version reads", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It is damaged, or not a store.
    #[error("{} cannot be read as a store (move it away to start afresh)", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: Box<redb::Error>,
    },
    /// The system refused.
    #[error("cannot open {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A rule of the chart is not evaluated here.
    #[error("the admission policies cannot be used")]
    Policies(#[from] crate::admission::PolicyError),
    /// The writer thread could not be started.
    #[error("cannot start the store's writer")]
    Thread(#[source] std::io::Error),
    /// Certificates could not be made or read.
    #[error("cannot prepare certificates in {}", path.display())]
    Certificates {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The first objects could not be written.
    #[error("cannot write the first objects: {0}")]
    Seed(String),
}

/// Opens the file, or makes it.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

pub(super) struct Disk {
    opener: Opener,
    /// Nothing after a failure, after which redb takes no more, until the file is opened again.
    db: Option<Database>,
}

/// An object that was set aside, or comes back.
struct Moved {
    key: String,
    json: Vec<u8>,
    reason: String,
}

impl Disk {
    /// Opens or creates the file and reads every object of a known kind into memory.
    pub(super) fn open(path: &Path, registry: &Registry) -> Result<(Self, State), OpenError> {
        let file = path.to_owned();
        let opener = move || {
            Database::builder()
                .set_cache_size(CACHE)
                .set_check_integrity_on_open(true)
                .create(&file)
        };
        Self::open_with(path, Box::new(opener), registry)
    }

    /// The same through an opener of the caller's.
    pub(super) fn open_with(
        path: &Path,
        opener: Opener,
        registry: &Registry,
    ) -> Result<(Self, State), OpenError> {
        let db = opener().map_err(|error| cannot_open(path, error))?;
        let corrupt = |source: redb::Error| OpenError::Corrupt {
            path: path.to_owned(),
            source: Box::new(source),
        };
        if let Some(found) = begin(&db).map_err(corrupt)? {
            let path = path.to_owned();
            return Err(OpenError::Newer { path, found });
        }
        let state = load(&db, registry).map_err(corrupt)?;
        let db = Some(db);
        Ok((Self { opener, db }, state))
    }

    /// The file, opened again if it has to be.
    fn database(&mut self) -> Result<&Database, redb::Error> {
        match &mut self.db {
            Some(db) => Ok(&*db),
            closed => Ok(&*closed.insert((self.opener)()?)),
        }
    }

    /// Does something with the file, which is closed if that fails.
    fn with<T>(&mut self, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let done = act(self.database()?);
        if done.is_err() {
            self.db = None;
        }
        done
    }

    /// Writes the changes in one transaction, durable when this returns. After an error, [`Disk::revision`] tells whether they are there
    /// all the same.
    pub(super) fn commit(&mut self, changes: &[(Key, Change)]) -> Result<(), redb::Error> {
        self.with(|db| commit(db, changes))
    }

    /// The revision of the newest change in the file.
    pub(super) fn revision(&mut self) -> Result<u64, redb::Error> {
        self.with(|db| {
            let meta = db.begin_read()?.open_table(META)?;
            Ok(meta.get("revision")?.map_or(0, |revision| revision.value()))
        })
    }

    /// Finds out whether the file can be written.
    pub(super) fn probe(&mut self) -> Result<(), redb::Error> {
        self.with(|db| begin(db).map(drop))
    }
}

/// Creates the tables of a new file. Gives the format if it is a newer one.
fn begin(db: &Database) -> Result<Option<u64>, redb::Error> {
    let write = db.begin_write()?;
    {
        write.open_table(OBJECTS)?;
        write.open_table(UNREADABLE)?;
        write.open_table(REASONS)?;
        let mut meta = write.open_table(META)?;
        let format = meta.get("format")?.map(|format| format.value());
        if let Some(found) = format.filter(|found| *found != FORMAT) {
            return Ok(Some(found));
        }
        meta.insert("format", FORMAT)?;
    }
    write.commit()?;
    Ok(None)
}

/// Reads every object of a known kind. What cannot be read is set aside, and what was set aside and can be read comes back.
fn load(db: &Database, registry: &Registry) -> Result<State, redb::Error> {
    let mut state = State::default();
    let (mut bad, mut good_again) = (Vec::new(), Vec::new());
    let read = db.begin_read()?;
    for row in read.open_table(OBJECTS)?.iter()? {
        let (key, json) = row?;
        if let Err(reason) = take_in(&mut state, registry, key.value(), json.value()) {
            let (key, json) = (key.value().to_owned(), json.value().to_owned());
            tracing::error!(%key, %reason, "an object in the store cannot be read; it is set aside, and everything else goes on");
            bad.push(Moved { key, json, reason });
        }
    }
    for row in read.open_table(UNREADABLE)?.iter()? {
        let (key, json) = row?;
        let is_there = parse_key(key.value()).is_some_and(|key| state.get(&key).is_some());
        if !is_there && take_in(&mut state, registry, key.value(), json.value()).is_ok() {
            let (key, json, reason) = (key.value().to_owned(), json.value().to_owned(), String::new());
            tracing::info!(%key, "an object that was set aside can be read again");
            good_again.push(Moved { key, json, reason });
        }
    }
    for row in read.open_table(META)?.iter()? {
        let (key, value) = row?;
        match key.value() {
            "revision" => state.revision = value.value(),
            other => {
                if let Some(resource) = other.strip_prefix("last/") {
                    state.bucket(resource).floor = value.value();
                }
            }
        }
    }
    if !bad.is_empty() || !good_again.is_empty() {
        set_aside(db, &bad, &good_again)?;
    }
    Ok(state)
}

/// Takes an object into the index. One of a kind that is not served stays on disk and is not shown.
fn take_in(state: &mut State, registry: &Registry, key: &str, json: &[u8]) -> Result<(), String> {
    let key = parse_key(key).ok_or("its key has no name")?;
    let (plural, group) = key.resource.split_once('.').unwrap_or((&key.resource, ""));
    if let Some(kind) = registry.resource(group, plural) {
        let entry = Entry::read(kind, json)?;
        state.load(key, entry);
    }
    Ok(())
}

fn set_aside(db: &Database, bad: &[Moved], good_again: &[Moved]) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        let mut objects = write.open_table(OBJECTS)?;
        let (mut unreadable, mut reasons) = (write.open_table(UNREADABLE)?, write.open_table(REASONS)?);
        for Moved { key, json, reason } in bad {
            objects.remove(key.as_str())?;
            unreadable.insert(key.as_str(), json.as_slice())?;
            reasons.insert(key.as_str(), reason.as_str())?;
        }
        for Moved { key, json, .. } in good_again {
            unreadable.remove(key.as_str())?;
            reasons.remove(key.as_str())?;
            objects.insert(key.as_str(), json.as_slice())?;
        }
    }
    write.commit()?;
    Ok(())
}

fn commit(db: &Database, changes: &[(Key, Change)]) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        let mut objects = write.open_table(OBJECTS)?;
        let mut last = BTreeMap::new();
        // Only the final state of each object matters to the file.
        let mut finals: BTreeMap<String, Option<&Arc<Entry>>> = BTreeMap::new();
        for (key, change) in changes {
            last.insert(key.resource.as_str(), change.current.revision);
            finals.insert(
                format_key(key),
                (change.kind == ChangeKind::Put).then_some(&change.current),
            );
        }
        for (key, entry) in finals {
            match entry {
                Some(entry) => objects.insert(key.as_str(), entry.json.as_ref())?,
                None => objects.remove(key.as_str())?,
            };
        }
        let mut meta = write.open_table(META)?;
        for (resource, revision) in &last {
            meta.insert(format!("last/{resource}").as_str(), *revision)?;
        }
        if let Some(revision) = last.values().max() {
            meta.insert("revision", *revision)?;
        }
    }
    write.commit()?;
    Ok(())
}

fn cannot_open(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => OpenError::InUse(path),
        DatabaseError::Storage(redb::StorageError::Io(source))
            if source.kind() != std::io::ErrorKind::InvalidData =>
        {
            OpenError::Io { path, source }
        }
        other => OpenError::Corrupt {
            path,
            source: Box::new(other.into()),
        },
    }
}

fn format_key(key: &Key) -> String {
    format!("{}/{}/{}", key.resource, key.namespace, key.name)
}

fn parse_key(text: &str) -> Option<Key> {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    Some(Key {
        resource: parts.next()?,
        namespace: parts.next()?,
        name: parts.next()?,
    })
}
