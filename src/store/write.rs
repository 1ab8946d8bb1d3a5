//! Content is received in parts and hashed on the way. It becomes visible under its sha256 when all of it is there.

use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path};
use sha2::{Digest as _, Sha256};

use super::{Owner, Store, StoreError, UPLOADS};
use crate::cluster::fairness::Permit;
use signoff_api::Digest;

/// Size of a part: the least that S3 takes.
const PART: usize = 5 << 20;
/// From here on, content takes one of the places for what is large.
const SMALL: usize = 1 << 20;

/// Content that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Number of bytes.
    pub size: u64,
    /// Their digest.
    pub sha256: Digest,
}

/// Content that is being written. Dropped before it is finished, it leaves nothing visible.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    owner: Owner,
    /// What is taken at most.
    limit: u64,
    size: u64,
    hash: Sha256,
    part: BytesMut,
    /// Where the parts go, when there is more than one.
    upload: Option<Upload>,
    place: Option<Permit>,
}

#[derive(Debug)]
struct Upload {
    path: Path,
    parts: Box<dyn MultipartUpload>,
}

impl Store {
    /// Begins to write content of a run, at most so many bytes.
    pub fn write(&self, owner: &Owner, limit: u64) -> Writer {
        Writer {
            store: self.clone(),
            owner: owner.clone(),
            limit,
            size: 0,
            hash: Sha256::new(),
            part: BytesMut::new(),
            upload: None,
            place: None,
        }
    }

    /// Writes content that is in memory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put(&self, owner: &Owner, content: Bytes) -> Result<Stored, StoreError> {
        let stored = Stored {
            size: content.len() as u64,
            sha256: Digest::of(&content),
        };
        self.put_whole(owner, &stored.sha256, content.into()).await?;
        Ok(stored)
    }

    /// Writes content under its digest, unless it is there already.
    async fn put_whole(&self, owner: &Owner, sha256: &Digest, content: PutPayload) -> Result<(), StoreError> {
        use object_store::Error as E;
        let place = self.place(owner, sha256);
        let create = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(&place, content.clone(), create).await {
            // what lies there is the same: its name is its digest
            Ok(_) | Err(E::AlreadyExists { .. } | E::Precondition { .. }) => Ok(()),
            // the store has no conditions, and another write of the same changes nothing
            Err(E::NotImplemented { .. } | E::NotSupported { .. }) => {
                self.objects.put(&place, content).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Writer {
    /// Takes in the next bytes. Returns when there is room for more.
    ///
    /// # Errors
    /// If there are too many, or they cannot be written.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.limit {
            return Err(StoreError::TooLarge(self.limit));
        }
        self.hash.update(&bytes);
        while !bytes.is_empty() {
            let taken = bytes.split_to(bytes.len().min(PART - self.part.len()));
            if self.place.is_none() && self.part.len() + taken.len() > SMALL {
                self.place = Some(self.store.parts.acquire(&self.owner.namespace).await);
            }
            self.part.extend_from_slice(&taken);
            if self.part.len() == PART {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        let part = std::mem::take(&mut self.part).freeze();
        if self.upload.is_none() {
            let name = format!("{:032x}", rand::random::<u128>());
            let path = self.store.folder(&self.owner).join(UPLOADS).join(name);
            let parts = self.store.objects.put_multipart(&path).await?;
            self.upload = Some(Upload { path, parts });
        }
        if let Some(upload) = &mut self.upload {
            // one part at a time: two would take twice the memory
            upload.parts.put_part(part.into()).await?;
        }
        Ok(())
    }

    /// All of it is there: makes it visible.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn finish(mut self) -> Result<Stored, StoreError> {
        let stored = Stored {
            size: self.size,
            sha256: Digest::from(<[u8; 32]>::from(std::mem::take(&mut self.hash).finalize())),
        };
        if self.upload.is_none() {
            let content = std::mem::take(&mut self.part).freeze();
            self.store
                .put_whole(&self.owner, &stored.sha256, content.into())
                .await?;
            return Ok(stored);
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.parts.complete().await?;
        }
        // it is whole from here on, so there is nothing to give up
        let Some(Upload { path, .. }) = self.upload.take() else {
            return Ok(stored);
        };
        let objects = &self.store.objects;
        let copied = objects
            .copy(&path, &self.store.place(&self.owner, &stored.sha256))
            .await;
        if let Err(error) = objects.delete(&path).await {
            tracing::debug!(%error, "an upload is left to be collected with its run");
        }
        copied?;
        Ok(stored)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(Upload { mut parts, .. }) = self.upload.take() else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = parts.abort().await {
                    tracing::debug!(%error, "parts of an upload are left in the store");
                }
            });
        }
    }
}
