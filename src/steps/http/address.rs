//! The addresses that steps may call.
//!
//! A name is resolved once, every address it has is judged, and the connection is made to one that passed, so a name that changes
//! its mind between check and use gains nothing.

use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Which addresses may be called.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Whether addresses of this machine may be called, as in `signoff dev`.
    pub allow_loopback: bool,
    /// Networks that may not be called, such as a cluster's own.
    pub deny: Vec<IpNet>,
    /// If not empty, the only hosts that may be called: a name, or `*.` and a domain for all names below it.
    pub allow_hosts: Vec<String>,
}

/// An address that steps may not call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    /// The address itself is refused.
    #[error("{host} is {address}, which is {kind}; steps may not call it")]
    Address {
        /// The host as it was written.
        host: String,
        /// The address it has.
        address: IpAddr,
        /// What kind of address that is.
        kind: &'static str,
    },
    /// The host is not on the list of hosts that may be called.
    #[error("{0} is not on the list of hosts that steps may call")]
    NotListed(String),
}

impl AddressPolicy {
    /// Judges the host of an address before anything is resolved: the allow list, and a literal IP address.
    pub fn check_url(&self, url: &Url) -> Result<(), AddressRefused> {
        let Some(host) = url.host() else { return Ok(()) };
        let text = host.to_string();
        if !self.is_listed(&text) {
            return Err(AddressRefused::NotListed(text));
        }
        match host {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.check_ip(&text, address.into()),
            Host::Ipv6(address) => self.check_ip(&text, address.into()),
        }
    }

    /// Judges one address that a host has.
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

    fn is_listed(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allow_hosts.is_empty()
            || self
                .allow_hosts
                .iter()
                .any(|allowed| match allowed.strip_prefix("*.") {
                    Some(domain) => host
                        .strip_suffix(domain)
                        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                    None => host == allowed.to_ascii_lowercase(),
                })
    }

    /// Whether an address may be called, whoever's name leads to it.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.refusal(address).is_none()
    }

    fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = embedded_v4(address);
        let kind = match address {
            IpAddr::V4(v4) => kind_of_v4(v4),
            IpAddr::V6(v6) => kind_of_v6(v6),
        };
        match kind {
            Some(LOOPBACK) if self.allow_loopback => None,
            Some(kind) => Some(kind),
            None => self
                .deny
                .iter()
                .any(|network| network.contains(&address))
                .then_some("in a network that is closed to steps"),
        }
    }
}

const LOOPBACK: &str = "a loopback address";

/// An IPv4 address that an IPv6 address stands for (mapped, compatible, NAT64 or 6to4), so that it cannot hide there.
fn embedded_v4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let low = |high: u16, low: u16| {
        let (a, b) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a[0], a[1], b[0], b[1]))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => low(a, b),
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => low(a, b),
        _ => address,
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    let octets = address.octets();
    if address.is_loopback() {
        Some(LOOPBACK)
    } else if octets[0] == 0 {
        Some("an unspecified address")
    } else if address.is_link_local() {
        Some("a link-local address, where cloud metadata lies")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if octets[0] >= 240 {
        Some("a broadcast or reserved address")
    } else if octets == [100, 100, 100, 200] || octets == [168, 63, 129, 16] || octets == [192, 0, 0, 192] {
        Some("a cloud metadata address")
    } else {
        None
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const GCP_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    if address.is_loopback() {
        Some(LOOPBACK)
    } else if address.is_unspecified() {
        Some("an unspecified address")
    } else if address.is_unicast_link_local() || address.segments()[0] & 0xffc0 == 0xfec0 {
        Some("a link-local address, where cloud metadata lies")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address == AWS_METADATA || address == GCP_METADATA {
        Some("a cloud metadata address")
    } else {
        None
    }
}

/// Resolves names for the HTTP client and lets only judged addresses through.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver(pub Arc<AddressPolicy>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            // one refused address is enough: a host that also lives inside is not one to call
            for address in &found {
                policy.check_ip(&host, address.ip())?;
            }
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The refusal in an error's chain of causes, if that is what it is.
pub(super) fn refusal_in(error: &(dyn Error + 'static)) -> Option<AddressRefused> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
        .find_map(|error| error.downcast_ref::<AddressRefused>().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(policy: &AddressPolicy, url: &str) -> bool {
        policy.check_url(&Url::parse(url).unwrap()).is_err()
    }

    #[test]
    fn refuses_addresses_that_lead_inside_however_they_are_written() {
        let policy = AddressPolicy::default();
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0.0.0.0/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.100.100.200/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::]/",
            "http://[::1]/",
            "http://[fe80::1]/",
            "http://[ff02::1]/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:7f00:1::]/",
        ] {
            assert!(refused(&policy, url), "{url}");
        }
        for url in [
            "http://93.184.216.34/",
            "http://10.0.0.1/",
            "http://[2606:4700::1111]/",
            "http://example.com/",
        ] {
            assert!(!refused(&policy, url), "{url}");
        }
    }

    #[test]
    fn loopback_and_nothing_else_opens_when_allowed() {
        let policy = AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        };
        assert!(!refused(&policy, "http://127.0.0.1/") && !refused(&policy, "http://[::1]/"));
        assert!(refused(&policy, "http://169.254.169.254/") && refused(&policy, "http://0.0.0.0/"));
    }

    #[test]
    fn closed_networks_and_lists_of_hosts_hold() {
        let policy = AddressPolicy {
            deny: vec!["10.0.0.0/8".parse().unwrap()],
            ..AddressPolicy::default()
        };
        assert!(refused(&policy, "http://10.1.2.3/") && refused(&policy, "http://[::ffff:10.1.2.3]/"));
        let policy = AddressPolicy {
            allow_hosts: vec!["api.example.com".into(), "*.example.org".into()],
            ..AddressPolicy::default()
        };
        assert!(
            !refused(&policy, "https://api.example.com/x") && !refused(&policy, "https://a.b.example.org/")
        );
        for url in [
            "https://example.com/",
            "https://example.org/",
            "https://evilexample.org/",
            "http://93.184.216.34/",
        ] {
            assert!(refused(&policy, url), "{url}");
        }
    }
}
