//! Commits: their names, and who wrote what.

use std::fmt;

use git2::Oid;

use signoff_api::text::visible;

/// Object id of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(pub(super) Oid);

impl CommitId {
    /// Reads a full hexadecimal id.
    pub fn parse(text: &str) -> Option<Self> {
        Oid::from_str(text)
            .ok()
            .filter(|oid| oid.to_string() == text)
            .map(Self)
    }

    /// Its first ten digits.
    pub fn short(&self) -> String {
        self.0.to_string().chars().take(10).collect()
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a commit says of itself; a claim, not a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub id: CommitId,
    /// Author as `Name <mail>`, at most 512 characters.
    pub author: String,
    /// First line of the message, at most 512 characters.
    pub message: String,
    /// Time of the commit, in seconds since 1970.
    pub seconds: i64,
}

impl CommitInfo {
    pub(super) fn read(commit: &git2::Commit<'_>) -> Self {
        let author = commit.author();
        let name = String::from_utf8_lossy(author.name_bytes()).into_owned();
        let mail = String::from_utf8_lossy(author.email_bytes()).into_owned();
        let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
        Self {
            id: CommitId(commit.id()),
            author: bounded(&format!("{name} <{mail}>")),
            message: bounded(message.trim_start().lines().next().unwrap_or_default()),
            seconds: commit.time().seconds(),
        }
    }
}

fn bounded(text: &str) -> String {
    visible(text).chars().take(512).collect()
}
