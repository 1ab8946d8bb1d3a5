//! One conversation with a remote: its deadline, its byte count, and the typed error that libgit2 would lose.

use std::{
    cell::RefCell,
    future::Future,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use git2::transport::Transport;
use tokio::{runtime::Handle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    credentials::Credentials, error::GitError, http::HttpTransport, limits::Limits, packs, ssh::SshTransport,
    url::RemoteUrl,
};
use crate::net::Network;

/// Address that libgit2 is given for every remote that we talk to ourselves; the session knows the real one.
const ADDRESS: &str = "signoff://session";
const SCHEME: &str = "signoff";

/// One conversation with a remote.
pub(super) struct Session {
    pub(super) url: RemoteUrl,
    pub(super) credentials: Credentials,
    pub(super) network: Network,
    pub(super) limits: Limits,
    /// Folder of the mirror, for files that other parsers want.
    pub(super) dir: PathBuf,
    runtime: Handle,
    deadline: Instant,
    cancel: CancellationToken,
    received: AtomicU64,
    failure: Mutex<Option<GitError>>,
}

thread_local! {
    /// The session of the libgit2 call that this thread is in: a transport's factory gets no other argument of ours.
    static CURRENT: RefCell<Option<Arc<Session>>> = const { RefCell::new(None) };
}

impl Session {
    /// A session that ends at the limits' deadline. Must be made within a runtime, whose network it uses.
    pub(super) fn new(
        url: RemoteUrl,
        credentials: Credentials,
        network: Network,
        limits: Limits,
        dir: PathBuf,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            url,
            credentials,
            network,
            limits,
            dir,
            runtime: Handle::current(),
            deadline: Instant::now() + limits.deadline,
            cancel,
            received: AtomicU64::new(0),
            failure: Mutex::new(None),
        })
    }

    /// Runs a libgit2 call whose transports use this session; a failure of a transport is given as it was, not as libgit2 tells it.
    pub(super) fn with<T>(
        self: &Arc<Self>,
        call: impl FnOnce() -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        register()?;
        CURRENT.set(Some(Arc::clone(self)));
        let result = call();
        CURRENT.set(None);
        result.map_err(|error| self.take_failure().unwrap_or(error))
    }

    /// The address that libgit2 is given.
    pub(super) fn address(&self) -> String {
        match &self.url {
            file @ RemoteUrl::File(_) => file.to_string(),
            RemoteUrl::Http(_) | RemoteUrl::Ssh(_) => ADDRESS.to_owned(),
        }
    }

    /// What it means that libgit2 could not connect.
    pub(super) fn not_connected(&self, error: git2::Error) -> GitError {
        match self.url {
            // libgit2 opens a local repository here, and only that can fail
            RemoteUrl::File(_) => GitError::NotFound {
                host: self.url.host().to_owned(),
                message: error.message().to_owned(),
            },
            RemoteUrl::Http(_) | RemoteUrl::Ssh(_) => error.into(),
        }
    }

    /// Waits on the network from a blocking thread, but not beyond the deadline, a stall or a cancellation.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, GitError>>) -> Result<T, GitError> {
        let (limit, seconds) = {
            let stall = Instant::now() + self.limits.stall;
            if stall < self.deadline {
                (stall, self.limits.stall.as_secs())
            } else {
                (self.deadline, self.limits.deadline.as_secs())
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(GitError::Cancelled),
                result = tokio::time::timeout_at(limit, work) => {
                    result.unwrap_or(Err(GitError::TimedOut { seconds }))
                }
            }
        })
    }

    /// Counts received bytes against the limit.
    pub(super) fn count(&self, bytes: usize) -> Result<(), GitError> {
        let total = self.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.check_received(total)
    }

    /// Checks a total that libgit2 counted itself, and that the session may go on.
    pub(super) fn check_received(&self, total: u64) -> Result<(), GitError> {
        if total > self.limits.fetch_bytes {
            return Err(GitError::TooLarge {
                limit: self.limits.fetch_bytes,
            });
        }
        if self.cancel.is_cancelled() {
            return Err(GitError::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(GitError::TimedOut {
                seconds: self.limits.deadline.as_secs(),
            });
        }
        Ok(())
    }

    /// Keeps the first failure, for [`Session::with`] to give back.
    pub(super) fn fail(&self, error: GitError) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }

    /// Keeps the failure and gives libgit2 a placeholder.
    pub(super) fn fail_git(&self, error: GitError) -> git2::Error {
        self.fail(error);
        git2::Error::from_str("the transport failed")
    }

    /// Keeps the failure and gives a stream's reader a placeholder.
    pub(super) fn fail_io(&self, error: GitError) -> io::Error {
        self.fail(error);
        io::Error::other("the transport failed")
    }

    fn take_failure(&self) -> Option<GitError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tells libgit2 of our scheme, once a process.
fn register() -> Result<(), GitError> {
    static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        #[allow(
            unsafe_code,
            reason = "libgit2's list of transports is written here only, and once: OnceLock serialises it"
        )]
        let result = unsafe { git2::transport::register(SCHEME, transport) };
        packs::limit();
        result.map_err(|error| error.message().to_owned())
    });
    registered
        .clone()
        .map_err(|message| GitError::Git(git2::Error::from_str(&message)))
}

fn transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let session = CURRENT.with_borrow(Clone::clone);
    let Some(session) = session else {
        return Err(git2::Error::from_str("no session on this thread"));
    };
    match &session.url {
        RemoteUrl::Http(url) => {
            let transport =
                HttpTransport::new(Arc::clone(&session), url.clone()).map_err(|e| session.fail_git(e))?;
            Transport::smart(remote, true, transport)
        }
        RemoteUrl::Ssh(ssh) => Transport::smart(
            remote,
            false,
            SshTransport::new(Arc::clone(&session), ssh.clone()),
        ),
        RemoteUrl::File(_) => Err(git2::Error::from_str("a local remote needs no transport")),
    }
}
