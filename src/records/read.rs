//! Records in a store, found by what is known of their runs.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::verify::{self, Record, RecordError};
use crate::store::{RecordPath, Store, StoreError};

/// How many records are read at the same time.
const AT_ONCE: usize = 16;

/// Why a record was passed over.
#[derive(Debug, thiserror::Error)]
pub enum PassedOver {
    /// It cannot be read.
    #[error("the record cannot be read")]
    Store(#[source] StoreError),
    /// What lies there is no record.
    #[error("this is no record")]
    NoRecord(#[source] RecordError),
    /// It says that it is the record of another run.
    #[error("the record has to lie in {0}, so that it is not one of this run")]
    Misplaced(RecordPath),
}

/// Records that were read.
#[derive(Debug)]
pub struct Found<T> {
    /// What was taken of them, in their order.
    pub records: Vec<T>,
    /// Those that are no records of the runs in whose places they lie.
    pub passed_over: Vec<(RecordPath, PassedOver)>,
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
/// What cannot be read, or does not belong where it lies, is passed over: whoever writes one file there hides no others.
///
/// # Errors
/// If the store does not answer.
pub async fn read_all<T>(
    store: &Store,
    paths: Vec<RecordPath>,
    pick: impl Fn(&RecordPath, Record) -> T,
) -> Result<Found<T>, StoreError> {
    let reading = stream::iter(paths).map(|path| async move {
        let record = one(store, &path).await;
        (path, record)
    });
    let mut reading = reading.buffered(AT_ONCE);
    let (mut records, mut passed_over) = (Vec::new(), Vec::new());
    while let Some((path, record)) = reading.next().await {
        match record {
            Ok(record) => records.push(pick(&path, record)),
            Err(PassedOver::Store(error)) if error.is_transient() => return Err(error),
            Err(why) => passed_over.push((path, why)),
        }
    }
    Ok(Found { records, passed_over })
}

async fn one(store: &Store, path: &RecordPath) -> Result<Record, PassedOver> {
    let bytes = store.read_record(path).await.map_err(PassedOver::Store)?;
    let record = verify::read(&bytes).map_err(PassedOver::NoRecord)?;
    let place = record.statement.predicate.place();
    if place == *path {
        Ok(record)
    } else {
        Err(PassedOver::Misplaced(place))
    }
}
