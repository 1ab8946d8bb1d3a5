//! `ssh`: a machine on which commands run.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef};
use crate::name::ObjectName;

/// A name or an address of a host, where `*` and `?` may stand for characters.
const HOST_PATTERN: &str = "^[A-Za-z0-9*?]([A-Za-z0-9.:*?_-]*[A-Za-z0-9*?])?$";
/// A name or an address of a host.
const HOST: &str = "^[A-Za-z0-9:]([A-Za-z0-9.:_-]*[A-Za-z0-9:])?$";

/// A machine on which commands run, and how to log in there. Its host key must be known.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshConnection {
    /// Host name or IP address.
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST))]
    pub host: String,
    /// Port. Defaults to 22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// User to log in as.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.$-]*$"))]
    pub user: String,
    /// Private key, in OpenSSH or PEM format.
    pub private_key: SecretKeyRef,
    /// Passphrase of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<SecretKeyRef>,
    /// `known_hosts` lines. A host without a matching line is refused. Patterns, hashed names and `@revoked` work as in
    /// OpenSSH.
    pub known_hosts: SecretKeyRef,
    /// Name by which the host is looked up in `knownHosts`, if it is not the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST))]
    pub host_key_alias: Option<String>,
    /// Hosts that a step may name in place of `host`. `*` stands for any characters but dots, and `?` for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 253), regex(pattern = HOST_PATTERN))
    )]
    pub hosts: Option<Vec<String>>,
    /// Name of another `ssh` Connection, through which this host is reached. You must be allowed to `use` it. It has no
    /// `jump` of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<ObjectName>,
    /// Working directory of commands. Defaults to the home directory of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[^\\x00-\\x1f]+$"))]
    pub directory: Option<String>,
}

impl SshConnection {
    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(22)
    }

    /// Whether a step may name this host.
    pub fn lists(&self, host: &str) -> bool {
        let patterns = self.hosts.iter().flatten();
        let host = host.to_ascii_lowercase();
        patterns
            .into_iter()
            .any(|pattern| is_match(pattern.to_ascii_lowercase().as_bytes(), host.as_bytes()))
    }
}

/// Whether a name fits a pattern. A `*` does not pass dots, so that it stands for one part of a name.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // where the last star is, and how far it reaches
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(b'?') if name[of] != b'.' => (at, of) = (at + 1, of + 1),
            Some(byte) if *byte == name[of] => (at, of) = (at + 1, of + 1),
            _ => match &mut star {
                Some((begins, reaches)) if name[*reaches] != b'.' => {
                    *reaches += 1;
                    (at, of) = (*begins + 1, *reaches);
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl ConnectionType for SshConnection {
    fn address(&self) -> Option<&str> {
        Some(&self.host)
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        let Self {
            host: _,
            port: _,
            user: _,
            private_key,
            passphrase,
            known_hosts,
            host_key_alias: _,
            hosts: _,
            jump: _,
            directory: _,
        } = self;
        [Some(private_key), passphrase.as_ref(), Some(known_hosts)]
            .into_iter()
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part_of_a_name() {
        let fits = |pattern: &str, name: &str| is_match(pattern.as_bytes(), name.as_bytes());
        for (pattern, name) in [
            ("*.vm.example.com", "a-1.vm.example.com"),
            ("vm-??.example.com", "vm-12.example.com"),
            ("10.0.0.*", "10.0.0.7"),
            ("a*b*c", "axxbyybzzc"),
            ("a", "a"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.vm.example.com", "evil.com"),
            ("*.vm.example.com", "a.b.vm.example.com"),
            ("*.vm.example.com", ".vm.example.com.evil"),
            ("vm-?.example.com", "vm-12.example.com"),
            ("10.0.0.*", "10.0.0.7.evil.com"),
            ("a", "ab"),
            ("a?", "a"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
