//! Repositories to fetch from.

use std::path::{Path, PathBuf};

use git2::{Repository, Signature, build::TreeUpdateBuilder};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    git::{CommitId, Credentials, GitError, Limits, Mirror, RefName, RefSelector, Remote, Synced},
    net::{AddressPolicy, Network},
};

/// A bare repository with a mirror's directory beside it.
pub(super) struct Fixture {
    dir: TempDir,
    pub(super) repository: Repository,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path().join("origin.git")).unwrap();
        Self { dir, repository }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("origin.git")
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Commits files on top of a branch, or of nothing if there is no such branch.
    pub(super) fn commit(&self, branch: &str, files: &[(&str, &str)], message: &str) -> CommitId {
        let name = format!("refs/heads/{branch}");
        let parent = self
            .repository
            .find_reference(&name)
            .ok()
            .map(|head| head.peel_to_commit().unwrap());
        let id = self.write(parent.as_ref(), files, message);
        self.repository.reference(&name, id.0, true, "test").unwrap();
        id
    }

    /// Points a branch at a new commit without parents.
    pub(super) fn force(&self, branch: &str, files: &[(&str, &str)]) -> CommitId {
        let id = self.write(None, files, "forced");
        self.repository
            .reference(&format!("refs/heads/{branch}"), id.0, true, "test")
            .unwrap();
        id
    }

    fn write(&self, parent: Option<&git2::Commit<'_>>, files: &[(&str, &str)], message: &str) -> CommitId {
        let empty = self.repository.treebuilder(None).unwrap().write().unwrap();
        let base = parent.map_or_else(
            || self.repository.find_tree(empty).unwrap(),
            |parent| parent.tree().unwrap(),
        );
        let mut update = TreeUpdateBuilder::new();
        for (path, content) in files {
            let blob = self.repository.blob(content.as_bytes()).unwrap();
            update.upsert(*path, blob, git2::FileMode::Blob);
        }
        let tree = update.create_updated(&self.repository, &base).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        let who = Signature::now("Dev Eloper", "dev@example.com").unwrap();
        let parents: Vec<_> = parent.into_iter().collect();
        CommitId(
            self.repository
                .commit(None, &who, &who, message, &tree, &parents)
                .unwrap(),
        )
    }

    pub(super) fn mirror(&self) -> Mirror {
        self.mirror_with(Limits::default())
    }

    pub(super) fn mirror_with(&self, limits: Limits) -> Mirror {
        Mirror::new(
            self.dir.path().join("mirror"),
            Network::new(AddressPolicy::local()),
            limits,
        )
    }

    pub(super) fn remote(&self) -> Remote {
        remote(&format!("file://{}", self.path().display()))
    }
}

/// A remote without credentials.
pub(super) fn remote(url: &str) -> Remote {
    Remote {
        url: url.parse().unwrap(),
        credentials: Credentials::default(),
    }
}

pub(super) fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

pub(super) fn named(text: &str) -> RefSelector {
    RefSelector::Name(name(text))
}

/// Where a sync found a ref.
pub(super) fn at(synced: &Synced, text: &str) -> Option<CommitId> {
    synced.refs[&named(text)].as_ref().map(|at| at.commit)
}

pub(super) async fn sync(mirror: &Mirror, remote: Remote, refs: &[&str]) -> Result<Synced, GitError> {
    let refs = refs.iter().map(|text| named(text)).collect();
    mirror.sync(remote, refs, CancellationToken::new()).await
}
