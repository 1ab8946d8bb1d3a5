//! The addresses that may be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

/// Which addresses may be called.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Whether addresses of this machine may be called, as in `signoff dev`.
    pub allow_loopback: bool,
    /// Whether `file://` addresses may be read.
    pub allow_file: bool,
    /// Whether only addresses of the internet may be called, whatever else is allowed.
    pub only_public: bool,
    /// Networks that may not be called, such as a cluster's own.
    pub deny: Vec<IpNet>,
    /// If not empty, the only hosts that may be called: a name, or `*.` and a domain for all names below it.
    pub allow_hosts: Vec<String>,
}

/// An address that may not be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    /// The address itself is refused.
    #[error("{host} is {address}, which is {kind} and may not be called")]
    Address {
        /// The host as it was written.
        host: String,
        /// The address it has.
        address: IpAddr,
        /// What kind of address that is.
        kind: &'static str,
    },
    /// The host is not on the list of hosts that may be called.
    #[error("{0} is not on the list of hosts that may be called")]
    NotListed(String),
}

impl AddressPolicy {
    /// As in `signoff dev`: this machine and its disk may be called.
    pub fn local() -> Self {
        Self {
            allow_loopback: true,
            allow_file: true,
            ..Self::default()
        }
    }

    /// Judges the host of an address before anything is resolved: the list of hosts, and a literal IP address.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), AddressRefused> {
        let Some(host) = url.host() else { return Ok(()) };
        let text = host.to_string();
        self.check_listed(&text)?;
        match host {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.check_ip(&text, address.into()),
            Host::Ipv6(address) => self.check_ip(&text, address.into()),
        }
    }

    /// As [`AddressPolicy::check_url`], for a host that is not part of a URL.
    pub(super) fn check_host(&self, host: &str) -> Result<(), AddressRefused> {
        self.check_listed(host)?;
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        address.map_or(Ok(()), |address| self.check_ip(host, address))
    }

    /// Judges the addresses that a host has: one that may not be called is enough.
    pub(super) fn check_resolved(&self, host: &str, found: &[SocketAddr]) -> Result<(), AddressRefused> {
        found
            .iter()
            .try_for_each(|address| self.check_ip(host, address.ip()))
    }

    fn check_ip(&self, host: &str, address: IpAddr) -> Result<(), AddressRefused> {
        let Some(kind) = self.refusal(address) else {
            return Ok(());
        };
        Err(AddressRefused::Address {
            host: host.to_owned(),
            address,
            kind,
        })
    }

    fn check_listed(&self, host: &str) -> Result<(), AddressRefused> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let matches = |allowed: &String| match allowed.to_ascii_lowercase().strip_prefix("*.") {
            Some(domain) => name
                .strip_suffix(domain)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => name == allowed.to_ascii_lowercase(),
        };
        if self.allow_hosts.is_empty() || self.allow_hosts.iter().any(matches) {
            return Ok(());
        }
        Err(AddressRefused::NotListed(host.to_owned()))
    }

    /// Why an address may not be called, whoever's name leads to it. An IPv6 address that stands for IPv4 addresses is judged as those too.
    fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let embedded = match address {
            IpAddr::V4(_) => [None; 2],
            IpAddr::V6(v6) => embedded_v4(v6).map(|v4| v4.map(IpAddr::V4)),
        };
        std::iter::once(address)
            .chain(embedded.into_iter().flatten())
            .find_map(|address| self.refusal_of_one(address))
    }

    fn refusal_of_one(&self, address: IpAddr) -> Option<&'static str> {
        let kind = match address {
            IpAddr::V4(v4) => kind_of_v4(v4),
            IpAddr::V6(v6) => kind_of_v6(v6),
        };
        match kind {
            Some(LOOPBACK) if self.allow_loopback && !self.only_public => None,
            Some(kind) => Some(kind),
            None if self.only_public && !is_public(address) => Some(PRIVATE),
            None => self
                .deny
                .iter()
                .any(|network| network.contains(&address))
                .then_some("in a network that the operator is told not to call"),
        }
    }
}

const LOOPBACK: &str = "a loopback address";
const UNSPECIFIED: &str = "an unspecified address";
const LINK_LOCAL: &str = "a link-local address, where cloud metadata lies";
const MULTICAST: &str = "a multicast address";
const METADATA: &str = "a cloud metadata address";
const PRIVATE: &str = "not public, as a host that comes from data has to be,";

/// The IPv4 addresses that an IPv6 address stands for: where a router or the kernel translates or tunnels, the packet goes there.
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| {
        let (a, b) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a[0], a[1], b[0], b[1]))
    };
    match address.segments() {
        // mapped, translated, NAT64, and 6to4
        [0, 0, 0, 0, 0, 0xffff, a, b]
        | [0, 0, 0, 0, 0xffff, 0, a, b]
        | [0x64, 0xff9b, 0, 0, 0, 0, a, b]
        | [0x2002, a, b, ..] => [v4(a, b), None],
        // compatible, which the unspecified and the loopback address look like
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 || b > 1 => [v4(a, b), None],
        // Teredo: the server, and the client with its bits turned
        [0x2001, 0, a, b, _, _, c, d] => [v4(a, b), v4(!c, !d)],
        // ISATAP
        [_, _, _, _, 0 | 0x200, 0x5efe, a, b] => [v4(a, b), None],
        _ => [None; 2],
    }
}

/// Whether an address is one of the internet. Of IPv6 addresses that stand for IPv4 addresses, those are judged beside
/// them.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            // private, shared (RFC 6598), protocol assignments, and for documentation and benchmarks
            [10, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [100, 64..=127, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _] => false,
            _ => true,
        },
        IpAddr::V6(v6) => match v6.segments() {
            // for documentation
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
            // unicast of the internet, and what stands for IPv4 addresses
            [0x2000..=0x3fff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] => true,
            _ => false,
        },
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    // Alibaba, Azure, Oracle
    const CLOUDS: [[u8; 4]; 3] = [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];
    let octets = address.octets();
    if address.is_loopback() {
        Some(LOOPBACK)
    } else if octets[0] == 0 {
        Some(UNSPECIFIED)
    } else if address.is_link_local() {
        Some(LINK_LOCAL)
    } else if address.is_multicast() {
        Some(MULTICAST)
    } else if octets[0] >= 240 {
        Some("a broadcast or reserved address")
    } else if CLOUDS.contains(&octets) {
        Some(METADATA)
    } else {
        None
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if address.is_loopback() {
        Some(LOOPBACK)
    } else if address.is_unspecified() {
        Some(UNSPECIFIED)
    } else if address.is_unicast_link_local() || segments[0] & 0xffc0 == 0xfec0 {
        Some(LINK_LOCAL)
    } else if address.is_multicast() {
        Some(MULTICAST)
    } else {
        match segments {
            // where in it the IPv4 address lies is each network's own choice
            [0x64, 0xff9b, 1, ..] => Some("in the NAT64 prefix for local use"),
            // AWS: instance metadata, pod identity, time and names; Google; Scaleway
            [0xfd00, 0xec2, ..]
            | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
            | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42] => Some(METADATA),
            _ => None,
        }
    }
}
