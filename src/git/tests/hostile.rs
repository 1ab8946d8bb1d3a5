//! Repositories whose content is made to harm whoever reads them.

use git2::{ObjectType, Oid};

use super::fixture::{Fixture, sync};
use crate::git::{CommitId, Limits, Tree};
use signoff_api::reason::{Classified as _, ErrorClass};

const FILE: i32 = 0o100_644;
const LINK: i32 = 0o120_000;
const FOLDER: i32 = 0o040_000;

impl Fixture {
    fn blob(&self, content: &[u8]) -> Oid {
        self.repository.blob(content).unwrap()
    }

    /// A tree with any entries at all, as only a hostile client writes them.
    fn tree(&self, entries: &[(i32, &[u8], Oid)]) -> Oid {
        let mut raw = Vec::new();
        for (mode, name, id) in entries {
            raw.extend_from_slice(format!("{mode:o} ").as_bytes());
            raw.extend_from_slice(name);
            raw.push(0);
            raw.extend_from_slice(id.as_bytes());
        }
        self.repository
            .odb()
            .unwrap()
            .write(ObjectType::Tree, &raw)
            .unwrap()
    }

    fn commit_tree(&self, tree: Oid) -> CommitId {
        let raw = format!("tree {tree}\nauthor A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n\nhostile\n");
        self.point(self.write_raw(ObjectType::Commit, raw.as_bytes()))
    }

    fn write_raw(&self, kind: ObjectType, raw: &[u8]) -> Oid {
        self.repository.odb().unwrap().write(kind, raw).unwrap()
    }

    fn point(&self, commit: Oid) -> CommitId {
        self.repository
            .reference("refs/heads/main", commit, true, "test")
            .unwrap();
        CommitId(commit)
    }
}

async fn read(fixture: &Fixture, commit: CommitId, folder: &str, limits: Limits) -> Tree {
    let mirror = fixture.mirror_with(limits);
    sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    mirror.read(commit, folder).await.unwrap()
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.files.iter().map(|file| file.path.as_str()).collect()
}

fn told(tree: &Tree) -> Vec<(&str, &str)> {
    let problems = tree.problems.iter();
    problems
        .map(|problem| (problem.path.as_str(), problem.message.as_str()))
        .collect()
}

#[tokio::test]
async fn names_that_git_does_not_allow_are_told_and_not_read() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"apiVersion: signoff.dev/v1alpha1\n");
    let other = fixture.blob(b"a: 1");
    let inner = fixture.tree(&[(FILE, b"in.yaml", blob)]);
    let tree = fixture.tree(&[
        (FILE, b"of\x1banother tool.json", other),
        (FOLDER, b"..", inner),
        (FOLDER, b".", inner),
        (FOLDER, b".GIT", inner),
        (FILE, b"../../etc/cron.yaml", blob),
        (FILE, b"a\nb.yaml", blob),
        (FILE, b"caf\xe9.yaml", blob),
        (FOLDER, b"dir\xff", inner),
        (FILE, b"good.yaml", blob),
        (FILE, b"good.yaml", inner),
        (FOLDER, b"readme", inner),
        (FILE, b"\xfe.txt", blob),
    ]);
    let commit = fixture.commit_tree(tree);
    let tree = read(&fixture, commit, "", Limits::default()).await;
    assert_eq!(paths(&tree), ["good.yaml", "readme/in.yaml"]);
    let refused = "git allows no entry of this name; it is not read";
    let bytes = "the name is not UTF-8; it is not read";
    assert_eq!(
        told(&tree),
        [
            ("..", refused),
            (".", refused),
            (".GIT", refused),
            ("../../etc/cron.yaml", refused),
            ("a␊b.yaml", "the name has control characters; it is not read"),
            ("caf\u{fffd}.yaml", bytes),
            ("dir\u{fffd}", bytes),
            (
                "good.yaml",
                "its folder has another entry of this name; it is not read"
            ),
        ]
    );
    assert!(!tree.complete, "a flow may be in what was not read");
}

#[tokio::test]
async fn a_folder_that_is_a_link_a_submodule_or_a_file_is_told_as_such() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"a: 1");
    let link = fixture.blob(b"../elsewhere");
    let tree = fixture.tree(&[
        (FILE, b"file", blob),
        (LINK, b"link", link),
        (0o160_000, b"module", blob),
    ]);
    let commit = fixture.commit_tree(tree);
    let mirror = fixture.mirror();
    sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    for (folder, says) in [
        ("link/flows", "\"link\" is a symbolic link"),
        ("module", "\"module\" is a submodule"),
        ("file", "\"file\" is a file"),
        ("../link", "there is no folder \"..\""),
        ("none/at/all", "there is no folder \"none\""),
    ] {
        let error = mirror.read(commit, folder).await.unwrap_err();
        assert_eq!(
            (error.class(), error.reason()),
            (ErrorClass::Invalid, "PathNotFound")
        );
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_told_by_its_line() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"apiVersion: signoff.dev/v1alpha1\nb: caf\xe9\n");
    let tree = fixture.tree(&[(FILE, b"latin.yaml", blob)]);
    let commit = fixture.commit_tree(tree);
    let tree = read(&fixture, commit, "", Limits::default()).await;
    let problem = &tree.problems[0];
    assert_eq!(
        (problem.line, problem.column, problem.message.as_str()),
        (Some(2), Some(7), "the file is not UTF-8 text")
    );
}

#[tokio::test]
async fn a_blob_of_100_mb_is_told_by_its_size_and_not_loaded() {
    let fixture = Fixture::new();
    let size = 100 << 20;
    let blob = fixture.blob(&vec![b'#'; size]);
    let small = fixture.blob(b"a: 1");
    let tree = fixture.tree(&[
        (FILE, b"huge.bin", blob),
        (FILE, b"huge.yaml", blob),
        (FILE, b"small.yaml", small),
    ]);
    let commit = fixture.commit_tree(tree);
    let tree = read(&fixture, commit, "", Limits::default()).await;
    assert_eq!(paths(&tree), ["small.yaml"]);
    // so large is no manifest; other tools have such files
    assert_eq!(told(&tree), []);
    assert_eq!(tree.passed_over, [("huge.yaml".to_owned(), None)]);
    assert!(tree.complete);
}

#[tokio::test]
async fn a_hundred_thousand_files_are_read_in_part_and_told_in_a_few_words() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"a: 1");
    let names: Vec<String> = (0..100_000).map(|number| format!("{number:06}.yaml")).collect();
    let entries: Vec<(i32, &[u8], Oid)> = names.iter().map(|name| (FILE, name.as_bytes(), blob)).collect();
    let files = fixture.tree(&entries);
    let links: Vec<(i32, &[u8], Oid)> = names.iter().map(|name| (LINK, name.as_bytes(), blob)).collect();
    let links = fixture.tree(&links);
    let commit = fixture.commit_tree(fixture.tree(&[(FOLDER, b"a", links), (FOLDER, b"b", files)]));
    let tree = read(&fixture, commit, "", Limits::default()).await;
    assert_eq!((tree.files.len(), tree.complete), (2_000, false));
    assert_eq!(tree.passed_over.len(), 100_000);
    assert_eq!(
        told(&tree),
        [
            (
                "b/002000.yaml",
                "there are more than 2000 manifests; this one is not read"
            ),
            ("b/", "there are more than 200000 entries; the rest is not read"),
        ]
    );
}

#[tokio::test]
async fn folders_that_hold_one_another_many_times_over_end_at_the_bound_of_entries() {
    let fixture = Fixture::new();
    // each level holds the one below ten times: ten to the power of twenty files in twenty small objects
    let mut tree = fixture.tree(&[(FILE, b"a.yaml", fixture.blob(b"a: 1"))]);
    let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    for _ in 0..20 {
        let entries: Vec<(i32, &[u8], Oid)> =
            names.iter().map(|name| (FOLDER, name.as_bytes(), tree)).collect();
        tree = fixture.tree(&entries);
    }
    let commit = fixture.commit_tree(tree);
    let limits = Limits {
        entries: 20_000,
        ..Limits::default()
    };
    let tree = read(&fixture, commit, "", limits).await;
    assert!(!tree.complete);
    assert_eq!(tree.problems.len(), 2, "{:?}", told(&tree));
}

#[tokio::test]
async fn an_object_too_large_to_be_loaded_is_told_with_what_it_is() {
    let fixture = Fixture::new();
    let limits = Limits {
        object_bytes: 1 << 10,
        ..Limits::default()
    };
    let blob = fixture.blob(b"a: 1");
    let names: Vec<String> = (0..100).map(|number| format!("{number}.yaml")).collect();
    let entries: Vec<(i32, &[u8], Oid)> = names.iter().map(|name| (FILE, name.as_bytes(), blob)).collect();
    let wide = fixture.tree(&entries);
    let commit = fixture.commit_tree(fixture.tree(&[(FILE, b"a.yaml", blob), (FOLDER, b"wide", wide)]));
    let tree = read(&fixture, commit, "", limits).await;
    assert_eq!((paths(&tree), tree.complete), (vec!["a.yaml"], false));
    assert_eq!(
        told(&tree),
        [("wide/", "the folder's list has 3490 bytes; at most 1024 are read")]
    );

    let empty = fixture.tree(&[]);
    let author = "A <a@b> 0 +0000";
    let raw = format!(
        "tree {empty}\nauthor {author}\ncommitter {author}\n\n{}",
        "x".repeat(2_000)
    );
    fixture.point(fixture.write_raw(ObjectType::Commit, raw.as_bytes()));
    let mirror = fixture.mirror_with(limits);
    let error = sync(&mirror, fixture.remote(), &["main"]).await.unwrap_err();
    assert_eq!(
        (error.class(), error.reason()),
        (ErrorClass::Invalid, "ObjectTooLarge")
    );
    assert!(error.to_string().contains("1024 bytes"), "{error}");
}

#[tokio::test]
async fn tags_of_tags_without_end_are_not_followed() {
    let fixture = Fixture::new();
    let mut target = (fixture.commit("main", &[("a.yaml", "a: 1")], "one").0, "commit");
    for level in 0..20 {
        let (id, kind) = target;
        let raw = format!("object {id}\ntype {kind}\ntag t{level}\ntagger A <a@b> 0 +0000\n\nx\n");
        target = (fixture.write_raw(ObjectType::Tag, raw.as_bytes()), "tag");
    }
    fixture
        .repository
        .reference("refs/tags/t", target.0, true, "test")
        .unwrap();
    let error = sync(&fixture.mirror(), fixture.remote(), &["refs/tags/t"])
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "CommitNotFound");
}
