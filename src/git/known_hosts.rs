//! Which host keys a server may show.

use std::path::Path;

use russh::keys::{
    known_hosts::known_host_keys_path,
    ssh_key::{Algorithm, HashAlg, PublicKey},
};

use super::error::GitError;

/// The keys that `known_hosts` lines give for a host. The parser reads files only, so the lines go through one in `dir`.
pub(super) fn keys_of(lines: &str, host: &str, port: u16, dir: &Path) -> Result<Vec<PublicKey>, GitError> {
    // one space between the fields, as the parser wants it
    let tidy: String = lines
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
        .collect();
    let file = dir.join("known_hosts");
    std::fs::write(&file, tidy).map_err(GitError::Directory)?;
    let found = known_host_keys_path(host, port, &file)
        .map_err(|error| GitError::InvalidCredentials(format!("known_hosts cannot be read: {error}")))?;
    Ok(found.into_iter().map(|(_, key)| key).collect())
}

/// The algorithms to ask a server for, so that it shows a key that can be compared.
pub(super) fn algorithms(keys: &[PublicKey]) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for key in keys {
        if key.algorithm().is_rsa() {
            algorithms.push(Algorithm::Rsa {
                hash: Some(HashAlg::Sha512),
            });
            algorithms.push(Algorithm::Rsa {
                hash: Some(HashAlg::Sha256),
            });
        } else {
            algorithms.push(key.algorithm());
        }
    }
    algorithms.dedup();
    algorithms
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn finds_plain_hosts_ports_and_nothing_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let lines = format!("# a comment\nexample.com,other.org  {KEY} comment\n[example.com]:2222\t{KEY}\n");
        let count = |host, port| keys_of(&lines, host, port, dir.path()).unwrap().len();
        assert_eq!(
            (
                count("example.com", 22),
                count("other.org", 22),
                count("example.com", 2222)
            ),
            (1, 1, 1)
        );
        assert_eq!((count("evil.com", 22), count("example.com", 23)), (0, 0));
    }
}
