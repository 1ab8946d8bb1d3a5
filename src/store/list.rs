//! Which runs have content in the store, and what becomes of it when they are gone.

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, path::Path};

use super::{Owner, RUNS, Store, StoreError};

/// Says which installation collects what is in the store.
const INSTALLATION: &str = "installation";

impl Store {
    /// The namespaces whose runs have content.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn namespaces(&self) -> Result<Vec<String>, StoreError> {
        self.folders(&self.root.clone().join(RUNS)).await
    }

    /// The runs of a namespace that have content.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn owners(&self, namespace: &str) -> Result<Vec<Owner>, StoreError> {
        let folders = self.folders(&self.of_namespace(namespace)).await?;
        let owners = folders.iter();
        Ok(owners
            .filter_map(|folder| Owner::of_folder(namespace, folder))
            .collect())
    }

    pub(super) async fn folders(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        let listed = self.objects.list_with_delimiter(Some(path)).await?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.map(str::to_owned).collect())
    }

    /// Deletes all content of a run.
    ///
    /// # Errors
    /// If not all of it could be deleted. It can be tried again.
    pub(super) async fn delete(&self, owner: &Owner) -> Result<(), StoreError> {
        let folder = self.folder(owner);
        if let Some(disk) = &self.disk {
            // with what interrupted uploads have left, which no list shows
            let path = disk.join(folder.as_ref());
            return match tokio::fs::remove_dir_all(path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StoreError::Unavailable(object_store::Error::Generic {
                        store: "LocalFileSystem",
                        source: Box::new(error),
                    }))
                }
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let found = self.objects.list(Some(&folder));
        let places = found.map_ok(|object| object.location).boxed();
        let deleted = self.objects.delete_stream(places);
        let missing = |error: &object_store::Error| matches!(error, object_store::Error::NotFound { .. });
        deleted
            .try_for_each(|_| std::future::ready(Ok(())))
            .await
            .or_else(|error| {
                if missing(&error) {
                    Ok(())
                } else {
                    Err(error.into())
                }
            })
    }

    /// Whether this installation may collect what is in the store: the first one that asks may.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn is_of(&self, installation: &str) -> Result<bool, StoreError> {
        use object_store::Error as E;
        let place = self.root.clone().join(INSTALLATION);
        let ours = installation.to_owned();
        let create = PutOptions::from(PutMode::Create);
        match self.objects.get(&place).await {
            Ok(found) => return Ok(found.bytes().await? == installation.as_bytes()),
            Err(E::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match self.objects.put_opts(&place, ours.clone().into(), create).await {
            Ok(_) | Err(E::AlreadyExists { .. } | E::Precondition { .. }) => {}
            Err(E::NotImplemented { .. } | E::NotSupported { .. }) => {
                self.objects.put(&place, ours.into()).await?;
            }
            Err(error) => return Err(error.into()),
        }
        // another one may have been first
        let found = self.objects.get(&place).await?;
        Ok(found.bytes().await? == installation.as_bytes())
    }
}
