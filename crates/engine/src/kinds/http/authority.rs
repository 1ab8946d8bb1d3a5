//! The host of an address that has expressions: whether data decides it, and what data may write there.

use crate::{
    expression::{Scope, Template},
    kinds::Failure,
};

/// An address with its values.
pub(super) struct Address {
    pub(super) text: String,
    /// Whether a value decides the host.
    pub(super) is_host_from_data: bool,
}

/// Inserts the values of an address. One that stands before the path is a part of the host or the port, and must look so:
/// it may not end the host and begin a path of its own. An address that begins with a value has its host from that.
pub(super) fn render(url: &Template, scope: &Scope) -> Result<Address, Failure> {
    let (mut is_host_from_data, is_whole) = (false, url.as_expression().is_some());
    let text = url.text_inserting(scope, |before, value| {
        let fits = match Position::after(before) {
            Position::Path => true,
            Position::Beginning => {
                is_host_from_data = true;
                is_whole || !value.contains(['?', '#'])
            }
            // the host is as the author wrote it
            Position::Host { has_begun: true } if !is_host_from_data && value.starts_with('/') => true,
            Position::Host { .. } => {
                is_host_from_data = true;
                is_host(&value)
            }
            Position::Port => value.starts_with('/') || is_port(&value),
        };
        if !fits {
            return Err(super::request::invalid(
                "url: a value that comes before the path is part of a host, with letters, digits, dots and dashes, or a port, and nothing else",
            ));
        }
        before.push_str(&value);
        Ok(())
    })?;
    Ok(Address {
        text,
        is_host_from_data,
    })
}

/// What comes next in an address.
enum Position {
    /// The scheme.
    Beginning,
    /// The host, or more of it.
    Host { has_begun: bool },
    /// The port.
    Port,
    /// The path, the query or the fragment.
    Path,
}

impl Position {
    /// As the client reads an address: however many slashes there are, and back slashes as slashes.
    fn after(text: &str) -> Self {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Self::Beginning;
        };
        if !["http", "https"]
            .iter()
            .any(|web| scheme.eq_ignore_ascii_case(web))
        {
            return Self::Beginning;
        }
        let rest = rest.trim_start_matches(['/', '\\', '\t', '\r', '\n']);
        let after_brackets = rest.rsplit_once(']').map_or(rest, |(_, after)| after);
        if rest.contains(['/', '\\', '?', '#']) {
            Self::Path
        } else if after_brackets.contains(':') && !rest.contains('@') {
            Self::Port
        } else {
            Self::Host {
                has_begun: !rest.is_empty(),
            }
        }
    }
}

/// Part of a host, perhaps with a port.
fn is_host(value: &str) -> bool {
    let (host, port) = match value.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (value, None),
    };
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    !host.is_empty() && host.bytes().all(is_named) && port.is_none_or(is_port)
}

fn is_port(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}
