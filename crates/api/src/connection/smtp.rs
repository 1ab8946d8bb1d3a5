//! `smtp`: a mail server.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionType, SecretKeyRef, Tls};

/// A name or an address of a host.
const HOST: &str = "^[A-Za-z0-9:]([A-Za-z0-9.:_-]*[A-Za-z0-9:])?$";
/// An address, alone or behind a name.
const FROM: &str = r#"^([^\x00-\x1f\x7f<>@",;:]+ <[^\x00-\x20\x7f<>@",;:()]+@[A-Za-z0-9.-]+>|[^\x00-\x20\x7f<>@",;:()]+@[A-Za-z0-9.-]+)$"#;
/// An address in which `*` may stand for characters.
const RECIPIENT: &str = r#"^[^\x00-\x20\x7f<>@",;:()]+@[A-Za-z0-9*.-]+$"#;

/// A mail server, and the sender of messages.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.username) == has(self.password)").message("username and password belong together"))]
#[x_kube(
    validation = Rule::new("!has(self.security) || self.security != 'None' || !has(self.password) && !has(self.tls)")
        .message("without TLS, neither password nor tls is used")
)]
pub struct SmtpConnection {
    /// Host name or IP address.
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST))]
    pub host: String,
    /// Port. Defaults to 587.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// How the connection is encrypted. Defaults to `StartTLS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SmtpSecurity>,
    /// User name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[^\x00-\x1f\x7f]+$"))]
    pub username: Option<String>,
    /// Password of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretKeyRef>,
    /// Sender of the messages: an address, or `Name <address>`.
    #[schemars(length(min = 3, max = 320), regex(pattern = FROM))]
    pub from: String,
    /// Addresses that a message may be sent to. `*` stands for any characters but `@`, as in `*@example.com`. Without it,
    /// any address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 3, max = 320), regex(pattern = RECIPIENT))
    )]
    pub recipients: Option<Vec<String>>,
    /// How TLS connections are made: own certificate authorities, and a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// How a connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SmtpSecurity {
    /// TLS after the command STARTTLS. A server that does not offer it is refused.
    #[default]
    StartTLS,
    /// TLS from the beginning.
    TLS,
    /// No encryption, and so no password.
    None,
}

impl SmtpConnection {
    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(587)
    }

    /// Whether a message may be sent to this address.
    pub fn may_send_to(&self, address: &str) -> bool {
        let Some(patterns) = &self.recipients else {
            return true;
        };
        let address = address.to_ascii_lowercase();
        let fits = |pattern: &String| is_match(pattern.to_ascii_lowercase().as_bytes(), address.as_bytes());
        patterns.iter().any(fits)
    }
}

/// Whether an address fits a pattern. A `*` does not pass the `@`.
fn is_match(pattern: &[u8], address: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // where the last star is, and how far it reaches
    let mut star: Option<(usize, usize)> = None;
    while of < address.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == address[of] => (at, of) = (at + 1, of + 1),
            _ => match &mut star {
                Some((begins, reaches)) if address[*reaches] != b'@' => {
                    *reaches += 1;
                    (at, of) = (*begins + 1, *reaches);
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl ConnectionType for SmtpConnection {
    fn address(&self) -> Option<&str> {
        Some(&self.host)
    }

    fn secrets(&self) -> Vec<&SecretKeyRef> {
        let tls = self.tls.iter().flat_map(Tls::secrets);
        self.password.iter().chain(tls).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_side_of_an_address() {
        let fits = |pattern: &str, address: &str| is_match(pattern.as_bytes(), address.as_bytes());
        for (pattern, address) in [
            ("*@example.com", "alice@example.com"),
            ("*@*.example.com", "a@b.c.example.com"),
            ("team-*@example.com", "team-a-b@example.com"),
            ("alice@example.com", "alice@example.com"),
        ] {
            assert!(fits(pattern, address), "{pattern} {address}");
        }
        for (pattern, address) in [
            ("*@example.com", "alice@example.com.evil"),
            ("*@example.com", "a@evil@example.com"),
            ("*@*.example.com", "a@example.com"),
            ("alice@example.com", "malice@example.com"),
            ("*@example.com", ""),
        ] {
            assert!(!fits(pattern, address), "{pattern} {address}");
        }
    }
}
