//! Values of flows that outlive their runs. Each version of a value lies under its number and is created once, so of two that
//! write at the same time one finds the number taken. Old versions are removed.

use std::{
    collections::{BTreeMap, btree_map::Range},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::jiff::Timestamp;
use object_store::{ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions, path::Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signoff_api::{
    Digest,
    bounds::{MAX_NESTING, MAX_VALUE, MAX_VALUES, TooDeep, nesting},
    name::{DnsLabel, FlowName},
};

use super::{Store, StoreError, VALUES};

/// Folder of the writes that have begun, among the versions of a value.
const BEGUN: &str = "begun";
/// Longest file of a version.
const MAX_FILE: u64 = MAX_VALUE as u64 + 4096;
/// How many versions are kept, however old they are.
const KEPT: usize = 20;
/// How long a version is kept at least. A write takes less time, so the number that it wants cannot be free again.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// Longest time that a write takes.
pub const LONGEST_WRITE: Duration = Duration::from_mins(10);
/// In how many of the newest versions a write that is repeated looks for itself.
const LOOKED_AT: usize = 50;
/// How often it is tried to be the next version while others write.
const TRIES: usize = 20;

/// Names a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuePath {
    /// Namespace of the flow.
    pub namespace: String,
    /// The flow.
    pub flow: FlowName,
    /// Name of the value.
    pub name: DnsLabel,
}

/// One version of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its number, from 1. The name of its file says it.
    #[serde(skip)]
    pub number: u64,
    /// When it was written.
    pub updated_at: Timestamp,
    /// Who wrote it.
    pub author: Author,
    /// The same for every attempt of one write.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// Who has written a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Author {
    /// A run, by its name.
    Run(String),
    /// A user, through the gateway.
    User(String),
}

/// A value as lists have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its newest version.
    pub version: u64,
    /// When that was written.
    pub updated_at: Timestamp,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a value was not written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It has another version than the writer expects.
    #[error("the value {name} has version {found}, not {expected}")]
    Conflict {
        /// Its name.
        name: DnsLabel,
        /// The version that it has; 0 if there is none.
        found: u64,
        /// The version that was expected.
        expected: u64,
    },
    /// Others wrote it each time that it was tried.
    #[error("others write the value {0} all the time")]
    Busy(DnsLabel),
    /// The flow has as many values as it may have.
    #[error("the flow {0} has {MAX_VALUES} values, and no more are stored")]
    TooMany(FlowName),
    /// The value is nested so deeply that no step could have it in its output.
    #[error("the value: {0}")]
    TooDeep(#[from] TooDeep),
    /// The value is too large.
    #[error("the value has {0} bytes; at most {MAX_VALUE} are stored")]
    TooLarge(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The newest version of a value, if there is one.
    ///
    /// # Errors
    /// If the store does not answer, or what lies there is no version.
    pub async fn value(&self, path: &ValuePath) -> Result<Option<Version>, StoreError> {
        // one that was listed may be removed before it is read, when newer ones have come
        for _ in 0..TRIES {
            let Some((number, _)) = self.versions(path).await?.pop_last() else {
                return Ok(None);
            };
            match self.version(path, number).await {
                Err(StoreError::NotFound) => {}
                found => return found.map(Some),
            }
        }
        Err(StoreError::NotFound)
    }

    /// Writes a value as its next version. A write of the same key that has succeeded before is found again.
    ///
    /// # Errors
    /// If it has another version than `expected`, there are too many values, or the store does not answer.
    pub async fn put_value(
        &self,
        path: &ValuePath,
        expected: Option<u64>,
        version: Version,
    ) -> Result<Version, PutError> {
        // what a step reads has the value below a field
        nesting(&version.value, MAX_NESTING - 1)?;
        let size = version.value.to_string().len();
        if size > MAX_VALUE {
            return Err(PutError::TooLarge(size));
        }
        // the first version that another attempt of this write can have made, once one has begun
        let mut ours_from = self.has_begun(path, &version.key).await?.then_some(0);
        for _ in 0..TRIES {
            let versions = self.versions(path).await?;
            if let Some(from) = ours_from
                && let Some(found) = self
                    .written_before(path, versions.range(from..), &version.key)
                    .await?
            {
                return Ok(found);
            }
            let newest = self.accepts(path, expected, &versions).await?;
            if ours_from.is_none() {
                // not before it is known that the write is not refused, so that what is refused leaves nothing
                let is_first = self.begin(path, &version.key).await?;
                ours_from = Some(if is_first { newest + 1 } else { 0 });
                if !is_first {
                    continue;
                }
            }
            let next = Version {
                number: newest + 1,
                ..version.clone()
            };
            if self.create_version(path, &next).await? {
                self.remove_old(path, versions).await;
                return Ok(next);
            }
        }
        Err(PutError::Busy(path.name.clone()))
    }

    /// The number of the newest version, if another one may follow it.
    async fn accepts(
        &self,
        path: &ValuePath,
        expected: Option<u64>,
        versions: &BTreeMap<u64, ObjectMeta>,
    ) -> Result<u64, PutError> {
        let found = versions.last_key_value().map_or(0, |(number, _)| *number);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let name = path.name.clone();
            return Err(PutError::Conflict {
                name,
                found,
                expected,
            });
        }
        if found == 0 {
            let values = self.list_values(&path.namespace, &path.flow).await?;
            if values.len() >= MAX_VALUES {
                return Err(PutError::TooMany(path.flow.clone()));
            }
        }
        Ok(found)
    }

    /// The values of a flow, by name.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn list_values(
        &self,
        namespace: &str,
        flow: &FlowName,
    ) -> Result<BTreeMap<String, Listed>, StoreError> {
        let folder = self.values_in(namespace).join(flow.as_str());
        let mut found = self.objects.list(Some(&folder));
        let mut values: BTreeMap<String, Listed> = BTreeMap::new();
        while let Some(object) = found.try_next().await? {
            let names: Vec<_> = object.location.parts().collect();
            let [.., name, _] = names.as_slice() else { continue };
            let Some(version) = number_of(&object) else {
                continue;
            };
            let listed = Listed {
                version,
                updated_at: modified(&object),
                size: object.size,
            };
            let known = values.get(name.as_ref());
            if known.is_none_or(|known| known.version < version) {
                values.insert(name.as_ref().to_owned(), listed);
            }
        }
        Ok(values)
    }

    fn values_in(&self, namespace: &str) -> Path {
        self.root.clone().join(VALUES).join(namespace)
    }

    fn values_of(&self, path: &ValuePath) -> Path {
        self.values_in(&path.namespace).join(path.flow.as_str())
    }

    fn value_folder(&self, path: &ValuePath) -> Path {
        self.values_of(path).join(path.name.as_str())
    }

    fn version_place(&self, path: &ValuePath, number: u64) -> Path {
        // in the order of their numbers, as people list them too
        self.value_folder(path).join(format!("{number:020}.json"))
    }

    /// The versions of a value that are there, by their number.
    async fn versions(&self, path: &ValuePath) -> Result<BTreeMap<u64, ObjectMeta>, StoreError> {
        let listed = self
            .objects
            .list_with_delimiter(Some(&self.value_folder(path)))
            .await?;
        let versions = listed.objects.into_iter();
        Ok(versions
            .filter_map(|object| Some((number_of(&object)?, object)))
            .collect())
    }

    async fn version(&self, path: &ValuePath, number: u64) -> Result<Version, StoreError> {
        let found = self.objects.get(&self.version_place(path, number)).await?;
        if found.meta.size > MAX_FILE {
            return Err(StoreError::TooLarge(MAX_FILE));
        }
        let content = found.bytes().await?;
        let version: Version = serde_json::from_slice(&content).map_err(|_| StoreError::HashMismatch)?;
        Ok(Version { number, ..version })
    }

    /// Where it is written down that a write has begun.
    fn begun_place(&self, path: &ValuePath, key: &str) -> Path {
        let name = Digest::of(key.as_bytes());
        self.value_folder(path).join(BEGUN).join(name.hex())
    }

    async fn has_begun(&self, path: &ValuePath, key: &str) -> Result<bool, StoreError> {
        match self.objects.head(&self.begun_place(path, key)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down that a write has begun. Says whether it is the first attempt of it.
    async fn begin(&self, path: &ValuePath, key: &str) -> Result<bool, StoreError> {
        self.create(&self.begun_place(path, key), Bytes::new()).await
    }

    async fn create_version(&self, path: &ValuePath, version: &Version) -> Result<bool, StoreError> {
        let content = serde_json::to_vec(version).map_err(|_| StoreError::HashMismatch)?;
        self.create(&self.version_place(path, version.number), content.into())
            .await
    }

    /// Creates an object, unless it is there: says whether it was created.
    async fn create(&self, place: &Path, content: Bytes) -> Result<bool, StoreError> {
        use object_store::Error as E;
        let create = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(place, content.into(), create).await {
            Ok(_) => Ok(true),
            Err(E::AlreadyExists { .. } | E::Precondition { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The version that an earlier attempt of the same write has made.
    async fn written_before(
        &self,
        path: &ValuePath,
        versions: Range<'_, u64, ObjectMeta>,
        key: &str,
    ) -> Result<Option<Version>, StoreError> {
        for (number, _) in versions.rev().take(LOOKED_AT) {
            match self.version(path, *number).await {
                Ok(version) if version.key == key => return Ok(Some(version)),
                Ok(_) | Err(StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Removes versions that are old, and what says of old writes that they have begun. What is left now is removed after the
    /// next write.
    async fn remove_old(&self, path: &ValuePath, versions: BTreeMap<u64, ObjectMeta>) {
        let is_old = |object: &ObjectMeta| {
            let age = Timestamp::now().duration_since(modified(object));
            Duration::try_from(age).is_ok_and(|age| age > KEPT_FOR)
        };
        let many = versions.len().saturating_sub(KEPT);
        let old_versions = versions.into_values().take(many).filter(is_old);
        let mut old: Vec<Path> = old_versions.map(|object| object.location).collect();
        if old.is_empty() {
            return;
        }
        let begun = self.value_folder(path).join(BEGUN);
        let begun: Vec<ObjectMeta> = self
            .objects
            .list(Some(&begun))
            .filter_map(|object| std::future::ready(object.ok()))
            .collect()
            .await;
        old.extend(begun.into_iter().filter(is_old).map(|object| object.location));
        let places = futures::stream::iter(old.into_iter().map(Ok)).boxed();
        let removed = self.objects.delete_stream(places);
        if let Err(error) = removed.try_for_each(|_| std::future::ready(Ok(()))).await {
            tracing::debug!(%error, "old versions of a value are left until it is written again");
        }
    }
}

fn number_of(object: &ObjectMeta) -> Option<u64> {
    object.location.filename()?.strip_suffix(".json")?.parse().ok()
}

fn modified(object: &ObjectMeta) -> Timestamp {
    // in the range of timestamps, whatever a store says
    Timestamp::from_second(object.last_modified.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH)
}
