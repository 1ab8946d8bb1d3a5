//! Records in an object store, as arguments name them. The store's own credentials say who may read them.

use serde_json::json;

use super::{
    Global,
    connect::Connection,
    error::{CliError, exit},
    lines::count,
    store_options::StoreArgs,
};
use crate::{
    cluster::error_chain,
    net::{AddressPolicy, Network},
    records::{
        read::{self, Found, PassedOver, Wanted},
        verify::Record,
    },
    store::{RecordPath, Store},
};

/// A month, as `2026-11`.
pub(super) fn month(text: &str) -> Result<String, String> {
    let is_month = |text: &str| {
        let (year, month) = text.split_once('-')?;
        let is_year = year.len() == 4 && year.bytes().all(|digit| digit.is_ascii_digit());
        let number: u8 = month.parse().ok()?;
        (is_year && month.len() == 2 && (1..=12).contains(&number)).then_some(())
    };
    is_month(text)
        .map(|()| text.to_owned())
        .ok_or_else(|| "write YEAR-MONTH, such as 2026-11".to_owned())
}

/// A store with records.
pub(super) struct Archive {
    pub(super) store: Store,
    /// The one namespace that is looked at.
    namespace: Option<String>,
}

impl Archive {
    /// Opens the store of the arguments, for a namespace or for all.
    pub(super) async fn open(store: StoreArgs, all: bool, global: &Global) -> Result<Self, CliError> {
        let namespace = match (&global.namespace, all) {
            (_, true) => None,
            (Some(namespace), false) => Some(namespace.to_string()),
            (None, false) => Some(Connection::open(global).await.map_or_else(
                |error| {
                    Err(error.hint("name the namespace with -n: without it, the kubeconfig says which one"))
                },
                |connection| Ok(connection.namespace),
            )?),
        };
        Ok(Self {
            store: open(store)?,
            namespace,
        })
    }

    /// All records there are.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            namespace: self.namespace.clone(),
            ..Wanted::default()
        }
    }

    /// Reads records.
    pub(super) async fn read<T>(
        &self,
        wanted: &Wanted,
        pick: impl Fn(&RecordPath, Record) -> T,
    ) -> Result<Found<T>, CliError> {
        let paths = read::find(&self.store, wanted).await;
        let paths = paths.map_err(|error| CliError::internal("the records cannot be listed", &error))?;
        let records = read::read_all(&self.store, paths, pick).await;
        records.map_err(|error| CliError::internal("the records cannot be read", &error))
    }
}

/// What is wrong with records, if something is: with those that were passed over, and with those that are `unverified`, a line each. If
/// `all` must be verified, what cannot be read is not.
pub(super) fn problem(
    passed_over: &[(RecordPath, PassedOver)],
    unverified: Vec<String>,
    all: bool,
) -> Option<CliError> {
    let lines = passed_over
        .iter()
        .map(|(path, why)| format!("{path}: {}", error_chain(why)));
    let is_one_unverified = all || !unverified.is_empty();
    let lines: Vec<String> = lines.chain(unverified).collect();
    let are_misplaced = passed_over
        .iter()
        .any(|(_, why)| matches!(why, PassedOver::Misplaced(_)));
    let number = count(lines.len(), "record");
    let error = match lines.as_slice() {
        [] => return None,
        _ if is_one_unverified || are_misplaced => {
            let message = format!("not verified, or not where it belongs, is {number}:");
            CliError::new("NotVerified", exit::DIFFERS, message)
        }
        _ => {
            let message = format!("passed over, since it cannot be read, is {number}:");
            CliError::new("UnreadableRecords", exit::UNREADABLE, message)
        }
    };
    let details = json!(lines);
    let lines = lines.into_iter().map(|line| format!("  {line}"));
    Some(error.details(details).listing(lines))
}

/// The store of the arguments.
pub(super) fn open(store: StoreArgs) -> Result<Store, CliError> {
    let store = store.open_to_read(&Network::new(AddressPolicy::local()))?;
    store.ok_or_else(|| {
        CliError::usage("records are read from the object store: name it with --store or SIGNOFF_STORE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_a_year_and_two_digits() {
        assert_eq!(month("2026-11").unwrap(), "2026-11");
        for text in ["", "2026", "2026-13", "2026-1", "26-11", "2026-00", "../x-01"] {
            assert!(month(text).is_err(), "{text}");
        }
    }
}
