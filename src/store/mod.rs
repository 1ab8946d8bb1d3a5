//! The object store: content that is too large for the API server, or binary. Content lies under its sha256, apart for
//! each run, so that it is collected with the run and no run finds that of another.

mod client;
pub mod collect;
mod error;
mod list;
mod open;
mod read;
mod records;
#[cfg(test)]
mod tests;
mod values;
mod write;

use std::{path::PathBuf, sync::Arc};

use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};

pub use self::{
    error::StoreError,
    open::{OpenError, Settings},
    read::Content,
    records::{MAX_RECORD, RecordPath, RecordPathError},
    values::{Author, LONGEST_WRITE, Listed, PutError, ValuePath, Version},
    write::{Stored, Writer},
};
use crate::cluster::fairness::Permits;
use signoff_api::Digest;

/// Folder of all runs.
const RUNS: &str = "runs";
/// Folder of all records.
const RECORDS: &str = "records";
/// Folder of all values that outlive their runs.
const VALUES: &str = "values";
/// Folder of uploads that are under way, among the content of a run.
const UPLOADS: &str = "uploads";

/// An object store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Everything lies below it.
    root: Path,
    /// The folder of this machine that it is, if it is one.
    disk: Option<PathBuf>,
    /// How many contents are received at the same time, each with a part of it in memory.
    parts: Permits,
}

/// The run that content belongs to. Another run of the same name has another uid, and so none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub run: String,
    /// Its uid.
    pub uid: String,
}

impl Owner {
    /// Name of its folder. A uid has no dot, and a run's name may have some.
    fn folder(&self) -> String {
        format!("{}.{}", self.run, self.uid)
    }

    fn of_folder(namespace: &str, folder: &str) -> Option<Self> {
        let (run, uid) = folder.rsplit_once('.')?;
        Some(Self {
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            uid: uid.to_owned(),
        })
    }
}

impl Store {
    /// Whether the store answers, and takes the credentials.
    ///
    /// # Errors
    /// If it does not, after it was tried for a while.
    pub async fn probe(&self, owner: &Owner) -> Result<(), StoreError> {
        let nothing = self.folder(owner).join("probe");
        match self.objects.head(&nothing).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn folder(&self, owner: &Owner) -> Path {
        self.of_namespace(&owner.namespace).join(owner.folder())
    }

    fn of_namespace(&self, namespace: &str) -> Path {
        self.root.clone().join(RUNS).join(namespace)
    }

    fn place(&self, owner: &Owner, sha256: &Digest) -> Path {
        self.folder(owner).join(sha256.hex())
    }
}
