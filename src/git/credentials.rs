//! Credentials for a git remote, held in memory only.

use std::fmt;

/// A secret text; its debug form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Credentials for a git remote. Which of them is used follows from the scheme of the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name for http(s) and ssh.
    pub username: Option<String>,
    /// Password or token for http(s).
    pub password: Option<Secret>,
    /// Private key in OpenSSH or PEM format for ssh, not encrypted.
    pub private_key: Option<Secret>,
    /// `known_hosts` lines for ssh. A host without a matching line is refused.
    pub known_hosts: Option<String>,
}

impl Credentials {
    /// User name when neither the credentials nor the address have one.
    pub(super) const DEFAULT_USER: &'static str = "git";
}
