use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, ReadableTable as _, StorageBackend};
use serde_json::{Value, json};

use super::{Action, ChangeKind, Expect, Key, OpenError, Store, WriteError, disk};
use crate::registry::Registry;

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

/// A file on a disk that a test fills up.
#[derive(Debug)]
struct Disk {
    file: File,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.file.write_all_at(data, offset)
    }
}

fn open_on(path: &Path, full: &Arc<AtomicBool>) -> Store {
    let (file, full) = (path.to_owned(), Arc::clone(full));
    let opener = move || {
        let options = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file);
        let disk = Disk {
            file: options?,
            full: Arc::clone(&full),
        };
        Database::builder().create_with_backend(disk)
    };
    let (disk, state) = disk::Disk::open_with(path, Box::new(opener), &registry()).unwrap();
    Store::start(disk, state, registry()).unwrap().0
}

async fn well_again(store: &Store) {
    while !store.healthy() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_disk_that_was_full_takes_writes_again_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (path, full) = (dir.path().join("store.redb"), Arc::<AtomicBool>::default());
    let store = open_on(&path, &full);
    let first = put(&store, "a", Expect::Absent, "1").await.unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = put(&store, "a", Expect::Revision(first), "2").await;
        assert!(matches!(refused, Err(WriteError::Full)), "{refused:?}");
        assert!(!store.healthy());
    }
    assert_eq!(
        store.get(&key("a")).unwrap().value()["data"]["k"],
        "1",
        "it is read as it was"
    );
    full.store(false, Ordering::SeqCst);
    let second = put(&store, "a", Expect::Revision(first), "3").await.unwrap();
    assert!(second > first && store.healthy());
    put(&store, "b", Expect::Absent, "1").await.unwrap();
    drop(store);
    let store = open_on(&path, &full);
    assert_eq!(store.get(&key("a")).unwrap().value()["data"]["k"], "3");
    assert!(store.get(&key("b")).is_some());
}

#[tokio::test]
async fn a_disk_that_has_room_again_is_noticed_while_nobody_writes() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::<AtomicBool>::default();
    let store = open_on(&dir.path().join("store.redb"), &full);
    full.store(true, Ordering::SeqCst);
    put(&store, "a", Expect::Absent, "1").await.unwrap_err();
    assert!(!store.healthy());
    full.store(false, Ordering::SeqCst);
    well_again(&store).await;
    // what was refused is not there, whatever the disk had of it
    let there = store.get(&key("a")).is_some();
    let again = put(&store, "a", Expect::Absent, "2").await;
    assert_eq!(matches!(again, Err(WriteError::Exists)), there, "{again:?}");
}

fn raw(path: &Path) -> Database {
    Database::create(path).unwrap()
}

const OBJECTS: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("objects");

#[tokio::test]
async fn an_object_that_cannot_be_read_is_set_aside_and_comes_back_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = open(&dir);
    put(&store, "a", Expect::Absent, "1").await.unwrap();
    let last = put(&store, "b", Expect::Absent, "1").await.unwrap();
    drop(store);
    let deep = format!(
        r#"{{"metadata":{{"name":"deep"}},"data":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let db = raw(&path);
    let write = db.begin_write().unwrap();
    {
        let mut objects = write.open_table(OBJECTS).unwrap();
        objects
            .insert("configmaps/default/deep", deep.as_bytes())
            .unwrap();
        objects
            .insert("configmaps/default/torn", &b"{\"metadata\""[..])
            .unwrap();
        objects.insert("no key", &b"{}"[..]).unwrap();
    }
    write.commit().unwrap();
    drop(db);
    for _ in 0..2 {
        let store = open(&dir);
        assert_eq!(store.list("configmaps", None, None, None).unwrap().items.len(), 2);
        assert_eq!(store.revision(), last);
    }
    let db = raw(&path);
    let reasons: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("unreadable-reasons");
    let aside: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("unreadable");
    let write = db.begin_write().unwrap();
    {
        let reasons = write.open_table(reasons).unwrap();
        let of = |key: &str| reasons.get(key).unwrap().unwrap().value().to_owned();
        assert!(of("configmaps/default/deep").contains("recursion"));
        assert!(of("configmaps/default/torn").contains("EOF"));
        assert!(of("no key").contains("key"));
        let mended = object("torn", "mended");
        let mut mended = mended.clone();
        mended["metadata"]["resourceVersion"] = "1".into();
        let mut aside = write.open_table(aside).unwrap();
        aside
            .insert("configmaps/default/torn", mended.to_string().as_bytes())
            .unwrap();
    }
    write.commit().unwrap();
    drop(db);
    let store = open(&dir);
    assert_eq!(store.get(&key("torn")).unwrap().value()["data"]["k"], "mended");
    put(&store, "deep", Expect::Absent, "its name is free")
        .await
        .unwrap();
}
