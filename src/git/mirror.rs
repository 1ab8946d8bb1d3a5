//! A bare repository on disk that follows some refs of a remote.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use git2::{
    AutotagOption, Direction, ErrorCode, FetchOptions, Oid, RemoteCallbacks, Repository,
    RepositoryInitOptions,
};
use tokio_util::sync::CancellationToken;

use super::{
    commit::CommitId,
    credentials::Credentials,
    error::GitError,
    limits::Limits,
    object, packs,
    refs::{RefAt, RefName, RefSelector},
    session::Session,
    tree::{self, Tree},
    url::{RemoteUrl, UrlError},
    verify::{self, SignatureError, Signed, SignedBy},
};
use crate::net::Network;

/// Most files of packs that a mirror gathers, two or three a fetch.
const MAX_PACK_FILES: usize = 400;

/// A remote and how to log in there.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it is.
    pub url: RemoteUrl,
    /// How to log in.
    pub credentials: Credentials,
}

/// What a sync found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Where each ref is; none where the remote has no such ref.
    pub refs: BTreeMap<RefSelector, Option<RefAt>>,
    /// Whether anything had to be fetched.
    pub fetched: bool,
}

/// A bare repository on disk that follows some refs of a remote. Syncs of one mirror must not overlap.
#[derive(Clone, Debug)]
pub struct Mirror {
    dir: PathBuf,
    network: Network,
    limits: Limits,
    /// Whether what was before is fetched too.
    history: bool,
}

impl Mirror {
    /// A mirror in a directory of its own, which is made by the first sync.
    pub fn new(dir: impl Into<PathBuf>, network: Network, limits: Limits) -> Self {
        Self {
            dir: dir.into(),
            network,
            limits,
            history: false,
        }
    }

    /// The same with the history of its refs, which [`Mirror::changes`] needs.
    #[must_use]
    pub fn with_history(self) -> Self {
        Self {
            history: true,
            ..self
        }
    }

    /// Asks the remote where the refs are, and fetches what the mirror does not have, as a rule without its history. Forced pushes and deleted refs are as good as any.
    ///
    /// # Errors
    /// Any [`GitError`]; the mirror stays usable, and is made anew by the next sync if it was damaged.
    pub async fn sync(
        &self,
        remote: Remote,
        refs: Vec<RefSelector>,
        cancel: CancellationToken,
    ) -> Result<Synced, GitError> {
        let depth = i32::from(!self.history);
        self.with_remote(remote, cancel, move |session, repository| {
            follow(session, repository, refs, depth)
        })
        .await
    }

    /// Talks with the remote, on a thread for it.
    pub(super) async fn with_remote<T: Send + 'static>(
        &self,
        remote: Remote,
        cancel: CancellationToken,
        talk: impl FnOnce(&Arc<Session>, &Repository) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        if matches!(remote.url, RemoteUrl::File(_)) && !self.network.allows_file() {
            return Err(UrlError::FileRefused.into());
        }
        let session = Session::new(
            remote.url,
            remote.credentials,
            self.network.clone(),
            self.limits,
            self.dir.clone(),
            cancel,
        );
        blocking(move || {
            let dir = session.dir.clone();
            if needs_reclone(&dir, session.limits.fetch_bytes) {
                remove(&dir)?;
            }
            let repository = open_or_make(&dir)?;
            let result = session.with(|| talk(&session, &repository));
            if matches!(result, Err(GitError::Git(_) | GitError::Missing(_))) {
                drop(repository);
                // perhaps it is the mirror that is damaged; it holds nothing that cannot be fetched again
                remove(&dir)?;
            }
            result
        })
        .await
    }

    /// Reads what is on disk, on a thread for it.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Repository, &Limits) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let (dir, limits) = (self.dir.clone(), self.limits);
        blocking(move || work(&Repository::open_bare(&dir)?, &limits)).await
    }

    /// Reads the manifests below a folder of a commit; an empty folder name is the whole tree.
    ///
    /// # Errors
    /// When the mirror has no such commit or the commit no such folder. Bad files are not errors but [`Tree::problems`].
    pub async fn read(&self, commit: CommitId, folder: &str) -> Result<Tree, GitError> {
        let (dir, folder) = (self.dir.clone(), folder.to_owned());
        self.look(move |repository, limits| {
            let tree = tree::read(repository, commit, &folder, limits);
            if matches!(tree, Err(GitError::Git(_) | GitError::Missing(_))) {
                // what is missing or damaged here is not missed by the next fetch unless all of it is made anew
                remove(&dir)?;
            }
            tree
        })
        .await
    }

    /// The signature by which a ref, as it was last seen, vouches for a commit.
    ///
    /// # Errors
    /// When the mirror has no such commit. That there is no signature is not an error of the mirror but the inner one.
    pub async fn signed(
        &self,
        name: &RefName,
        commit: CommitId,
        by: SignedBy,
    ) -> Result<Result<Signed, SignatureError>, GitError> {
        let name = name.clone();
        self.look(move |repository, _| verify::read(repository, &name, commit, by))
            .await
    }

    /// Removes the mirror from the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub async fn remove(&self) -> Result<(), GitError> {
        let dir = self.dir.clone();
        blocking(move || remove(&dir)).await
    }
}

/// Runs blocking work on a thread for it. The runtime gives up on such work only when it ends itself.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(GitError::Git(git2::Error::from_str(
            "this repository makes libgit2 fail",
        ))),
        Err(_) => Err(GitError::Cancelled),
    }
}

fn open_or_make(dir: &Path) -> Result<Repository, GitError> {
    match Repository::open_bare(dir) {
        Ok(repository) => return Ok(repository),
        Err(error) if error.code() == ErrorCode::NotFound => {}
        Err(_) => remove(dir)?,
    }
    std::fs::create_dir_all(dir).map_err(GitError::Directory)?;
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false);
    Ok(Repository::init_opts(dir, &options)?)
}

/// Whether so much has gathered that starting anew is better: each fetch leaves a pack, and what forced pushes took away stays. Nothing in
/// a mirror is worth more than another fetch.
fn needs_reclone(dir: &Path, fetch_bytes: u64) -> bool {
    let Ok(packs) = std::fs::read_dir(dir.join("objects/pack")) else {
        return false;
    };
    let sizes = packs
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len());
    let (files, bytes) = sizes.fold((0, 0), |(files, bytes): (usize, u64), size| {
        (files + 1, bytes.saturating_add(size))
    });
    files > MAX_PACK_FILES || bytes > fetch_bytes.saturating_mul(2)
}

fn remove(dir: &Path) -> Result<(), GitError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(GitError::Directory(error)),
        _ => Ok(()),
    }
}

fn follow(
    session: &Arc<Session>,
    repository: &Repository,
    refs: Vec<RefSelector>,
    depth: i32,
) -> Result<Synced, GitError> {
    let mut remote = repository.remote_anonymous(&session.address())?;
    let mut connection = remote
        .connect_auth(Direction::Fetch, None, None)
        .map_err(|error| session.not_connected(error))?;
    let heads: BTreeMap<String, Oid> = connection
        .list()?
        .iter()
        .map(|head| (head.name().to_owned(), head.oid()))
        .collect();
    let found: Vec<(RefSelector, Option<(RefName, Oid)>)> = refs
        .into_iter()
        .map(|wanted| {
            let name = wanted.select(heads.keys().map(String::as_str));
            let at = name.and_then(|name| heads.get(name.as_str()).map(|oid| (name.clone(), *oid)));
            (wanted, at)
        })
        .collect();
    let present = || found.iter().filter_map(|(_, at)| at.as_ref());

    let odb = repository.odb()?;
    let missing: Vec<String> = present()
        .filter(|(_, oid)| !odb.exists(*oid))
        .map(|(name, _)| format!("+{name}:{}", name.mirrored()))
        .collect();
    if !missing.is_empty() {
        // only what the refs hold is read, never what was before
        fetch(session, connection.remote(), &missing, depth)?;
    }
    drop(connection);
    keep(repository, &present().collect::<Vec<_>>())?;
    let located = |(name, oid)| -> Result<RefAt, GitError> {
        let commit = peel(session, repository, oid)?;
        Ok(RefAt { name, commit })
    };
    let commits = found
        .into_iter()
        .map(|(wanted, at)| Ok((wanted, at.map(located).transpose()?)));
    Ok(Synced {
        refs: commits.collect::<Result<_, GitError>>()?,
        fetched: !missing.is_empty(),
    })
}

/// Fetches refs with so many commits of their history, or with all of it where the remote gives no part; 0 is all of it.
pub(super) fn fetch(
    session: &Session,
    remote: &mut git2::Remote<'_>,
    refs: &[String],
    depth: i32,
) -> Result<(), GitError> {
    // libgit2 reads a local repository whole
    let depth = if matches!(session.url, RemoteUrl::File(_)) {
        0
    } else {
        depth
    };
    let fetched = match download(session, remote, refs, depth) {
        Err(error) if depth > 0 && lacks_shallow(&error) => download(session, remote, refs, 0),
        result => result,
    };
    fetched.map_err(packs::named)
}

/// Fetches refs with so many commits of their history; 0 is all of it.
fn download(
    session: &Session,
    remote: &mut git2::Remote<'_>,
    refs: &[String],
    depth: i32,
) -> Result<(), git2::Error> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|progress| {
        let checked = session.check_received(progress.received_bytes() as u64);
        checked.map_err(|error| session.fail(error)).is_ok()
    });
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false)
        .depth(depth);
    remote.download(refs, Some(&mut options))
}

/// Whether the server does not know of shallow fetches; libgit2 says so before it asks for anything, and in words only.
fn lacks_shallow(error: &git2::Error) -> bool {
    error.message().contains("doesn't support shallow")
}

/// Points the mirror's refs at what was found, so that the next fetch can tell the remote what is here.
fn keep(repository: &Repository, found: &[&(RefName, Oid)]) -> Result<(), GitError> {
    for reference in repository.references_glob("refs/mirror/*")? {
        let mut reference = reference?;
        let name = reference.name().unwrap_or_default().to_owned();
        if !found.iter().any(|(wanted, _)| wanted.mirrored() == name) {
            reference.delete()?;
        }
    }
    for (name, oid) in found {
        repository.reference(&name.mirrored(), *oid, true, "sync")?;
    }
    Ok(())
}

/// The commit that a ref's object is or, as an annotated tag, points at.
fn peel(session: &Session, repository: &Repository, oid: Oid) -> Result<CommitId, GitError> {
    Ok(CommitId(
        object::commit_of(repository, oid, &session.limits)?.id(),
    ))
}
