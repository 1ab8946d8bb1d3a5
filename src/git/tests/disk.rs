//! What a mirror follows and what it reads, on local repositories.

use tokio_util::sync::CancellationToken;

use super::fixture::{Fixture, at, remote, sync};
use crate::{
    git::{CommitId, GitError, Limits, Mirror, RefSelector},
    net::{AddressPolicy, Network},
};
use signoff_api::reason::{Classified as _, ErrorClass};

#[tokio::test]
async fn fetches_once_and_then_only_what_moved() {
    let fixture = Fixture::new();
    let first = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let mirror = fixture.mirror();
    let synced = sync(&mirror, fixture.remote(), &["main", "live"]).await.unwrap();
    assert_eq!((at(&synced, "main"), at(&synced, "live")), (Some(first), None));
    assert!(synced.fetched);

    let again = sync(&mirror, fixture.remote(), &["main", "live"]).await.unwrap();
    assert_eq!((again.refs, again.fetched), (synced.refs, false));

    let second = fixture.commit("main", &[("b.yaml", "b: 1")], "two");
    let moved = sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    assert_eq!((at(&moved, "main"), moved.fetched), (Some(second), true));
    assert_eq!(mirror.read(second, "").await.unwrap().files.len(), 2);
    assert_eq!(mirror.read(first, "").await.unwrap().files.len(), 1);
}

#[tokio::test]
async fn follows_forced_pushes_deleted_branches_and_annotated_tags() {
    let fixture = Fixture::new();
    fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let mirror = fixture.mirror();
    sync(&mirror, fixture.remote(), &["main"]).await.unwrap();

    let forced = fixture.force("main", &[("other.yaml", "b: 1")]);
    let synced = sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    assert_eq!(at(&synced, "main"), Some(forced));
    assert_eq!(mirror.read(forced, "").await.unwrap().files[0].path, "other.yaml");

    let who = git2::Signature::now("a", "b").unwrap();
    let object = fixture.repository.find_object(forced.0, None).unwrap();
    fixture
        .repository
        .tag("v1", &object, &who, "annotated", false)
        .unwrap();
    let tagged = sync(&mirror, fixture.remote(), &["refs/tags/v1"]).await.unwrap();
    assert_eq!(at(&tagged, "refs/tags/v1"), Some(forced));

    fixture
        .repository
        .find_reference("refs/heads/main")
        .unwrap()
        .delete()
        .unwrap();
    let gone = sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    assert_eq!(at(&gone, "main"), None);
}

#[tokio::test]
async fn the_tag_of_the_highest_version_is_followed_up_and_down() {
    let fixture = Fixture::new();
    let first = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let second = fixture.commit("main", &[("a.yaml", "a: 2")], "two");
    let light = |tag: &str, commit: CommitId| {
        let object = fixture.repository.find_object(commit.0, None).unwrap();
        fixture.repository.tag_lightweight(tag, &object, true).unwrap();
    };
    let mirror = fixture.mirror();
    let versions = || vec![RefSelector::HighestTag("v*".parse().unwrap())];
    let highest = async || {
        let synced = mirror
            .sync(fixture.remote(), versions(), CancellationToken::new())
            .await
            .unwrap();
        let found = synced.refs.into_values().next().unwrap();
        found.map(|at| (at.name.to_string(), at.commit))
    };
    assert_eq!(highest().await, None);
    light("v1.9.0", first);
    assert_eq!(highest().await, Some(("refs/tags/v1.9.0".to_owned(), first)));
    light("v1.10.0", second);
    light("nightly", first);
    assert_eq!(highest().await, Some(("refs/tags/v1.10.0".to_owned(), second)));
    fixture.repository.tag_delete("v1.10.0").unwrap();
    assert_eq!(highest().await, Some(("refs/tags/v1.9.0".to_owned(), first)));
}

#[tokio::test]
async fn reads_manifests_of_a_folder_with_the_commit_that_holds_them() {
    let fixture = Fixture::new();
    let files = [
        ("flows/refund.yaml", "kind: Flow"),
        ("flows/deep/er/x.yml", "x: 1"),
        ("flows/y.JSON", "{}"),
        ("flows/readme.md", "# no"),
        ("other.yaml", "not: here"),
    ];
    let id = fixture.commit("main", &files, "Add flows\n\nwith a body");
    let mirror = fixture.mirror();
    sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    for folder in ["flows", "/flows/", "./flows"] {
        let tree = mirror.read(id, folder).await.unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            ["flows/deep/er/x.yml", "flows/refund.yaml", "flows/y.JSON"],
            "{folder}"
        );
        assert_eq!(
            (tree.commit.author.as_str(), tree.commit.message.as_str()),
            ("Dev Eloper <dev@example.com>", "Add flows")
        );
        assert!(tree.complete && tree.problems.is_empty());
    }
    assert_eq!(mirror.read(id, ".").await.unwrap().files.len(), 4);
    let missing = mirror.read(id, "flows/readme.md").await.unwrap_err();
    assert_eq!(
        (missing.class(), missing.reason()),
        (ErrorClass::Invalid, "PathNotFound")
    );
    let nothing = CommitId::parse("0123456789012345678901234567890123456789").unwrap();
    assert_eq!(
        mirror.read(nothing, "").await.unwrap_err().reason(),
        "CommitNotFound"
    );
}

#[tokio::test]
async fn a_bad_entry_is_named_and_does_not_hold_back_the_good_ones() {
    let fixture = Fixture::new();
    let id = fixture.commit(
        "main",
        &[
            ("good.yaml", "a: 1"),
            (
                "huge.yaml",
                &format!("apiVersion: signoff.dev/v1alpha1{}", " ".repeat((2 << 20) - 32)),
            ),
        ],
        "one",
    );
    let tree = fixture.repository.find_commit(id.0).unwrap().tree().unwrap();
    let mut update = git2::build::TreeUpdateBuilder::new();
    let target = fixture.repository.blob(b"/etc/passwd").unwrap();
    update.upsert("link.yaml", target, git2::FileMode::Link);
    update.upsert("module", id.0, git2::FileMode::Commit);
    update.upsert(
        "binary.yaml",
        fixture
            .repository
            .blob(b"apiVersion: signoff.dev/v1alpha1\nx: \xff\xfe")
            .unwrap(),
        git2::FileMode::Blob,
    );
    let tree = update.create_updated(&fixture.repository, &tree).unwrap();
    let tree = fixture.repository.find_tree(tree).unwrap();
    let who = git2::Signature::now("a", "b").unwrap();
    let id = CommitId(
        fixture
            .repository
            .commit(Some("refs/heads/odd"), &who, &who, "odd", &tree, &[])
            .unwrap(),
    );

    let mirror = fixture.mirror();
    sync(&mirror, fixture.remote(), &["odd"]).await.unwrap();
    let tree = mirror.read(id, "").await.unwrap();
    assert_eq!(
        tree.files
            .iter()
            .map(|file| file.path.as_str())
            .collect::<Vec<_>>(),
        ["good.yaml"]
    );
    let problems: Vec<_> = tree
        .problems
        .iter()
        .map(|problem| (problem.path.as_str(), problem.message.as_str()))
        .collect();
    assert_eq!(
        problems,
        [
            ("binary.yaml", "the file is not UTF-8 text"),
            (
                "huge.yaml",
                "the file has 2097152 bytes; a manifest may have 1048576"
            ),
        ]
    );
    assert!(tree.complete);
}

#[tokio::test]
async fn a_tree_beyond_the_bounds_is_read_in_part_and_says_so() {
    let fixture = Fixture::new();
    let id = fixture.commit(
        "main",
        &[("a.yaml", "1"), ("b.yaml", "2"), ("c/d/e/f.yaml", "3")],
        "one",
    );
    let mirror = fixture.mirror_with(Limits {
        files: 1,
        depth: 2,
        ..Limits::default()
    });
    sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    let tree = mirror.read(id, "").await.unwrap();
    assert_eq!(
        (tree.files.len(), tree.problems.len(), tree.complete),
        (1, 2, false)
    );
}

#[tokio::test]
async fn a_local_remote_is_refused_unless_allowed_and_a_missing_one_is_named() {
    let fixture = Fixture::new();
    let strict = Mirror::new(
        fixture.root().join("strict"),
        Network::new(AddressPolicy::default()),
        Limits::default(),
    );
    let refused = sync(&strict, fixture.remote(), &["main"]).await.unwrap_err();
    assert_eq!(
        (refused.class(), refused.reason()),
        (ErrorClass::Invalid, "InvalidURL")
    );
    let missing = sync(&fixture.mirror(), remote("file:///nowhere/at/all.git"), &["main"])
        .await
        .unwrap_err();
    assert!(matches!(missing, GitError::NotFound { .. }), "{missing:?}");
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    let fixture = Fixture::new();
    let id = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let mirror = fixture.mirror();
    sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    std::fs::write(fixture.root().join("mirror/HEAD"), "garbage").unwrap();
    std::fs::remove_dir_all(fixture.root().join("mirror/objects")).unwrap();
    let mut last = sync(&mirror, fixture.remote(), &["main"]).await;
    if last.is_err() {
        last = sync(&mirror, fixture.remote(), &["main"]).await;
    }
    assert_eq!(at(&last.unwrap(), "main"), Some(id));
    assert_eq!(mirror.read(id, "").await.unwrap().files.len(), 1);
}

#[tokio::test]
async fn a_mirror_in_which_much_has_gathered_starts_anew() {
    let fixture = Fixture::new();
    let first = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let mirror = fixture.mirror();
    sync(&mirror, fixture.remote(), &["main"]).await.unwrap();
    for number in 0..500 {
        std::fs::write(
            fixture
                .root()
                .join(format!("mirror/objects/pack/old-{number}.idx")),
            "",
        )
        .unwrap();
    }
    let second = fixture.force("main", &[("b.yaml", "b: 1")]);
    assert!(sync(&mirror, fixture.remote(), &["main"]).await.unwrap().fetched);
    assert_eq!(mirror.read(second, "").await.unwrap().files.len(), 1);
    assert_eq!(
        mirror.read(first, "").await.unwrap_err().reason(),
        "CommitNotFound"
    );
}
