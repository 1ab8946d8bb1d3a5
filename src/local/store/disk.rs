//! The file: redb tables of objects and of what the store must remember about itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::memory::{Change, ChangeKind, State};
use super::{Entry, Key};
use crate::local::registry::Registry;

/// `resource/namespace/name` to the object's JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// `format`, `revision`, and `last/<resource>`: the revision of the last change of a resource.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
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
    /// An object in it is not what it should be.
    #[error("{} holds an object that cannot be read: {key}", path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// The object's key.
        key: String,
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

pub(super) struct Disk {
    db: Database,
}

impl Disk {
    /// Opens or creates the file and reads every object of a known kind into memory.
    pub(super) fn open(path: &Path, registry: &Registry) -> Result<(Self, State), OpenError> {
        let db = Database::builder()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(|error| cannot_open(path, error))?;
        let disk = Self { db };
        let state = disk.load(path, registry)?;
        Ok((disk, state))
    }

    fn load(&self, path: &Path, registry: &Registry) -> Result<State, OpenError> {
        let corrupt = |source: redb::Error| OpenError::Corrupt {
            path: path.to_owned(),
            source: Box::new(source),
        };
        self.begin(path, corrupt)?;
        let read = self.db.begin_read().map_err(|e| corrupt(e.into()))?;
        let meta = read.open_table(META).map_err(|e| corrupt(e.into()))?;
        let objects = read.open_table(OBJECTS).map_err(|e| corrupt(e.into()))?;
        let mut state = State::default();
        for row in objects.iter().map_err(|e| corrupt(e.into()))? {
            let (key, json) = row.map_err(|e| corrupt(e.into()))?;
            let bad = || OpenError::Object {
                path: path.to_owned(),
                key: key.value().to_owned(),
            };
            let parts = parse_key(key.value()).ok_or_else(bad)?;
            let (plural, group) = parts.resource.split_once('.').unwrap_or((&parts.resource, ""));
            // Objects of a kind that is no longer served stay on disk and are not shown.
            let Some(kind) = registry.resource(group, plural) else {
                continue;
            };
            let entry = Entry::read(kind, json.value()).ok_or_else(bad)?;
            state.load(parts, entry);
        }
        for row in meta.iter().map_err(|e| corrupt(e.into()))? {
            let (key, value) = row.map_err(|e| corrupt(e.into()))?;
            match key.value() {
                "revision" => state.revision = value.value(),
                other => {
                    if let Some(resource) = other.strip_prefix("last/") {
                        state.bucket(resource).floor = value.value();
                    }
                }
            }
        }
        Ok(state)
    }

    /// Creates the tables of a new file and refuses a file of a newer format.
    fn begin(&self, path: &Path, corrupt: impl Fn(redb::Error) -> OpenError) -> Result<(), OpenError> {
        let write = self.db.begin_write().map_err(|e| corrupt(e.into()))?;
        {
            write.open_table(OBJECTS).map_err(|e| corrupt(e.into()))?;
            let mut meta = write.open_table(META).map_err(|e| corrupt(e.into()))?;
            let format = meta
                .get("format")
                .map_err(|e| corrupt(e.into()))?
                .map(|v| v.value());
            match format {
                None => {
                    meta.insert("format", FORMAT).map_err(|e| corrupt(e.into()))?;
                }
                Some(FORMAT) => {}
                Some(found) => {
                    return Err(OpenError::Newer {
                        path: path.to_owned(),
                        found,
                    });
                }
            }
        }
        write.commit().map_err(|e| corrupt(e.into()))
    }

    /// Writes the changes in one transaction, durable when this returns.
    pub(super) fn commit(&self, changes: &[(Key, Change)]) -> Result<(), redb::Error> {
        let write = self.db.begin_write()?;
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
