//! Branches of our own, and what people make of them, on a local repository.

use tokio_util::sync::CancellationToken;

use super::fixture::{Fixture, at, name, sync};
use crate::git::{Change, CommitId, GitError, Mirror, ProposedFile, Remote};

pub(super) const FILE: &str = "decisions/shop/r-review.yaml";

pub(super) fn question(base: CommitId) -> ProposedFile {
    ProposedFile {
        branch: name("signoff/shop/r-review"),
        base,
        path: FILE.to_owned(),
        content: "approval: r-review\n".to_owned(),
        message: "A question".to_owned(),
    }
}

/// Proposes, again, and takes the branch away.
pub(super) async fn proposes_once_and_deletes_once(fixture: &Fixture, mirror: &Mirror, remote: Remote) {
    let base = fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    sync(mirror, remote.clone(), &["main"]).await.unwrap();
    let propose = async || {
        let propose = mirror.propose(remote.clone(), question(base), CancellationToken::new());
        propose.await.unwrap()
    };
    assert!(propose().await);
    assert!(!propose().await, "what is there is left as people made it");
    let branch = fixture
        .repository
        .find_reference("refs/heads/signoff/shop/r-review")
        .unwrap();
    let commit = branch.peel_to_commit().unwrap();
    assert_eq!(commit.parent_id(0).unwrap(), base.0);
    let tree = commit.tree().unwrap();
    for path in ["a.yaml", FILE] {
        assert!(tree.get_path(path.as_ref()).is_ok(), "{path}");
    }
    let delete = async || {
        let delete = mirror.delete_branch(
            remote.clone(),
            name("signoff/shop/r-review"),
            CancellationToken::new(),
        );
        delete.await.unwrap()
    };
    assert!(delete().await);
    assert!(!delete().await);
}

#[tokio::test]
async fn a_file_is_proposed_once_and_its_branch_deleted_once() {
    let fixture = Fixture::new();
    proposes_once_and_deletes_once(&fixture, &fixture.mirror(), fixture.remote()).await;
}

/// What a sync of `main` finds of the file.
async fn found(fixture: &Fixture, mirror: &Mirror) -> Vec<Change> {
    let synced = sync(mirror, fixture.remote(), &["main"]).await.unwrap();
    let head = at(&synced, "main").unwrap();
    mirror.changes(head, FILE).await.unwrap()
}

fn merge(fixture: &Fixture, into: CommitId, branch: CommitId) -> CommitId {
    let git = &fixture.repository;
    let (one, other) = (
        git.find_commit(into.0).unwrap(),
        git.find_commit(branch.0).unwrap(),
    );
    let mut index = git.merge_commits(&one, &other, None).unwrap();
    let tree = git.find_tree(index.write_tree_to(git).unwrap()).unwrap();
    let who = git2::Signature::now("Alice", "alice@example.com").unwrap();
    let id = git.commit(
        Some("refs/heads/main"),
        &who,
        &who,
        "Merge",
        &tree,
        &[&one, &other],
    );
    CommitId(id.unwrap())
}

#[tokio::test]
async fn the_merge_is_what_changed_a_file_whatever_came_after_and_whoever_wrote_the_branch() {
    let fixture = Fixture::new();
    let mirror = fixture.mirror();
    fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    assert_eq!(found(&fixture, &mirror).await, []);

    fixture
        .repository
        .branch("asked", &head(&fixture), false)
        .unwrap();
    let asked = fixture.commit("asked", &[(FILE, "x: 1")], "question");
    let into = fixture.commit("main", &[("b.yaml", "b: 1")], "meanwhile");
    let merged = merge(&fixture, into, asked);
    fixture.commit("main", &[("c.yaml", "c: 1")], "after");
    let change = Change {
        commit: merged,
        content: Some(b"x: 1".to_vec()),
        alone: true,
        parents: vec![into, asked],
    };
    assert_eq!(found(&fixture, &mirror).await, [change]);

    let together = fixture.commit("main", &[(FILE, "x: 2"), ("d.yaml", "d: 1")], "more than that");
    let changes = found(&fixture, &mirror).await;
    let told: Vec<_> = changes
        .iter()
        .map(|change| (change.commit, change.alone))
        .collect();
    assert_eq!(told, [(merged, true), (together, false)]);
}

#[tokio::test]
async fn a_branch_that_was_moved_along_was_changed_by_who_wrote_it() {
    let fixture = Fixture::new();
    fixture.commit("main", &[("a.yaml", "a: 1")], "one");
    let asked = fixture.commit("main", &[(FILE, "x: 1")], "question");
    assert_eq!(found(&fixture, &fixture.mirror()).await[0].commit, asked);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read_and_a_push_without_its_base_fails() {
    let fixture = Fixture::new();
    let mirror = fixture.mirror();
    fixture.commit("main", &[(FILE, &"x".repeat(2 << 20))], "large");
    assert_eq!(found(&fixture, &mirror).await[0].content, None);
    let nowhere = CommitId::parse(&"1".repeat(40)).unwrap();
    let pushed = mirror.propose(fixture.remote(), question(nowhere), CancellationToken::new());
    assert!(matches!(pushed.await, Err(GitError::Git(_))));
}

fn head(fixture: &Fixture) -> git2::Commit<'_> {
    let main = fixture.repository.find_reference("refs/heads/main").unwrap();
    main.peel_to_commit().unwrap()
}
