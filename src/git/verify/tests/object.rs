//! What commits and tags carry, in a repository on disk.

use git2::{ObjectType, Oid, Repository};
use k8s_openapi::jiff::Timestamp;

use super::NOW;
use crate::git::{
    CommitId, GitError, RefName,
    verify::{SignatureError, Signed, SignedBy, TrustedKeys, read},
};
use signoff_api::release::{SignedObject, Verified};

/// A mirror with objects of our own.
struct Store {
    _dir: tempfile::TempDir,
    repository: Repository,
}

const SSH_COMMIT: &str = include_str!("made_by_git/ssh.commit");
const SSH_TAG: &str = include_str!("made_by_git/ssh.tag");
const OPENPGP_COMMIT: &str = include_str!("made_by_git/openpgp.commit");
const OPENPGP_TAG: &str = include_str!("made_by_git/openpgp.tag");

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        Self {
            _dir: dir,
            repository,
        }
    }

    fn put(&self, kind: ObjectType, text: &str) -> Oid {
        let odb = self.repository.odb().unwrap();
        odb.write(kind, text.as_bytes()).unwrap()
    }

    /// Points the mirror of a ref at an object.
    fn point(&self, name: &RefName, at: Oid) {
        self.repository
            .reference(&name.mirrored(), at, true, "test")
            .unwrap();
    }

    fn read(
        &self,
        name: &RefName,
        commit: Oid,
        by: SignedBy,
    ) -> Result<Result<Signed, SignatureError>, GitError> {
        read(&self.repository, name, CommitId(commit), by)
    }

    fn judge(&self, name: &RefName, commit: Oid, by: SignedBy) -> Result<Verified, SignatureError> {
        let signed = self.read(name, commit, by).unwrap()?;
        keys().verify(&signed, Timestamp::from_second(NOW).unwrap())
    }
}

fn keys() -> TrustedKeys {
    let mut keys = TrustedKeys::default();
    keys.add_openpgp("gpg", include_str!("made_by_git/key.asc"))
        .unwrap();
    keys.add_ssh("ssh", include_str!("made_by_git/key.pub")).unwrap();
    keys
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

#[test]
fn commits_that_git_signed_are_verified_and_one_letter_more_is_not() {
    let store = Store::new();
    for (text, key) in [(SSH_COMMIT, "ssh"), (OPENPGP_COMMIT, "gpg")] {
        let judge = |text: &str| {
            let commit = store.put(ObjectType::Commit, text);
            store.judge(&name("main"), commit, SignedBy::Commit)
        };
        let found = judge(text).unwrap();
        assert_eq!((found.key.as_str(), found.object), (key, SignedObject::Commit));
        let changed = judge(&text.replace("Signed with", "Also signed with"));
        assert!(
            matches!(changed, Err(SignatureError::Mismatch { .. })),
            "{changed:?}"
        );
        let changed = judge(&text.replace("author Dev", "author Boss"));
        assert!(
            matches!(changed, Err(SignatureError::Mismatch { .. })),
            "{changed:?}"
        );
    }
}

#[test]
fn tags_that_git_signed_are_verified_and_one_letter_more_is_not() {
    let store = Store::new();
    for (text, of, tag, key) in [
        (SSH_TAG, SSH_COMMIT, "refs/tags/v2", "ssh"),
        (OPENPGP_TAG, OPENPGP_COMMIT, "refs/tags/v1", "gpg"),
    ] {
        let commit = store.put(ObjectType::Commit, of);
        let judge = |text: &str| {
            store.point(&name(tag), store.put(ObjectType::Tag, text));
            store.judge(&name(tag), commit, SignedBy::Tag)
        };
        let found = judge(text).unwrap();
        assert_eq!((found.key.as_str(), found.object), (key, SignedObject::Tag));
        let changed = judge(&text.replace("tagger Dev", "tagger Boss"));
        assert!(
            matches!(changed, Err(SignatureError::Mismatch { .. })),
            "{changed:?}"
        );
        // what is signed ends where the last signature begins
        let doubled = judge(
            &text
                .replace("tagger Dev", "tagger Boss")
                .replace("-----BEGIN", &format!("{text}-----BEGIN")),
        );
        assert!(
            matches!(doubled, Err(SignatureError::Mismatch { .. })),
            "{doubled:?}"
        );
    }
}

#[test]
fn a_good_tag_does_not_pass_under_another_name_nor_for_another_commit() {
    let store = Store::new();
    let commit = store.put(ObjectType::Commit, SSH_COMMIT);
    let other = store.put(ObjectType::Commit, OPENPGP_COMMIT);
    store.point(&name("refs/tags/v9"), store.put(ObjectType::Tag, SSH_TAG));
    assert_eq!(
        store.judge(&name("refs/tags/v9"), commit, SignedBy::Tag),
        Err(SignatureError::OtherTag {
            says: "v2".to_owned(),
            wanted: "v9".to_owned()
        })
    );
    store.point(&name("refs/tags/v2"), store.put(ObjectType::Tag, SSH_TAG));
    let found = store.read(&name("refs/tags/v2"), other, SignedBy::Tag);
    assert!(matches!(found, Err(GitError::NoCommit(_))), "{found:?}");
}

#[test]
fn what_is_not_signed_is_told_from_what_is_signed_badly() {
    let store = Store::new();
    let bare = SSH_COMMIT
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("gpgsig") && !line.starts_with(' '))
        .collect::<String>();
    let commit = store.put(ObjectType::Commit, &bare);
    assert_eq!(
        store.judge(&name("main"), commit, SignedBy::Commit),
        Err(SignatureError::Missing(SignedObject::Commit))
    );
    let tag = name("refs/tags/v2");
    store.point(&tag, commit);
    assert_eq!(
        store.judge(&tag, commit, SignedBy::Tag),
        Err(SignatureError::NotAnnotated("refs/tags/v2".to_owned()))
    );
    let (unsigned, _) = SSH_TAG.split_once("-----BEGIN").unwrap();
    let unsigned = unsigned.replace(&SSH_TAG[7..47], &commit.to_string());
    store.point(&tag, store.put(ObjectType::Tag, &unsigned));
    assert_eq!(
        store.judge(&tag, commit, SignedBy::Tag),
        Err(SignatureError::Missing(SignedObject::Tag))
    );
    // a branch has no tag, so its commit has to be signed
    let signed = store.put(ObjectType::Commit, SSH_COMMIT);
    let found = store.judge(&name("main"), signed, SignedBy::Tag).unwrap();
    assert_eq!(found.object, SignedObject::Commit);
}

#[test]
fn a_commit_that_is_not_there_or_is_huge_is_not_looked_at() {
    let store = Store::new();
    let missing = Oid::from_str(&"1".repeat(40)).unwrap();
    let found = store.read(&name("main"), missing, SignedBy::Commit);
    assert!(matches!(found, Err(GitError::NoCommit(_))), "{found:?}");
    let huge = store.put(
        ObjectType::Commit,
        &format!("{SSH_COMMIT}{}", "x".repeat(2 << 20)),
    );
    let found = store.read(&name("main"), huge, SignedBy::Commit).unwrap();
    assert!(matches!(found, Err(SignatureError::TooLarge { .. })), "{found:?}");
}
