//! Records in a store, found by what is known of their runs.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::verify::{self, Record, RecordError};
use crate::store::{RecordPath, Store, StoreError};

/// How many records are read at the same time.
const AT_ONCE: usize = 16;

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What lies there is no record.
    #[error("{0} cannot be read as a record")]
    Record(RecordPath, #[source] RecordError),
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The one namespace; without it all of them.
    pub namespace: Option<String>,
    /// The first month, such as `2026-11`, of those in which runs ended; without it the first there is.
    pub from: Option<String>,
    /// The last month; without it the last there is.
    pub to: Option<String>,
    /// Name of the run; without it all of them.
    pub run: Option<String>,
}

/// Where the wanted records lie, by namespace, month and name.
///
/// # Errors
/// If the store does not answer.
pub async fn find(store: &Store, wanted: &Wanted) -> Result<Vec<RecordPath>, StoreError> {
    let namespaces = match &wanted.namespace {
        Some(namespace) => vec![namespace.clone()],
        None => store.recorded_namespaces().await?,
    };
    let mut found = Vec::new();
    for namespace in namespaces {
        let mut months = store.recorded_months(&namespace).await?;
        months.retain(|month| {
            wanted.from.as_ref().is_none_or(|from| month >= from)
                && wanted.to.as_ref().is_none_or(|to| month <= to)
        });
        for month in months {
            let of_month = store.records(&namespace, &month);
            let is_wanted = |path: &RecordPath| wanted.run.as_ref().is_none_or(|run| *run == path.run);
            let of_month = of_month.try_filter(|path| std::future::ready(is_wanted(path)));
            found.extend(of_month.try_collect::<Vec<_>>().await?);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads records, in their order. `pick` takes what is needed of each, so that no more of them are in memory than are read at the same time.
///
/// # Errors
/// If the store does not answer, or something else than a record lies there.
pub async fn read_all<T>(
    store: &Store,
    paths: Vec<RecordPath>,
    pick: impl Fn(&RecordPath, Record) -> T,
) -> Result<Vec<T>, ReadError> {
    let reading = stream::iter(paths).map(|path| async move {
        let bytes = store.read_record(&path).await?;
        match verify::read(&bytes) {
            Ok(record) => Ok((path, record)),
            Err(error) => Err(ReadError::Record(path, error)),
        }
    });
    reading
        .buffered(AT_ONCE)
        .map_ok(|(path, record)| pick(&path, record))
        .try_collect()
        .await
}
