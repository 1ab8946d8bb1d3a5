//! What a listener bears.

use std::time::Duration;

/// File descriptors that are left for everything else: the API server's connections, git, logs.
const FILES_OF_OTHERS: usize = 256;

/// Bounds of the connections of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How many may be open at the same time.
    pub connections: usize,
    /// How many of them one address may have: one IPv4 address, or one IPv6 network of 64 bits.
    pub of_one_address: usize,
    /// Longest time from the first byte of a request to the end of its headers, and from connecting to the end of the first ones.
    pub header_timeout: Duration,
    /// Longest time of one request, its body and its answer included.
    pub request_timeout: Duration,
    /// Longest time that a connection is kept between two requests. Proxies give up theirs after 60 s, and should be first.
    pub idle_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 2_048,
            of_one_address: 1_024,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
        }
    }
}

impl ConnectionLimits {
    /// For those who probe and scrape.
    pub(super) fn admin() -> Self {
        Self {
            connections: 128,
            of_one_address: 128,
            ..Self::default()
        }
    }

    /// The same, with no more connections than there can be open files, and some left.
    #[must_use]
    pub fn within(self, files: Option<usize>) -> Self {
        let room = files.map_or(usize::MAX, |files| {
            files.saturating_sub(FILES_OF_OTHERS).max(files / 2)
        });
        Self {
            connections: self.connections.min(room),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_connections_than_files_and_some_are_left() {
        let limits = ConnectionLimits::default();
        for (files, most) in [
            (None, 2_048),
            (Some(1 << 20), 2_048),
            (Some(1_024), 768),
            (Some(256), 128),
            (Some(0), 0),
        ] {
            assert_eq!(limits.within(files).connections, most, "{files:?}");
        }
    }
}
