//! A real forge for tests: Gitea on loopback ports, with users, tokens, pull requests, reviews and signed webhooks.
//!
//! `tests/forge/build.sh` builds it. Where it is missing the suites that need it say so and do not run; with `SIGNOFF_REQUIRE_FORGE`
//! set they fail instead. All tests of a process share one, so names come from a counter.
#![allow(clippy::large_futures, reason = "a test's future is polled where it was made")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get is its failure, in its helpers too"
)]

mod account;
mod checkout;
mod client;
mod deciders;
mod fixture;
mod flaky;
mod line;
mod people;
mod pulls;
mod relay;
mod repos;
mod scenarios;
mod server;
mod stage;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each of the test programs uses a part of it"
)]
mod support;
mod traps;
mod walk;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use account::Account;
use checkout::Checkout;
use deciders::Deciders;
use pulls::Pull;
use relay::Relay;
use repos::Repo;
use stage::Stage;

use server::Server;

use support::{
    controlplane::{self, PATIENCE},
    world,
};

static SHARED: LazyLock<Option<Forge>> = LazyLock::new(|| Forge::start("a forge"));

/// A running Gitea; it ends with the test process, however that ends.
#[derive(Debug)]
pub struct Forge {
    server: Server,
    admin: Account,
    names: AtomicUsize,
}

impl Forge {
    /// Starts one, or says on the terminal why `suite` does not run. Blocks.
    pub fn start(suite: &str) -> Option<Self> {
        let folder = match built() {
            Ok(folder) => folder,
            Err(missing) => return not_run(suite, &missing),
        };
        let server = Server::start(&folder);
        let admin = server.create_admin();
        Some(Self {
            server,
            admin,
            names: AtomicUsize::new(0),
        })
    }

    /// The one that all tests of this process share, started by the first who asks; `None` as in [`Forge::start`].
    pub async fn shared(suite: &str) -> Option<&'static Self> {
        if let Err(missing) = built() {
            return not_run(suite, &missing);
        }
        tokio::task::spawn_blocking(|| SHARED.as_ref()).await.unwrap()
    }

    /// Who may do everything on it.
    pub fn admin(&self) -> &Account {
        &self.admin
    }

    /// Its base address, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Address of a repository over http.
    pub fn http_url(&self, repo: &Repo) -> String {
        format!("{}/{}/{}.git", self.url(), repo.owner, repo.name)
    }

    /// Address of a repository over ssh.
    pub fn ssh_url(&self, repo: &Repo) -> String {
        format!(
            "ssh://git@127.0.0.1:{}/{}/{}.git",
            self.server.ssh, repo.owner, repo.name
        )
    }

    /// The line of `known_hosts` for its ssh server.
    pub fn known_hosts(&self) -> String {
        self.known_hosts_with(&self.server.host_key)
    }

    /// The line of `known_hosts` as if its ssh server had this public key.
    pub fn known_hosts_with(&self, key: &str) -> String {
        format!("[127.0.0.1]:{} {key}\n", self.server.ssh)
    }

    /// A name that nobody else on it has.
    pub fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }
}

/// An ssh key for tests: the private one in OpenSSH format, and the public one.
pub fn ssh_key() -> (String, String) {
    use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    (
        key.to_openssh(LineEnding::LF).unwrap().to_string(),
        key.public_key().to_openssh().unwrap(),
    )
}

/// Looks until there is something, which must not take for ever.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("there is no {what}"))
}

/// The folder that `tests/forge/build.sh` fills.
fn built() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/forge");
    if folder.join("gitea").exists() && folder.join("static").exists() {
        Ok(folder)
    } else {
        Err("no forge; build it with tests/forge/build.sh".to_owned())
    }
}

fn not_run<T>(suite: &str, missing: &str) -> Option<T> {
    assert!(
        std::env::var_os("SIGNOFF_REQUIRE_FORGE").is_none(),
        "{suite}: {missing}"
    );
    // written past the test runner, which keeps what a passing test prints to itself
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {suite}: {missing}");
    None
}
