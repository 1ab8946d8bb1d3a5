//! A folder as a store.

use std::os::unix::fs::PermissionsExt as _;

use futures::TryStreamExt as _;
use object_store::ObjectStore;

use super::*;
use crate::net::{AddressPolicy, Network};

pub(super) async fn names(objects: &dyn ObjectStore) -> Vec<String> {
    let listed = objects.list(None).map_ok(|object| object.location.to_string());
    listed.try_collect().await.unwrap()
}

fn open(url: &str) -> Result<Store, OpenError> {
    let settings = Settings {
        url: url.parse().unwrap(),
        variables: [("AWS_REGION".to_owned(), "eu-1".to_owned())].into(),
    };
    Store::open(&settings, &Network::new(AddressPolicy::default()))
}

#[tokio::test]
async fn a_folder_is_made_for_this_user_alone_and_keeps_content_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state").join("store");
    let settings = Settings::folder(&folder).unwrap();
    let open = || Store::open(&settings, &Network::new(AddressPolicy::default())).unwrap();
    let stored = write(&open(), &bytes(6 << 20), 1 << 20).await.unwrap();
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let found = read(&open(), &owner("u-1"), &stored.sha256).await.unwrap();
    assert_eq!(found.len(), 6 << 20);
    let missing = read(&open(), &owner("u-1"), &Digest::of(b"other")).await;
    assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
    open().probe(&owner("u-9")).await.unwrap();
}

#[tokio::test]
async fn in_a_folder_that_others_may_read_content_and_records_are_for_this_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings = Settings::folder(dir.path()).unwrap();
    let store = Store::open(&settings, &Network::new(AddressPolicy::default())).unwrap();
    write(&store, &bytes(10), 10).await.unwrap();
    let record: RecordPath = "records/ns/2026-11/r.u-1.json".parse().unwrap();
    store.replace_record(&record, bytes::Bytes::new()).await.unwrap();
    for folder in ["runs", "records", "values"] {
        let mode = std::fs::metadata(dir.path().join(folder))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

#[test]
fn whoever_reads_a_folder_that_is_not_there_does_not_make_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("mistyped");
    let settings = Settings::folder(&folder).unwrap();
    let network = Network::new(AddressPolicy::default());
    let opened = Store::open_to_read(&settings, &network);
    assert!(matches!(opened, Err(OpenError::NoFolder(_))), "{opened:?}");
    assert!(!folder.exists());
    Store::open(&settings, &network).unwrap();
    Store::open_to_read(&settings, &network).unwrap();
}

#[tokio::test]
async fn an_upload_to_a_folder_that_is_interrupted_leaves_nothing_visible() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::folder(dir.path()).unwrap();
    let store = Store::open(&settings, &Network::new(AddressPolicy::default())).unwrap();
    let mut writer = store.write(&owner("u-1"), 64 << 20);
    writer.write(vec![1; 11 << 20].into()).await.unwrap();
    drop(writer);
    assert!(names(&*store.objects).await.is_empty());
}

#[test]
fn an_address_names_a_store_and_holds_no_credentials() {
    for url in ["s3://bucket", "s3://bucket/a/prefix/", "gs://bucket/prefix"] {
        let opened = open(url);
        assert!(opened.is_ok(), "{url}: {opened:?}");
    }
    for url in [
        "https://bucket/x",
        "memory:///",
        "s3:///prefix",
        "s3://bucket?x=y",
        "file://host/folder",
    ] {
        assert!(matches!(open(url), Err(OpenError::Address)), "{url}");
    }
    for url in ["s3://key:secret@bucket/x", "az://key@container"] {
        assert!(matches!(open(url), Err(OpenError::Credentials)), "{url}");
    }
}
