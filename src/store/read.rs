//! Content is read in pieces and hashed on the way. Its last piece is given out only when the hash is right, so whoever
//! reads to the end has what was written.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStoreExt as _;
use sha2::{Digest as _, Sha256};

use super::{Owner, Store, StoreError};
use signoff_api::Digest;

/// Content that is being read.
pub struct Content {
    /// Number of bytes that will come.
    pub size: u64,
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Begins to read content of a run, of at most so many bytes.
    ///
    /// # Errors
    /// If it is not there, is too long, or the store does not answer.
    pub async fn read(&self, owner: &Owner, sha256: &Digest, limit: u64) -> Result<Content, StoreError> {
        let found = self.objects.get(&self.place(owner, sha256)).await?;
        let size = found.meta.size;
        if size > limit {
            return Err(StoreError::TooLarge(limit));
        }
        let pieces = found.into_stream().map_err(StoreError::from).boxed();
        Ok(Content {
            size,
            pieces: checked(pieces, sha256.clone(), size).boxed(),
        })
    }

    /// Number of bytes of content of a run.
    ///
    /// # Errors
    /// If it is not there, or the store does not answer.
    pub async fn size(&self, owner: &Owner, sha256: &Digest) -> Result<u64, StoreError> {
        Ok(self.objects.head(&self.place(owner, sha256)).await?.size)
    }
}

impl Content {
    /// The pieces, in order. An error is the last of them.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
        self.pieces
    }

    /// All of it.
    ///
    /// # Errors
    /// If it cannot be read, or is not what its digest says.
    pub async fn whole(self) -> Result<Bytes, StoreError> {
        // whoever reads it whole has set a limit
        let mut whole = BytesMut::with_capacity(usize::try_from(self.size).unwrap_or_default());
        let mut pieces = self.pieces;
        while let Some(piece) = pieces.try_next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

struct Checking<S> {
    pieces: S,
    sha256: Digest,
    hash: Sha256,
    /// How many bytes are still to come.
    left: u64,
    /// The piece before the next one.
    held: Option<Bytes>,
    ended: bool,
}

/// The same pieces, each a piece later, and the last one only if all of them are right.
fn checked<S>(pieces: S, sha256: Digest, size: u64) -> impl Stream<Item = Result<Bytes, StoreError>> + Send
where
    S: Stream<Item = Result<Bytes, StoreError>> + Send + Unpin,
{
    let checking = Checking {
        pieces,
        sha256,
        hash: Sha256::new(),
        left: size,
        held: None,
        ended: false,
    };
    stream::unfold(checking, |mut checking| async move {
        let next = checking.next().await?;
        checking.ended |= next.is_err();
        Some((next, checking))
    })
}

impl<S: Stream<Item = Result<Bytes, StoreError>> + Unpin> Checking<S> {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        while !self.ended {
            match self.pieces.next().await {
                Some(Ok(piece)) => {
                    let Some(left) = self.left.checked_sub(piece.len() as u64) else {
                        return Some(Err(StoreError::HashMismatch));
                    };
                    self.left = left;
                    self.hash.update(&piece);
                    if let Some(before) = self.held.replace(piece) {
                        return Some(Ok(before));
                    }
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.ended = true;
                    let found = Digest::from(<[u8; 32]>::from(std::mem::take(&mut self.hash).finalize()));
                    if self.left > 0 || found != self.sha256 {
                        return Some(Err(StoreError::HashMismatch));
                    }
                    return self.held.take().map(Ok);
                }
            }
        }
        None
    }
}
