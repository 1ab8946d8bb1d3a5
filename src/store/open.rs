//! A store by its address.

use std::{
    collections::BTreeMap,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use object_store::{
    ObjectStore,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    local::LocalFileSystem,
    path::Path,
};
use url::Url;

use super::{
    RECORDS, RUNS, Store, VALUES,
    client::{Connector, retries},
};
use crate::{cluster::fairness::Permits, net::Network};

/// How many contents are received at the same time, each with a part of 5 MiB in memory.
const RECEIVED: usize = 12;

/// Where a store is, and how it is reached.
#[derive(Clone)]
pub struct Settings {
    /// `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: Url,
    /// Credentials and addresses, by the names that the vendors' own tools read from the environment.
    pub variables: BTreeMap<String, String>,
}

impl std::fmt::Debug for Settings {
    /// The variables hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// A store with the credentials of this process's environment.
    pub fn from_environment(url: Url) -> Self {
        Self {
            url,
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        }
    }

    /// A folder of this machine.
    pub fn folder(path: &FilePath) -> Result<Self, OpenError> {
        let unusable = || OpenError::Folder(path.to_owned(), std::io::ErrorKind::InvalidInput.into());
        let path = std::path::absolute(path).map_err(|error| OpenError::Folder(path.to_owned(), error))?;
        Ok(Self {
            url: Url::from_directory_path(path).map_err(|()| unusable())?,
            variables: BTreeMap::new(),
        })
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one of a store.
    #[error("a store is at file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")]
    Address,
    /// The address holds credentials.
    #[error("the address of a store holds no credentials: they come from the environment")]
    Credentials,
    /// The folder cannot be used.
    #[error("the folder {} cannot be used", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
    /// There is no such folder to read from.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// The settings cannot be used.
    #[error("the settings of the store cannot be used")]
    Settings(#[from] object_store::Error),
}

impl Store {
    /// Opens a store. One that is not a folder is not called yet. A folder is made if there is none.
    pub fn open(settings: &Settings, network: &Network) -> Result<Self, OpenError> {
        Self::open_with(settings, network, make_folders)
    }

    /// Opens a store to read from it: no folder is made.
    pub fn open_to_read(settings: &Settings, network: &Network) -> Result<Self, OpenError> {
        Self::open_with(settings, network, |path| {
            if path.is_dir() {
                Ok(())
            } else {
                Err(OpenError::NoFolder(path.to_owned()))
            }
        })
    }

    fn open_with(
        settings: &Settings,
        network: &Network,
        prepare: impl Fn(&FilePath) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let url = &settings.url;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OpenError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(OpenError::Address);
        }
        let connector = Connector(Arc::new(network.clone()));
        let objects: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => return folder(url, prepare),
            _ if url.host_str().is_none() => return Err(OpenError::Address),
            "s3" => Arc::new(s3(settings, connector)?),
            "gs" => Arc::new(google(settings, connector)?),
            "az" => Arc::new(azure(settings, connector)?),
            _ => return Err(OpenError::Address),
        };
        let root = Path::from_url_path(url.path()).map_err(|_| OpenError::Address)?;
        Ok(Self::of(objects, root))
    }

    pub(super) fn of(objects: Arc<dyn ObjectStore>, root: Path) -> Self {
        Self {
            objects,
            root,
            disk: None,
            parts: Permits::that_leave_some(RECEIVED),
        }
    }
}

fn folder(url: &Url, prepare: impl Fn(&FilePath) -> Result<(), OpenError>) -> Result<Store, OpenError> {
    let path = url.to_file_path().map_err(|()| OpenError::Address)?;
    prepare(&path)?;
    let objects = LocalFileSystem::new_with_prefix(&path)?.with_automatic_cleanup(true);
    Ok(Store {
        disk: Some(path),
        ..Store::of(Arc::new(objects), Path::default())
    })
}

/// Makes the folders of a store. What is in them is for this user alone, also where others may look into the folder around them.
fn make_folders(path: &FilePath) -> Result<(), OpenError> {
    for folder in [
        path.to_owned(),
        path.join(RUNS),
        path.join(RECORDS),
        path.join(VALUES),
    ] {
        make_private(&folder).map_err(|error| OpenError::Folder(folder, error))?;
    }
    Ok(())
}

/// Makes a folder that only this user may look into; one that is there stays as it is.
fn make_private(path: &FilePath) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path)
}

fn s3(settings: &Settings, connector: Connector) -> Result<impl ObjectStore, OpenError> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &settings.variables {
        if let Ok(key) = lower(name, "AWS_").parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_url(settings.url.as_str()).with_retry(retries());
    Ok(builder.with_http_connector(connector).build()?)
}

fn google(settings: &Settings, connector: Connector) -> Result<impl ObjectStore, OpenError> {
    let mut builder = GoogleCloudStorageBuilder::new();
    if let Some(file) = settings.variables.get("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.with_application_credentials(file);
    }
    for (name, value) in &settings.variables {
        if let Ok(key) = lower(name, "GOOGLE_").parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_url(settings.url.as_str()).with_retry(retries());
    Ok(builder.with_http_connector(connector).build()?)
}

fn azure(settings: &Settings, connector: Connector) -> Result<impl ObjectStore, OpenError> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in &settings.variables {
        if let Ok(key) = lower(name, "AZURE_").parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_url(settings.url.as_str()).with_retry(retries());
    Ok(builder.with_http_connector(connector).build()?)
}

/// The name of a setting, of a variable with this prefix; of another variable nothing that is a setting.
fn lower(name: &str, prefix: &str) -> String {
    if name.starts_with(prefix) {
        name.to_ascii_lowercase()
    } else {
        String::new()
    }
}
