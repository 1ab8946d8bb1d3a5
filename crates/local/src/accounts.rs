//! The accounts of the embedded control plane and their tokens, kept in a file only its owner reads.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::files;
use super::ids;
use super::users::{AGENT, AUTHENTICATED, MASTERS, OPERATOR, User};

/// Name and groups of each account that has a token, in the order of the kubeconfig.
const ACCOUNTS: &[(&str, &str, &[&str])] = &[
    ("admin", "admin", &[MASTERS]),
    ("dev", "dev", &["developers"]),
    ("alice", "alice", &["finance", "owners"]),
    ("bob", "bob", &["finance", "finance-leads", "owners"]),
    (
        "agent",
        AGENT,
        &["system:serviceaccounts", "system:serviceaccounts:default"],
    ),
];

/// The accounts, with their tokens.
pub struct Accounts {
    tokens: BTreeMap<String, String>,
    by_digest: HashMap<[u8; 32], User>,
}

impl std::fmt::Debug for Accounts {
    /// Tokens are not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts")
            .field("names", &self.tokens.keys())
            .finish_non_exhaustive()
    }
}

impl Accounts {
    /// Reads the tokens from `tokens.json` in the directory, and makes those that are missing.
    pub fn open(directory: &Path) -> std::io::Result<Self> {
        let file = directory.join("tokens.json");
        let mut tokens: BTreeMap<String, String> = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let before = tokens.len();
        for (short, _, _) in ACCOUNTS {
            tokens.entry((*short).to_owned()).or_insert_with(ids::token);
        }
        if tokens.len() != before {
            files::write_private(&file, serde_json::to_string_pretty(&tokens)?.as_bytes())?;
        }
        let by_digest = ACCOUNTS
            .iter()
            .filter_map(|(short, name, groups)| Some((digest(tokens.get(*short)?), user(name, groups))))
            .collect();
        Ok(Self { tokens, by_digest })
    }

    /// The user a token belongs to.
    pub fn by_token(&self, token: &str) -> Option<&User> {
        self.by_digest.get(&digest(token))
    }

    /// Short name and token of each account, in the order in which they are shown.
    pub fn tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        ACCOUNTS
            .iter()
            .filter_map(|(short, _, _)| Some((*short, self.tokens.get(*short)?.as_str())))
    }
}

/// The account of this short name, such as `alice` or `agent`.
pub fn named(short: &str) -> Option<User> {
    ACCOUNTS
        .iter()
        .find(|(name, _, _)| *name == short)
        .map(|(_, name, groups)| user(name, groups))
}

/// The operator's own account.
pub fn operator() -> User {
    user(
        OPERATOR,
        &["system:serviceaccounts", "system:serviceaccounts:signoff-system"],
    )
}

fn user(name: &str, groups: &[&str]) -> User {
    let groups = groups
        .iter()
        .chain(&[AUTHENTICATED])
        .map(|g| (*g).to_owned())
        .collect();
    User {
        name: name.to_owned(),
        groups,
        ..User::default()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_the_same_and_only_their_owner_can_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let first: Vec<_> = Accounts::open(dir.path())
            .unwrap()
            .tokens()
            .map(|(n, t)| (n, t.to_owned()))
            .collect();
        let again = Accounts::open(dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join("tokens.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        for (name, token) in first {
            assert_eq!(again.by_token(&token), named(name).as_ref());
        }
        assert!(again.by_token("guess").is_none());
    }
}
