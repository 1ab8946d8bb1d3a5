use std::sync::Arc;

use serde_json::{Value, json};

use super::{Action, ChangeKind, Expect, Key, OpenError, Store, WriteError};
use crate::local::registry::Registry;

fn registry() -> Arc<Registry> {
    Arc::new(Registry::new([]))
}

fn key(name: &str) -> Key {
    Key {
        resource: "configmaps".to_owned(),
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn object(name: &str, data: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "data": {"k": data}})
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("store.redb"), registry()).unwrap().0
}

async fn put(store: &Store, name: &str, expect: Expect, data: &str) -> Result<u64, WriteError> {
    Ok(store
        .write(key(name), expect, Action::Put(object(name, data)))
        .await?
        .revision)
}

#[tokio::test]
async fn a_write_needs_the_revision_it_expects() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let first = put(&store, "a", Expect::Absent, "1").await.unwrap();
    assert!(matches!(
        put(&store, "a", Expect::Absent, "2").await,
        Err(WriteError::Exists)
    ));
    let second = put(&store, "a", Expect::Revision(first), "2").await.unwrap();
    assert!(second > first);
    assert!(matches!(
        put(&store, "a", Expect::Revision(first), "3").await,
        Err(WriteError::Stale)
    ));
    assert!(matches!(
        put(&store, "b", Expect::Revision(first), "3").await,
        Err(WriteError::Missing)
    ));
}

#[tokio::test]
async fn everything_written_is_there_after_reopening_and_revisions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let first = put(&store, "a", Expect::Absent, "1").await.unwrap();
    put(&store, "b", Expect::Absent, "1").await.unwrap();
    let gone = store
        .write(key("b"), Expect::Revision(first + 1), Action::Delete(None))
        .await
        .unwrap();
    drop(store);
    let store = open(&dir);
    assert_eq!(store.revision(), gone.revision);
    assert_eq!(store.get(&key("a")).unwrap().value()["data"]["k"], "1");
    assert!(store.get(&key("b")).is_none());
    assert!(store.changes("configmaps", gone.revision).unwrap().0.is_empty());
    assert!(
        store.changes("configmaps", first).is_err(),
        "history does not outlive the process"
    );
    assert!(put(&store, "c", Expect::Absent, "1").await.unwrap() > gone.revision);
}

#[tokio::test]
async fn a_list_at_an_earlier_revision_shows_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    put(&store, "a", Expect::Absent, "old").await.unwrap();
    let then = put(&store, "b", Expect::Absent, "1").await.unwrap();
    let a = store.get(&key("a")).unwrap().revision;
    put(&store, "a", Expect::Revision(a), "new").await.unwrap();
    put(&store, "c", Expect::Absent, "1").await.unwrap();
    store
        .write(key("b"), Expect::Revision(then), Action::Delete(None))
        .await
        .unwrap();
    let page = store
        .list("configmaps", Some("default"), Some(then), None)
        .unwrap();
    let names: Vec<_> = page.items.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(page.items[0].value()["data"]["k"], "old");
    let now = store
        .list("configmaps", None, None, Some(("default", "a")))
        .unwrap();
    assert_eq!(now.items.len(), 1);
}

#[tokio::test]
async fn changes_tell_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let first = put(&store, "a", Expect::Absent, "1").await.unwrap();
    let second = put(&store, "a", Expect::Revision(first), "2").await.unwrap();
    store
        .write(key("a"), Expect::Revision(second), Action::Delete(None))
        .await
        .unwrap();
    let (changes, upto) = store.changes("configmaps", first).unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(upto, second + 1);
    assert_eq!(changes[0].previous.as_ref().unwrap().revision, first);
    assert_eq!(changes[1].kind, ChangeKind::Delete);
    assert_eq!(
        changes[1].current.value()["metadata"]["resourceVersion"],
        (second + 1).to_string()
    );
}

#[test]
fn a_store_in_use_damaged_or_newer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let again = Store::open(&dir.path().join("store.redb"), registry());
    assert!(matches!(again, Err(OpenError::InUse(_))));
    drop(store);
    let garbage = dir.path().join("garbage.redb");
    std::fs::write(
        &garbage,
        b"not a store at all, but long enough to be read as a header",
    )
    .unwrap();
    assert!(matches!(
        Store::open(&garbage, registry()),
        Err(OpenError::Corrupt { .. })
    ));
    let newer = dir.path().join("newer.redb");
    let db = redb::Database::create(&newer).unwrap();
    let write = db.begin_write().unwrap();
    let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    write.open_table(table).unwrap().insert("format", 99).unwrap();
    write.commit().unwrap();
    drop(db);
    assert!(matches!(
        Store::open(&newer, registry()),
        Err(OpenError::Newer { found: 99, .. })
    ));
}
