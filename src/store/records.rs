//! Records of runs that ended. They lie apart from the content of runs, and stay when that is collected.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use k8s_openapi::jiff::Timestamp;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, path::Path};

use super::{Owner, RECORDS, Store, StoreError};
use signoff_api::Digest;

/// Folder of what questions have shown, among the records of a namespace.
const SHOWN: &str = "shown";
const ENDING: &str = ".json";
/// Longest record that is read, and so that is written.
pub const MAX_RECORD: u64 = 64 << 20;

/// Where the record of a run lies: by namespace and by the month in which the run ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPath {
    /// Its namespace.
    pub namespace: String,
    /// The month, such as `2026-11`.
    pub month: String,
    /// Name of the run.
    pub run: String,
    /// Uid of the run.
    pub uid: String,
}

impl RecordPath {
    /// The place for a run that ended then.
    pub fn of(owner: &Owner, finished_at: Timestamp) -> Self {
        Self {
            namespace: owner.namespace.clone(),
            month: finished_at.strftime("%Y-%m").to_string(),
            run: owner.run.clone(),
            uid: owner.uid.clone(),
        }
    }

    fn of_name(namespace: &str, month: &str, file: &str) -> Option<Self> {
        let Owner { namespace, run, uid } = Owner::of_folder(namespace, file.strip_suffix(ENDING)?)?;
        Some(Self {
            namespace,
            month: month.to_owned(),
            run,
            uid,
        })
    }
}

/// A text that is no place of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no place of a record: expected records/NAMESPACE/MONTH/RUN.UID.json")]
pub struct RecordPathError;

impl FromStr for RecordPath {
    type Err = RecordPathError;

    fn from_str(text: &str) -> Result<Self, RecordPathError> {
        let parts: Vec<&str> = text.split('/').collect();
        let [RECORDS, namespace, month, file] = parts.as_slice() else {
            return Err(RecordPathError);
        };
        let is_folder = |name: &str| !matches!(name, "" | "." | "..");
        let path = Self::of_name(namespace, month, file);
        path.filter(|_| is_folder(namespace) && is_folder(month))
            .ok_or(RecordPathError)
    }
}

impl fmt::Display for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            month,
            run,
            uid,
        } = self;
        write!(f, "{RECORDS}/{namespace}/{month}/{run}.{uid}{ENDING}")
    }
}

impl Store {
    /// Writes a record. If something lies there, that stays and is given back. The error `TooLarge` speaks of that.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn create_record(
        &self,
        path: &RecordPath,
        content: Bytes,
    ) -> Result<Option<Bytes>, StoreError> {
        use object_store::Error as E;
        let place = self.record_place(path);
        let create = PutOptions::from(PutMode::Create);
        match self
            .objects
            .put_opts(&place, content.clone().into(), create)
            .await
        {
            Ok(_) => Ok(None),
            Err(E::AlreadyExists { .. } | E::Precondition { .. }) => self.read_record(path).await.map(Some),
            // the store has no conditions
            Err(E::NotImplemented { .. } | E::NotSupported { .. }) => match self.read_record(path).await {
                Err(StoreError::NotFound) => {
                    self.replace_record(path, content).await?;
                    Ok(None)
                }
                there => there.map(Some),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a record over what lies there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn replace_record(&self, path: &RecordPath, content: Bytes) -> Result<(), StoreError> {
        self.objects.put(&self.record_place(path), content.into()).await?;
        Ok(())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If it is not there, or the store does not answer.
    pub async fn read_record(&self, path: &RecordPath) -> Result<Bytes, StoreError> {
        let found = self.objects.get(&self.record_place(path)).await?;
        if found.meta.size > MAX_RECORD {
            return Err(StoreError::TooLarge(MAX_RECORD));
        }
        Ok(found.bytes().await?)
    }

    /// Keeps what a question has shown, apart from all runs.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn keep_shown(&self, namespace: &str, content: Bytes) -> Result<(), StoreError> {
        use object_store::Error as E;
        let folder = self.records_of(namespace).join(SHOWN);
        let place = folder.join(Digest::of(&content).hex());
        let create = PutOptions::from(PutMode::Create);
        match self
            .objects
            .put_opts(&place, content.clone().into(), create)
            .await
        {
            // its name is its digest
            Ok(_) | Err(E::AlreadyExists { .. } | E::Precondition { .. }) => Ok(()),
            Err(E::NotImplemented { .. } | E::NotSupported { .. }) => {
                self.objects.put(&place, content.into()).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The namespaces that have records.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn recorded_namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.folders(&self.root.clone().join(RECORDS)).await
    }

    /// The months of a namespace that have records, the first one first.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn recorded_months(&self, namespace: &str) -> Result<Vec<String>, StoreError> {
        let mut months = self.folders(&self.records_of(namespace)).await?;
        months.retain(|month| month != SHOWN);
        months.sort_unstable();
        Ok(months)
    }

    /// The records of a month, in no order.
    pub fn records(
        &self,
        namespace: &str,
        month: &str,
    ) -> BoxStream<'static, Result<RecordPath, StoreError>> {
        let folder = self.records_of(namespace).join(month);
        let (namespace, month) = (namespace.to_owned(), month.to_owned());
        let listed = self.objects.list(Some(&folder)).map_err(StoreError::from);
        let paths = listed.try_filter_map(move |object| {
            let file = object.location.filename();
            let path = file.and_then(|file| RecordPath::of_name(&namespace, &month, file));
            std::future::ready(Ok(path))
        });
        paths.boxed()
    }

    fn records_of(&self, namespace: &str) -> Path {
        self.root.clone().join(RECORDS).join(namespace)
    }

    fn record_place(&self, path: &RecordPath) -> Path {
        let file = format!("{}.{}{ENDING}", path.run, path.uid);
        self.records_of(&path.namespace)
            .join(path.month.as_str())
            .join(file)
    }
}
