//! Which host keys a server may show: `known_hosts` lines as OpenSSH reads them, but for certificates.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey};

/// The port without which a host is looked up by its name alone.
const DEFAULT_PORT: u16 = 22;

/// A line of `known_hosts` cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the known hosts cannot be read: {why}")]
pub struct KnownHostsError {
    line: usize,
    why: &'static str,
}

/// The keys that are known of one host.
#[derive(Clone, Debug, Default)]
pub struct HostKeys {
    accepted: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

impl HostKeys {
    /// The keys that `known_hosts` lines give for a host. A line that is about other hosts is not looked at further.
    ///
    /// # Errors
    /// If a line that is about the host cannot be read.
    pub fn of(lines: &str, host: &str, port: u16) -> Result<Self, KnownHostsError> {
        let name = host.to_ascii_lowercase();
        let name = if port == DEFAULT_PORT {
            name
        } else {
            format!("[{name}]:{port}")
        };
        let mut keys = Self::default();
        for (index, line) in lines.lines().enumerate() {
            let mut fields = line.split_whitespace().peekable();
            let marker = fields.next_if(|field| field.starts_with('@'));
            let Some(patterns) = fields.next().filter(|field| !field.starts_with('#')) else {
                continue;
            };
            let failed = |why| KnownHostsError { line: index + 1, why };
            if !is_about(patterns, &name).map_err(failed)? {
                continue;
            }
            let (Some(algorithm), Some(key)) = (fields.next(), fields.next()) else {
                return Err(failed("it has no key"));
            };
            let key = PublicKey::from_openssh(&format!("{algorithm} {key}"));
            let key = key.map_err(|_| failed("its key is not a public key"));
            match marker {
                None => keys.accepted.push(key?),
                Some("@revoked") => keys.revoked.push(key?),
                // certificates of hosts are not supported, so such a line accepts nothing
                Some("@cert-authority") => {}
                Some(_) => return Err(failed("its marker is unknown")),
            }
        }
        Ok(keys)
    }

    /// Whether a server may show this key.
    pub(super) fn accept(&self, shown: &PublicKey) -> bool {
        let is_shown = |known: &PublicKey| known.key_data() == shown.key_data();
        self.accepted.iter().any(is_shown) && !self.revoked.iter().any(is_shown)
    }

    /// The algorithms to ask a server for, so that it shows a key that can be compared. None if no key is known.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for key in &self.accepted {
            if key.algorithm().is_rsa() {
                let hashes = [HashAlg::Sha512, HashAlg::Sha256];
                algorithms.extend(hashes.map(|hash| Algorithm::Rsa { hash: Some(hash) }));
            } else {
                algorithms.push(key.algorithm());
            }
        }
        algorithms.dedup();
        algorithms
    }
}

/// Whether the first field of a line names a host: patterns, of which one may rule it out, or the hash of a name.
fn is_about(patterns: &str, name: &str) -> Result<bool, &'static str> {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        let parts = hashed.split_once('|').map(|(salt, hash)| {
            let decoded = (STANDARD.decode(salt), STANDARD.decode(hash));
            (decoded.0.ok(), decoded.1.ok())
        });
        let Some((Some(salt), Some(hash))) = parts else {
            return Err("its hashed name is not one");
        };
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
        return Ok(hmac::verify(&key, name.as_bytes(), &hash).is_ok());
    }
    let mut is_named = false;
    for pattern in patterns.split(',') {
        let (rules_out, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if fits(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
            if rules_out {
                return Ok(false);
            }
            is_named = true;
        }
    }
    Ok(is_named)
}

/// Whether a name fits a pattern, in which `*` stands for any characters and `?` for one.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[of] => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((begins, reaches)) = &mut star else {
                    return false;
                };
                *reaches += 1;
                (at, of) = (*begins + 1, *reaches);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn count(lines: &str, host: &str, port: u16) -> usize {
        HostKeys::of(lines, host, port).unwrap().accepted.len()
    }

    #[test]
    fn finds_plain_hosts_ports_and_nothing_for_others() {
        let lines = format!("# a comment\nexample.com,other.org  {KEY} comment\n[example.com]:2222\t{KEY}\n");
        let all = [("example.com", 22), ("Other.org", 22), ("example.com", 2222)];
        for (host, port) in all {
            assert_eq!(count(&lines, host, port), 1, "{host} {port}");
        }
        assert_eq!(
            (count(&lines, "evil.com", 22), count(&lines, "example.com", 23)),
            (0, 0)
        );
    }

    #[test]
    fn patterns_name_hosts_and_rule_some_out() {
        let lines = format!("*.vm.example.com,!bad.vm.example.com {KEY}\n[10.0.0.?]:2222 {KEY}\n");
        assert_eq!(count(&lines, "a.b.vm.example.com", 22), 1);
        assert_eq!(count(&lines, "bad.vm.example.com", 22), 0);
        assert_eq!(count(&lines, "vm.example.com", 22), 0);
        assert_eq!(count(&lines, "10.0.0.7", 2222), 1);
        assert_eq!(count(&lines, "10.0.0.77", 2222), 0);
    }

    #[test]
    fn hashed_names_are_found() {
        let salt = [7; 20];
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
        let hash = hmac::sign(&key, b"[example.com]:2222");
        let line = format!(
            "|1|{}|{} {KEY}",
            STANDARD.encode(salt),
            STANDARD.encode(hash.as_ref())
        );
        assert_eq!(count(&line, "example.com", 2222), 1);
        assert_eq!(count(&line, "example.com", 22), 0);
        assert!(HostKeys::of("|1|?|? x y", "a", 22).is_err());
    }

    #[test]
    fn a_revoked_key_is_refused_whatever_other_lines_say() {
        let key = PublicKey::from_openssh(KEY).unwrap();
        let known = HostKeys::of(&format!("a {KEY}\n"), "a", 22).unwrap();
        assert!(known.accept(&key));
        let revoked = HostKeys::of(&format!("a {KEY}\n@revoked * {KEY}\n"), "a", 22).unwrap();
        assert!(!revoked.accept(&key));
        let authority = HostKeys::of(&format!("@cert-authority * {KEY}\n"), "a", 22).unwrap();
        assert!(!authority.accept(&key));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_only_if_it_is_about_the_host() {
        assert_eq!(count("other nonsense here", "a", 22), 0);
        let error = HostKeys::of("# c\na nonsense here", "a", 22).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(HostKeys::of("a", "a", 22).is_err());
    }
}
