//! How much a remote or a tree may ask of this process.

use std::time::Duration;

/// How much a remote or a tree may ask of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time for one sync.
    pub deadline: Duration,
    /// Longest time without a byte from the remote.
    pub stall: Duration,
    /// Most bytes received in one sync.
    pub fetch_bytes: u64,
    /// Most bytes that a remote may list its refs in.
    pub refs_bytes: u64,
    /// Largest commit, tag or list of a folder that is loaded, in bytes.
    pub object_bytes: usize,
    /// Most manifests read from one commit.
    pub files: usize,
    /// Largest manifest, in bytes.
    pub file_bytes: usize,
    /// Most bytes of manifests read from one commit.
    pub total_bytes: usize,
    /// Deepest folder, counted from the folder that is read.
    pub depth: usize,
    /// Most entries of folders looked at in one commit.
    pub entries: usize,
    /// Most problems with files told of one commit.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_mins(2),
            stall: Duration::from_secs(30),
            fetch_bytes: 512 << 20,
            refs_bytes: 32 << 20,
            object_bytes: 32 << 20,
            files: 2_000,
            file_bytes: 1 << 20,
            total_bytes: 64 << 20,
            // packages of other tools lie deep
            depth: 128,
            entries: 200_000,
            problems: 1_000,
        }
    }
}
