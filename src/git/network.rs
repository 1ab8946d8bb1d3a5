//! Where connections may go: names are resolved once, and only to addresses that the policy allows.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::GitError;

type Allowed = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Where connections may go.
#[derive(Clone)]
pub struct Network {
    allowed: Allowed,
    allow_file: bool,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("allow_file", &self.allow_file)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// A network with a policy for addresses; `allow_file` lets `file://` remotes be read from this machine's disk.
    pub fn new(allowed: impl Fn(IpAddr) -> bool + Send + Sync + 'static, allow_file: bool) -> Self {
        Self {
            allowed: Arc::new(allowed),
            allow_file,
        }
    }

    pub(super) fn allows_file(&self) -> bool {
        self.allow_file
    }

    /// The addresses of a host that may be called.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, GitError> {
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| GitError::Unreachable {
                host: host.to_owned(),
                source: Box::new(source),
            })?;
        let allowed: Vec<SocketAddr> = found.filter(|address| (self.allowed)(address.ip())).collect();
        if allowed.is_empty() {
            return Err(GitError::AddressRefused {
                host: host.to_owned(),
            });
        }
        Ok(allowed)
    }

    /// Refuses a host that is written as an address and may not be called; a client does not resolve those.
    pub(crate) fn check_literal(&self, url: &url::Url) -> Result<(), GitError> {
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => IpAddr::V4(address),
            Some(url::Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Ok(()),
        };
        if (self.allowed)(address) {
            Ok(())
        } else {
            Err(GitError::AddressRefused {
                host: address.to_string(),
            })
        }
    }
}

impl Resolve for Network {
    fn resolve(&self, name: Name) -> Resolving {
        let network = self.clone();
        Box::pin(async move {
            let addresses = Self::resolve(&network, name.as_str(), 0).await?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}
