//! Git without a checkout: fetch into a bare mirror, read manifests from a commit's tree, verify signatures, commit and push.
//!
//! libgit2 is built without its own TLS and ssh. http(s) runs over the same TLS stack as everything else and ssh over a
//! pure Rust implementation, both as transports of our own. libgit2 blocks, so all of it runs on blocking threads; a deadline and
//! a cancellation cut every wait on the network.

mod change;
mod commit;
mod credentials;
mod error;
mod http;
mod limits;
mod listing;
mod mirror;
mod object;
mod packs;
mod publish;
mod push;
mod refs;
mod rest;
mod session;
mod ssh;
mod tags;
mod tree;
mod url;
mod verify;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use commit::{CommitId, CommitInfo};
pub use credentials::{Credentials, Secret};
pub use error::GitError;
pub use limits::Limits;
pub use mirror::{Mirror, Remote, Synced};
pub use publish::{Author, CommittedContent, CommittedFile, NewCommit, Publication, Published};
pub use push::ProposedFile;
pub use refs::{RefAt, RefName, RefNameError, RefSelector};
pub use rest::HostPause;
pub(crate) use rest::{REST, rest};
pub use tags::{TagPattern, TagPatternError};
pub use tree::{Problem, SourceFile, Tree};
pub use url::{RemoteUrl, UrlError};
pub use verify::{KeyError, SignatureError, Signed, SignedBy, TrustedKeys};
