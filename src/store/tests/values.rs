//! Values of flows: versions, and those who write at the same time.

use std::{collections::BTreeSet, time::Duration};

use object_store::ObjectStoreExt as _;
use serde_json::{Value, json};
use signoff_api::bounds::{MAX_VALUE, MAX_VALUES};

use super::*;

fn path(name: &str) -> ValuePath {
    ValuePath {
        namespace: "payments".into(),
        flow: "content".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn version(key: &str, value: Value) -> Version {
    Version {
        number: 0,
        updated_at: "2026-12-01T10:00:00Z".parse().unwrap(),
        author: Author::Run("r".into()),
        key: key.into(),
        value,
    }
}

#[tokio::test]
async fn each_write_is_the_next_version_and_the_newest_one_is_read() {
    let (store, _) = in_memory();
    assert_eq!(store.value(&path("memory")).await.unwrap(), None);
    for n in 1..=12 {
        let written = store
            .put_value(
                &path("memory"),
                None,
                version(&format!("k{n}"), json!({ "n": n })),
            )
            .await;
        assert_eq!(written.unwrap().number, n);
    }
    let found = store.value(&path("memory")).await.unwrap().unwrap();
    assert_eq!((found.number, found.value), (12, json!({ "n": 12 })));
    assert_eq!(store.value(&path("other")).await.unwrap(), None);
    let elsewhere = ValuePath {
        namespace: "other".into(),
        ..path("memory")
    };
    assert_eq!(store.value(&elsewhere).await.unwrap(), None);
    let listed = store.list_values("payments", &path("memory").flow).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed["memory"].version, 12);
}

#[tokio::test]
async fn a_write_that_is_repeated_is_found_again_also_when_others_have_written_since() {
    let (store, _) = in_memory();
    let first = version("k1", json!("mine"));
    store.put_value(&path("m"), Some(0), first.clone()).await.unwrap();
    store
        .put_value(&path("m"), None, version("k2", json!("theirs")))
        .await
        .unwrap();
    // the expected version is that before the first attempt
    let again = store.put_value(&path("m"), Some(0), first).await.unwrap();
    assert_eq!((again.number, again.value), (1, json!("mine")));
    let found = store.value(&path("m")).await.unwrap().unwrap();
    assert_eq!((found.number, found.value), (2, json!("theirs")));
}

#[tokio::test]
async fn a_write_over_another_version_than_expected_is_refused() {
    let (store, _) = in_memory();
    store
        .put_value(&path("m"), Some(0), version("k1", json!(1)))
        .await
        .unwrap();
    for (key, expected) in [("k2", 0), ("k3", 2)] {
        let refused = store
            .put_value(&path("m"), Some(expected), version(key, json!(2)))
            .await;
        assert!(
            matches!(refused, Err(PutError::Conflict { found: 1, .. })),
            "{expected}: {refused:?}"
        );
    }
    let written = store
        .put_value(&path("m"), Some(1), version("k4", json!(2)))
        .await;
    assert_eq!(written.unwrap().number, 2);
}

#[tokio::test]
async fn a_write_that_is_refused_leaves_nothing() {
    let (store, objects) = in_memory();
    let refused = store
        .put_value(&path("m"), Some(3), version("k1", json!(1)))
        .await;
    assert!(
        matches!(refused, Err(PutError::Conflict { found: 0, .. })),
        "{refused:?}"
    );
    let large = json!("x".repeat(MAX_VALUE));
    let refused = store.put_value(&path("m"), None, version("k2", large)).await;
    assert!(matches!(refused, Err(PutError::TooLarge(_))), "{refused:?}");
    assert_eq!(folder::names(&*objects).await, Vec::<String>::new());
}

/// As when an operator that was taken for dead goes on beside the one that follows it.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_one_write_that_run_at_the_same_time_write_one_version() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::folder(&dir.path().join("store")).unwrap();
    let network = crate::net::Network::new(crate::net::AddressPolicy::default());
    let store = Store::open(&settings, &network).unwrap();
    let others = (0..4).map(|other| {
        let store = store.clone();
        let key = format!("other-{other}");
        tokio::spawn(async move {
            store
                .put_value(&path("m"), None, version(&key, json!("theirs")))
                .await
        })
    });
    let others: Vec<_> = others.collect();
    let attempts = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .put_value(&path("m"), None, version("k", json!("mine")))
                .await
        })
    });
    let attempts: Vec<_> = attempts.collect();
    let mut written = BTreeSet::new();
    for attempt in attempts {
        written.insert(attempt.await.unwrap().unwrap().number);
    }
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(written.len(), 1, "{written:?}");
    let found = store.value(&path("m")).await.unwrap().unwrap();
    assert_eq!(found.number, 5);
}

/// Several add one to a number at the same time, in a folder: each reads, and writes what follows from that version alone.
#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_write_at_the_same_time_nobody_loses_what_another_has_written() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::folder(&dir.path().join("store")).unwrap();
    let store = Store::open(
        &settings,
        &crate::net::Network::new(crate::net::AddressPolicy::default()),
    )
    .unwrap();
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            let mut tries = 0;
            while done < 5 {
                tries += 1;
                let found = store.value(&path("count")).await.unwrap();
                let (number, count) =
                    found.map_or((0, 0), |found| (found.number, found.value.as_i64().unwrap()));
                let key = format!("{writer}.{tries}");
                match store
                    .put_value(&path("count"), Some(number), version(&key, json!(count + 1)))
                    .await
                {
                    Ok(_) => done += 1,
                    Err(PutError::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let found = store.value(&path("count")).await.unwrap().unwrap();
    assert_eq!((found.number, found.value), (40, json!(40)));
}

#[tokio::test]
async fn old_versions_go_when_the_value_is_written_and_new_ones_stay() {
    let (store, objects) = in_memory();
    for n in 0..30 {
        store
            .put_value(&path("m"), None, version(&format!("k{n}"), json!(n)))
            .await
            .unwrap();
    }
    // in memory every object is new
    assert_eq!(folder::names(&*objects).await.len(), 60);
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::folder(dir.path()).unwrap();
    let store = Store::open(
        &settings,
        &crate::net::Network::new(crate::net::AddressPolicy::default()),
    )
    .unwrap();
    for n in 0..30 {
        store
            .put_value(&path("m"), None, version(&format!("k{n}"), json!(n)))
            .await
            .unwrap();
    }
    let folder = dir.path().join("values/payments/content/m");
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(2);
    for begun in [folder.clone(), folder.join("begun")] {
        for entry in std::fs::read_dir(begun).unwrap() {
            let file = std::fs::File::open(entry.unwrap().path()).unwrap();
            if file.metadata().unwrap().is_file() {
                file.set_modified(long_ago).unwrap();
            }
        }
    }
    store
        .put_value(&path("m"), None, version("last", json!("last")))
        .await
        .unwrap();
    let files: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('0'))
        .collect();
    // of the thirty the newest twenty, and the last
    assert_eq!(files.len(), 21, "{files:?}");
    let left = std::fs::read_dir(folder.join("begun")).unwrap().count();
    assert_eq!(left, 1);
    let found = store.value(&path("m")).await.unwrap().unwrap();
    assert_eq!((found.number, found.value), (31, json!("last")));
}

#[tokio::test]
async fn there_are_bounds_on_how_large_and_how_many_values_are() {
    let (store, objects) = in_memory();
    let large = store
        .put_value(&path("m"), None, version("k", json!("x".repeat(MAX_VALUE))))
        .await;
    assert!(matches!(large, Err(PutError::TooLarge(_))), "{large:?}");
    for n in 0..MAX_VALUES {
        store
            .put_value(&path(&format!("v{n}")), None, version("k", json!(n)))
            .await
            .unwrap();
    }
    let one_more = store
        .put_value(&path("one-more"), None, version("k", json!(0)))
        .await;
    assert!(matches!(one_more, Err(PutError::TooMany(_))), "{one_more:?}");
    store
        .put_value(&path("v3"), None, version("k2", json!(0)))
        .await
        .unwrap();
    // what somebody else has put there is no version
    let place = format!(
        "{}/values/payments/content/v4/00000000000000000009.json",
        store.root
    );
    objects.put(&Path::from(place), "{}".into()).await.unwrap();
    let found = store.value(&path("v4")).await;
    assert!(matches!(found, Err(StoreError::HashMismatch)), "{found:?}");
}
