//! Which object store is used, as arguments.

use url::Url;

use super::{
    error::{CliError, exit},
    quoted,
};
use crate::{
    net::Network,
    store::{OpenError, Settings, Store},
};

/// Where content is kept that is large or binary.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// Object store for content that is large or binary: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    /// Credentials come from the environment. Without a store, steps that need one fail with the reason `NoStore`.
    #[arg(long, env = "SIGNOFF_STORE", value_name = "URL")]
    store: Option<Url>,
}

impl StoreArgs {
    /// Whether one is named.
    pub(super) fn is_named(&self) -> bool {
        self.store.is_some()
    }

    /// The store to read from: what is not there is not made.
    pub(super) fn open_to_read(self, network: &Network) -> Result<Option<Store>, CliError> {
        let Some(url) = self.store else { return Ok(None) };
        let store = Store::open_to_read(&Settings::from_environment(url), network);
        let unusable = |error| match error {
            OpenError::NoFolder(_) => CliError::new("NotFound", exit::NOT_FOUND, format!("--store: {error}")),
            error => CliError::internal("--store cannot be used", &error),
        };
        store.map(Some).map_err(unusable)
    }

    /// The store as an argument of a further command.
    pub(super) fn argument(&self) -> String {
        let url = self.store.as_ref();
        url.map(|url| format!(" --store {}", quoted(url.as_str())))
            .unwrap_or_default()
    }

    /// The store, if one is named.
    pub(super) fn open(self, network: &Network) -> Result<Option<Store>, CliError> {
        let Some(url) = self.store else { return Ok(None) };
        let store = Store::open(&Settings::from_environment(url), network);
        let unusable = |error| CliError::internal("--store cannot be used", &error);
        store.map(Some).map_err(unusable)
    }
}
