mod faults;
mod folder;
mod records;
mod values;

use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;

fn owner(uid: &str) -> Owner {
    Owner {
        namespace: "payments".into(),
        run: "refund-1".into(),
        uid: uid.into(),
    }
}

fn in_memory() -> (Store, Arc<InMemory>) {
    let objects = Arc::new(InMemory::new());
    (Store::of(objects.clone(), Path::from("all")), objects)
}

/// Bytes that are the same each time, and have no period that a part has.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn write(store: &Store, content: &[u8], piece: usize) -> Result<Stored, StoreError> {
    let mut writer = store.write(&owner("u-1"), 64 << 20);
    for piece in content.chunks(piece) {
        writer.write(bytes::Bytes::copy_from_slice(piece)).await?;
    }
    writer.finish().await
}

async fn read(store: &Store, run: &Owner, sha256: &Digest) -> Result<bytes::Bytes, StoreError> {
    store.read(run, sha256, 64 << 20).await?.whole().await
}

#[tokio::test]
async fn what_was_written_is_read_whatever_its_size_and_pieces() {
    let (store, objects) = in_memory();
    for length in [0, 1, 5 << 20, (5 << 20) + 1, 11 << 20] {
        for piece in [64 << 10, 7 << 20] {
            let content = bytes(length);
            let stored = write(&store, &content, piece).await.unwrap();
            assert_eq!(stored.sha256, Digest::of(&content));
            assert_eq!(stored.size, length as u64);
            let found = read(&store, &owner("u-1"), &stored.sha256).await.unwrap();
            assert!(found == content, "{length} bytes in pieces of {piece}");
        }
    }
    // nothing is left of the uploads
    let names = folder::names(&*objects).await;
    assert_eq!(names.len(), 5, "{names:?}");
}

#[tokio::test]
async fn no_run_finds_content_of_another_and_a_run_of_the_same_name_has_none_of_it() {
    let (store, _) = in_memory();
    let stored = store.put(&owner("u-1"), "secret".into()).await.unwrap();
    for other in [
        owner("u-2"),
        Owner {
            run: "refund-2".into(),
            ..owner("u-1")
        },
        Owner {
            namespace: "other".into(),
            ..owner("u-1")
        },
    ] {
        let found = read(&store, &other, &stored.sha256).await;
        assert!(matches!(found, Err(StoreError::NotFound)), "{other:?}");
    }
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_never_read_to_its_end() {
    let (store, objects) = in_memory();
    let content = bytes(3 << 20);
    let stored = write(&store, &content, 1 << 20).await.unwrap();
    let place = store.place(&owner("u-1"), &stored.sha256);
    let mut changed = content.clone();
    *changed.last_mut().unwrap() ^= 1;
    let shorter = content[..content.len() - 1].to_vec();
    let longer = [&content[..], b"x"].concat();
    for wrong in [changed, shorter, longer] {
        objects.put(&place, wrong.into()).await.unwrap();
        let found = read(&store, &owner("u-1"), &stored.sha256).await;
        assert!(matches!(found, Err(StoreError::HashMismatch)), "{found:?}");
    }
}

#[tokio::test]
async fn what_is_larger_than_the_limit_is_refused_and_leaves_nothing() {
    let (store, objects) = in_memory();
    let mut writer = store.write(&owner("u-1"), 6 << 20);
    writer.write(vec![0; 6 << 20].into()).await.unwrap();
    let refused = writer.write("x".into()).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    drop(writer);
    assert!(folder::names(&*objects).await.is_empty());
    let stored = write(&store, &bytes(100), 100).await.unwrap();
    let found = store.read(&owner("u-1"), &stored.sha256, 99).await;
    assert!(matches!(found, Err(StoreError::TooLarge(99))), "{found:?}");
}

#[tokio::test]
async fn writing_the_same_again_changes_nothing() {
    let (store, objects) = in_memory();
    let content = bytes(1 << 10);
    for _ in 0..3 {
        write(&store, &content, 100).await.unwrap();
    }
    assert_eq!(folder::names(&*objects).await.len(), 1);
}
