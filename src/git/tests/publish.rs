//! Commits to branches of a remote: made once, and over nobody's work.

use std::sync::{Arc, atomic::AtomicBool};

use k8s_openapi::jiff::Timestamp;
use russh::keys::{Algorithm, PrivateKey};
use tokio_util::sync::CancellationToken;

use super::fixture::{Fixture, name};
use crate::git::{
    Author, CommitId, CommittedContent, CommittedFile, GitError, Mirror, NewCommit, Publication, Published,
    RefName, Remote, TrustedKeys,
};
use signoff_api::step::IfExists;

/// A file with this content, or one that goes.
pub(super) fn file(path: &str, content: Option<&str>) -> CommittedFile {
    CommittedFile {
        path: path.to_owned(),
        content: content.map(|text| CommittedContent {
            bytes: text.as_bytes().to_vec(),
            executable: None,
        }),
    }
}

/// The commit of a pass of a run's step.
pub(super) fn commit(key: &str, files: Vec<CommittedFile>) -> NewCommit {
    NewCommit {
        files,
        message: "Fix it".to_owned(),
        about: vec![("Signoff-Run", "default/r".to_owned())],
        key: key.to_owned(),
        if_exists: None,
        author: None,
        signing_key: None,
    }
}

pub(super) fn to(branch: &str, commit: NewCommit) -> Publication {
    Publication {
        branch: name(branch),
        base: None,
        into: Some(name("main")),
        commit: Some(commit),
        sent: Arc::new(AtomicBool::new(false)),
    }
}

/// Publishes with a mirror of its own, as each call does.
pub(super) async fn publish(
    fixture: &Fixture,
    remote: Remote,
    publication: Publication,
) -> Result<Published, GitError> {
    let mirror: Mirror = fixture.mirror();
    let published = mirror
        .publish(remote, publication, CancellationToken::new())
        .await;
    mirror.remove().await.unwrap();
    published
}

fn tip<'a>(fixture: &'a Fixture, branch: &str) -> Option<git2::Commit<'a>> {
    let name: RefName = name(branch);
    let found = fixture.repository.find_reference(name.as_str()).ok()?;
    Some(found.peel_to_commit().unwrap())
}

fn content(fixture: &Fixture, commit: &git2::Commit<'_>, path: &str) -> Option<(String, i32)> {
    let tree = commit.tree().unwrap();
    let entry = tree.get_path(path.as_ref()).ok()?;
    let blob = fixture.repository.find_blob(entry.id()).unwrap();
    Some((
        String::from_utf8(blob.content().to_vec()).unwrap(),
        entry.filemode(),
    ))
}

fn begun() -> (Fixture, CommitId) {
    let fixture = Fixture::new();
    fixture.repository.set_head("refs/heads/main").unwrap();
    let files = [("a.txt", "a"), ("dir/b.txt", "b"), ("gone/c.txt", "c")];
    let base = fixture.commit("main", &files, "one");
    (fixture, base)
}

async fn on_disk(fixture: &Fixture, publication: Publication) -> Result<Published, GitError> {
    publish(fixture, fixture.remote(), publication).await
}

#[tokio::test]
async fn files_are_written_changed_and_deleted_on_top_of_the_default_branch() {
    let (fixture, base) = begun();
    let files = vec![
        file("a.txt", Some("A")),
        file("new/deep/d.txt", Some("d")),
        file("gone/c.txt", None),
        file("never.txt", None),
        CommittedFile {
            path: "run.sh".to_owned(),
            content: Some(CommittedContent {
                bytes: b"#!/bin/sh\n".to_vec(),
                executable: Some(true),
            }),
        },
    ];
    let author = Author {
        name: "Refund Bot".to_owned(),
        email: "bot@example.com".to_owned(),
    };
    let new = NewCommit {
        author: Some(author),
        ..commit("u/fix/1", files)
    };
    let published = on_disk(&fixture, to("fix", new)).await.unwrap();
    assert!(published.changed && published.is_ahead);
    let made = tip(&fixture, "fix").unwrap();
    assert_eq!(CommitId(made.id()), published.commit);
    assert_eq!(made.parent_id(0).unwrap(), base.0);
    assert_eq!(made.author().email(), Ok("bot@example.com"));
    assert_eq!(
        made.message(),
        Ok("Fix it\n\nSignoff-Run: default/r\nSignoff-Key: u/fix/1\n")
    );
    let is = |path: &str| content(&fixture, &made, path);
    assert_eq!(is("a.txt").unwrap().0, "A");
    assert_eq!(is("dir/b.txt").unwrap().0, "b");
    assert_eq!(is("new/deep/d.txt").unwrap().0, "d");
    assert_eq!(is("run.sh").unwrap().1, 0o100_755);
    let tree = made.tree().unwrap();
    assert!(tree.get_name("gone").is_none(), "no empty folder is left");
    assert!(tree.get_name("never.txt").is_none());

    // what is not said of a file stays as it is
    let again = commit("u/fix/2", vec![file("run.sh", Some("#!/bin/bash\n"))]);
    on_disk(&fixture, to("fix", again)).await.unwrap();
    let made = tip(&fixture, "fix").unwrap();
    assert_eq!(content(&fixture, &made, "run.sh").unwrap().1, 0o100_755);
}

#[tokio::test]
async fn a_commit_that_is_there_is_adopted_whoever_pushed_after_it() {
    let (fixture, _) = begun();
    let again = || to("fix", commit("u/fix/1", vec![file("a.txt", Some("A"))]));
    let first = on_disk(&fixture, again()).await.unwrap();
    assert_eq!(on_disk(&fixture, again()).await.unwrap(), first);
    let after = fixture.commit("fix", &[("other.txt", "x")], "somebody's");
    assert_eq!(on_disk(&fixture, again()).await.unwrap(), first);
    assert_eq!(CommitId(tip(&fixture, "fix").unwrap().id()), after);
}

#[tokio::test]
async fn trailers_that_somebody_else_wrote_onto_other_content_are_not_believed() {
    let (fixture, _) = begun();
    fixture.commit("main", &[("main.txt", "more")], "two");
    fixture.commit("fix", &[("a.txt", "a")], "base");
    let forged = fixture.commit("fix", &[("evil.txt", "x")], "Fix it\n\nSignoff-Key: u/fix/1");
    let new = NewCommit {
        if_exists: Some(IfExists::Append),
        ..commit("u/fix/1", vec![file("a.txt", Some("A"))])
    };
    let published = on_disk(&fixture, to("fix", new)).await.unwrap();
    assert_ne!(published.commit, forged);
    assert_eq!(tip(&fixture, "fix").unwrap().parent_id(0).unwrap(), forged.0);
}

#[tokio::test]
async fn a_branch_that_is_there_is_added_to_only_by_its_run_or_where_the_flow_says_so() {
    let (fixture, base) = begun();
    let theirs = fixture.commit("fix", &[("theirs.txt", "x")], "somebody's");
    let new = |key: &str, if_exists| NewCommit {
        if_exists,
        ..commit(key, vec![file("a.txt", Some(key))])
    };
    for if_exists in [None, Some(IfExists::Fail)] {
        let failed = on_disk(&fixture, to("fix", new("u/fix/1", if_exists))).await;
        assert!(matches!(failed, Err(GitError::BranchExists(_))), "{failed:?}");
    }
    let failed = on_disk(&fixture, to("fix", new("u/fix/1", Some(IfExists::Reset)))).await;
    let Err(GitError::OthersWork { commit: whose, .. }) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(whose, theirs.short());
    assert_eq!(CommitId(tip(&fixture, "fix").unwrap().id()), theirs);

    on_disk(&fixture, to("fix", new("u/fix/1", Some(IfExists::Append))))
        .await
        .unwrap();
    assert_eq!(tip(&fixture, "fix").unwrap().parent_id(0).unwrap(), theirs.0);
    // by now the run has committed to it
    on_disk(&fixture, to("fix", new("u/fix/2", None))).await.unwrap();
    let failed = on_disk(&fixture, to("fix", new("other/fix/1", None))).await;
    assert!(matches!(failed, Err(GitError::BranchExists(_))), "{failed:?}");

    on_disk(&fixture, to("own", new("u/own/1", None))).await.unwrap();
    on_disk(&fixture, to("own", new("u2/own/1", Some(IfExists::Reset))))
        .await
        .unwrap();
    let made = tip(&fixture, "own").unwrap();
    assert_eq!((made.parent_count(), made.parent_id(0).unwrap()), (1, base.0));
}

#[tokio::test]
async fn nothing_is_committed_where_nothing_changes() {
    let (fixture, base) = begun();
    let new = commit("u/fix/1", vec![file("a.txt", Some("a")), file("not.txt", None)]);
    let published = on_disk(&fixture, to("fix", new)).await.unwrap();
    assert_eq!(
        (published.commit, published.changed, published.is_ahead),
        (base, false, false)
    );
    assert!(tip(&fixture, "fix").is_none());
}

#[tokio::test]
async fn a_branch_is_found_without_a_commit_and_one_that_is_not_there_is_told() {
    let (fixture, base) = begun();
    let only = |branch: &str| Publication {
        commit: None,
        ..to(branch, commit("", vec![]))
    };
    let missing = on_disk(&fixture, only("fix")).await;
    assert!(matches!(missing, Err(GitError::NoBranch(name)) if name == "fix"));
    fixture
        .repository
        .branch("fix", &fixture.repository.find_commit(base.0).unwrap(), false)
        .unwrap();
    assert!(!on_disk(&fixture, only("fix")).await.unwrap().is_ahead);
    let head = fixture.commit("fix", &[("x.txt", "x")], "x");
    let published = on_disk(&fixture, only("fix")).await.unwrap();
    assert_eq!(
        (published.commit, published.changed, published.is_ahead),
        (head, false, true)
    );

    let based = Publication {
        base: Some(name("nowhere")),
        ..to("new", commit("u/new/1", vec![file("a.txt", Some("A"))]))
    };
    let missing = on_disk(&fixture, based).await;
    assert!(matches!(missing, Err(GitError::NoBranch(name)) if name == "nowhere"));
}

#[tokio::test]
async fn a_branch_that_was_merged_has_nothing_for_a_pull_request() {
    let (fixture, _) = begun();
    let new = || commit("u/fix/1", vec![file("b.txt", Some("b"))]);
    assert!(on_disk(&fixture, to("fix", new())).await.unwrap().is_ahead);
    let git = &fixture.repository;
    let (fix, main) = (tip(&fixture, "fix").unwrap(), tip(&fixture, "main").unwrap());
    let who = git2::Signature::now("Dev", "dev@example.com").unwrap();
    let parents = [&main, &fix];
    let merge = "refs/heads/main";
    git.commit(
        Some(merge),
        &who,
        &who,
        "Merge fix",
        &fix.tree().unwrap(),
        &parents,
    )
    .unwrap();
    // the same step once more, another one that changes nothing, and one without a commit
    let nothing = commit("u/fix/2", vec![file("b.txt", Some("b"))]);
    let only = Publication {
        commit: None,
        ..to("fix", new())
    };
    for again in [to("fix", new()), to("fix", nothing), only] {
        let published = on_disk(&fixture, again).await.unwrap();
        assert!(!published.is_ahead, "{published:?}");
    }
    let more = commit("u/fix/3", vec![file("c.txt", Some("c"))]);
    assert!(on_disk(&fixture, to("fix", more)).await.unwrap().is_ahead);
}

/// A tree with a link to elsewhere, one to a file, and a submodule.
fn with_links(fixture: &Fixture) {
    let git = &fixture.repository;
    let blob = git.blob(b"/etc").unwrap();
    let head = tip(fixture, "main").unwrap();
    let mut builder = git.treebuilder(Some(&head.tree().unwrap())).unwrap();
    builder.insert("link", blob, 0o120_000).unwrap();
    builder.insert("sub", head.id(), 0o160_000).unwrap();
    let tree = git.find_tree(builder.write().unwrap()).unwrap();
    let who = git2::Signature::now("Dev", "dev@example.com").unwrap();
    git.commit(Some("refs/heads/main"), &who, &who, "links", &tree, &[&head])
        .unwrap();
}

#[tokio::test]
async fn no_path_leads_over_a_link_a_submodule_a_folder_or_a_file() {
    let (fixture, _) = begun();
    with_links(&fixture);
    for (path, why) in [
        ("link/passwd", "link is a link"),
        ("link", "it is a link"),
        ("Link/passwd", "differs in case only"),
        ("LINK", "differs in case only"),
        ("sub/x", "sub is a submodule"),
        ("Sub", "differs in case only"),
        ("dir", "it is a folder"),
        ("a.txt/x", "a.txt is a file"),
    ] {
        for content in [Some("x"), None] {
            let new = commit("u/fix/1", vec![file("ok.txt", Some("x")), file(path, content)]);
            let failed = on_disk(&fixture, to("fix", new)).await;
            let Err(GitError::PathRefused {
                path: told,
                why: said,
            }) = failed
            else {
                panic!("{path}: {failed:?}");
            };
            assert_eq!(told, path);
            assert!(said.contains(why), "{path}: {said}");
        }
    }
    assert!(tip(&fixture, "fix").is_none());
    // what is beside them stays
    let new = commit("u/fix/1", vec![file("ok.txt", Some("x"))]);
    on_disk(&fixture, to("fix", new)).await.unwrap();
    let made = tip(&fixture, "fix").unwrap();
    assert_eq!(
        made.tree().unwrap().get_name("link").unwrap().filemode(),
        0o120_000
    );
}

#[tokio::test]
async fn a_commit_is_signed_as_git_signs_with_ssh() {
    let (fixture, _) = begun();
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let new = NewCommit {
        signing_key: Some(Arc::new(key.clone())),
        ..commit("u/fix/1", vec![file("a.txt", Some("A"))])
    };
    let published = on_disk(&fixture, to("fix", new)).await.unwrap();
    let mirror = fixture.mirror();
    super::fixture::sync(&mirror, fixture.remote(), &["fix"])
        .await
        .unwrap();
    let signed = mirror
        .signed_commit(&name("fix"), published.commit)
        .await
        .unwrap()
        .unwrap();
    let mut keys = TrustedKeys::default();
    keys.add_ssh("bot", &key.public_key().to_openssh().unwrap())
        .unwrap();
    keys.verify(&signed, Timestamp::now()).unwrap();
    assert!(
        tip(&fixture, "fix")
            .unwrap()
            .message()
            .unwrap()
            .contains("Signoff-Key: u/fix/1")
    );
}
