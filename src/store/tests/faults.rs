//! A store that fails.

use std::{
    fmt,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::*;

/// A store that knows no conditions, and may fail to copy.
#[derive(Debug)]
struct Poor {
    inner: InMemory,
    fails_to_copy: AtomicBool,
}

impl fmt::Display for Poor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poor")
    }
}

#[async_trait]
impl ObjectStore for Poor {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if opts.mode != PutMode::Overwrite {
            return Err(object_store::Error::NotImplemented {
                operation: "put_opts".into(),
                implementer: "Poor".into(),
            });
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if self.fails_to_copy.load(Ordering::Relaxed) {
            return Err(object_store::Error::Generic {
                store: "Poor",
                source: "down".into(),
            });
        }
        self.inner.copy_opts(from, to, options).await
    }
}

fn poor(fails_to_copy: bool) -> (Store, Arc<Poor>) {
    let objects = Arc::new(Poor {
        inner: InMemory::new(),
        fails_to_copy: fails_to_copy.into(),
    });
    (Store::of(objects.clone(), Path::default()), objects)
}

#[tokio::test]
async fn a_store_without_conditions_is_written_without_them() {
    let (store, _) = poor(false);
    for _ in 0..2 {
        let stored = write(&store, b"abc", 3).await.unwrap();
        assert_eq!(read(&store, &owner("u-1"), &stored.sha256).await.unwrap(), "abc");
    }
}

#[tokio::test]
async fn content_that_could_not_be_made_visible_is_not_there_and_the_next_attempt_brings_it() {
    let (store, objects) = poor(true);
    let content = bytes(6 << 20);
    let failed = write(&store, &content, 1 << 20).await.unwrap_err();
    assert!(failed.is_transient(), "{failed:?}");
    assert!(folder::names(&objects.inner).await.is_empty());
    objects.fails_to_copy.store(false, Ordering::Relaxed);
    let stored = write(&store, &content, 1 << 20).await.unwrap();
    assert!(read(&store, &owner("u-1"), &stored.sha256).await.unwrap() == content);
}
