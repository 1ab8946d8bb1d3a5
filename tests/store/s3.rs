//! What the store does on S3.

use std::time::Duration;

use bytes::Bytes;
use signoff::store::{Owner, Store, StoreError, Stored};
use signoff_api::Digest;

use crate::server::{Server, owner};

/// Longest wait for something that happens beside a test.
const PATIENCE: Duration = Duration::from_secs(120);

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn write(store: &Store, content: &[u8]) -> Result<Stored, StoreError> {
    let mut writer = store.write(&owner(), 64 << 20);
    for piece in content.chunks(1 << 20) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    writer.finish().await
}

async fn read(store: &Store, run: &Owner, sha256: &Digest) -> Result<Bytes, StoreError> {
    store.read(run, sha256, u64::MAX).await?.whole().await
}

async fn start(test: &'static str) -> Option<Server> {
    tokio::task::spawn_blocking(move || Server::start(test))
        .await
        .unwrap()
}

/// Does something that blocks.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_written_once_and_read_whatever_its_size() {
    let Some(server) = start("content on S3").await else {
        return;
    };
    let store = server.store();
    store.probe(&owner()).await.unwrap();
    for length in [0, 1, 5 << 20, (12 << 20) + 1] {
        let content = bytes(length);
        let stored = write(&store, &content).await.unwrap();
        // the second time, the store has it
        assert_eq!(write(&store, &content).await.unwrap(), stored);
        assert!(
            read(&store, &owner(), &stored.sha256).await.unwrap() == content,
            "{length}"
        );
        let mut other = owner();
        other.uid = "u-2".into();
        let found = read(&store, &other, &stored.sha256).await;
        assert!(matches!(found, Err(StoreError::NotFound)), "{found:?}");
    }
    let files = aside(|| server.files());
    assert_eq!(files.len(), 4, "{files:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_leaves_what_is_there() {
    let Some(server) = start("conditional writes on S3").await else {
        return;
    };
    let store = server.store();
    let stored = store.put(&owner(), "abc".into()).await.unwrap();
    let file = aside(|| server.files()).remove(0);
    assert!(file.ends_with(stored.sha256.hex()), "{file}");
    // whoever changes the store is found out by the hash, and a write of the right content does not hide it
    aside(|| server.overwrite(&file, b"abd"));
    store.put(&owner(), "abc".into()).await.unwrap();
    let found = read(&store, &owner(), &stored.sha256).await;
    assert!(matches!(found, Err(StoreError::HashMismatch)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_and_nothing_is_written() {
    let Some(server) = start("credentials on S3").await else {
        return;
    };
    let store = server.store_with("wrong");
    for result in [
        store.probe(&owner()).await.err(),
        store.put(&owner(), "abc".into()).await.err(),
        write(&store, &bytes(6 << 20)).await.err(),
        read(&store, &owner(), &Digest::of(b"abc")).await.err(),
    ] {
        assert!(matches!(result, Some(StoreError::Refused(_))), "{result:?}");
    }
    assert!(aside(|| server.files()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_interrupted_leaves_nothing_visible() {
    let Some(server) = start("interrupted uploads on S3").await else {
        return;
    };
    let store = server.store();
    let mut writer = store.write(&owner(), 64 << 20);
    writer.write(bytes(16 << 20).into()).await.unwrap();
    drop(writer);
    let uploads = |file: &String| file.contains("/.uploads/");
    // parts lie apart until they are given up, which happens beside the test
    let given_up = async {
        while aside(|| server.files()).iter().any(uploads) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, given_up).await.unwrap();
    assert!(aside(|| server.files()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_nothing_for_a_while_is_waited_for() {
    let Some(server) = start("S3 that answers nothing").await else {
        return;
    };
    let store = server.store();
    let content = bytes(12 << 20);
    let mut writer = store.write(&owner(), 64 << 20);
    let (first, rest) = content.split_at(6 << 20);
    writer.write(Bytes::copy_from_slice(first)).await.unwrap();
    server.pause();
    let rest = Bytes::copy_from_slice(rest);
    let writing = tokio::spawn(async move {
        writer.write(rest).await?;
        writer.finish().await
    });
    let probing = tokio::spawn({
        let store = store.clone();
        async move { store.probe(&owner()).await }
    });
    tokio::task::yield_now().await;
    server.resume();
    let stored = tokio::time::timeout(PATIENCE, writing)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    tokio::time::timeout(PATIENCE, probing)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(stored.sha256, Digest::of(&content));
    assert!(read(&store, &owner(), &stored.sha256).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_was_changed_is_not_read_to_its_end() {
    let Some(server) = start("changed content on S3").await else {
        return;
    };
    let store = server.store();
    let content = bytes(7 << 20);
    let stored = write(&store, &content).await.unwrap();
    let file = aside(|| server.files()).remove(0);
    let mut changed = content.clone();
    changed[5 << 20] ^= 1;
    for wrong in [&changed[..], &content[1..]] {
        aside(|| server.overwrite(&file, wrong));
        let found = read(&store, &owner(), &stored.sha256).await;
        assert!(matches!(found, Err(StoreError::HashMismatch)), "{found:?}");
    }
}
