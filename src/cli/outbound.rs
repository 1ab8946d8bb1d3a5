//! Where the operator may connect, as arguments: one policy for steps, git remotes and forges.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use url::Url;

use super::error::CliError;
use crate::net::{AddressPolicy, Network};

/// Where steps, git remotes and forges may be.
#[derive(Clone, clap::Args)]
pub(super) struct OutboundArgs {
    /// The only hosts that steps, git remotes and forges may be at: names, or `*.` and a domain; repeatable. Without it all but internal addresses.
    #[arg(long = "allow-host", value_name = "HOST", value_delimiter = ',')]
    allow_hosts: Vec<String>,
    /// A network that is never called, such as the cluster's own; repeatable. Link-local, metadata and loopback addresses never are.
    #[arg(long = "deny-network", value_name = "CIDR", value_delimiter = ',')]
    deny_networks: Vec<IpNet>,
    /// Let addresses of the machine the operator runs on be called.
    #[arg(long)]
    allow_loopback: bool,
    /// HTTP proxy for every call to steps' services, git remotes over http and forges. Without it none is used, whatever the environment says.
    #[arg(
        long,
        env = "SIGNOFF_OUTBOUND_PROXY",
        value_name = "URL",
        hide_env_values = true
    )]
    outbound_proxy: Option<Url>,
    /// File with PEM certificates of authorities to trust beside the system's.
    #[arg(long, env = "SIGNOFF_OUTBOUND_CA", value_name = "FILE")]
    outbound_ca: Option<PathBuf>,
}

impl std::fmt::Debug for OutboundArgs {
    /// The proxy's address may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundArgs").finish_non_exhaustive()
    }
}

impl OutboundArgs {
    /// The network that these arguments ask for.
    pub(super) fn network(self) -> Result<Network, CliError> {
        let mut network = Network::new(AddressPolicy {
            allow_loopback: self.allow_loopback,
            allow_file: false,
            only_public: false,
            deny: self.deny_networks,
            allow_hosts: self.allow_hosts,
        });
        if let Some(proxy) = &self.outbound_proxy {
            let through = network.through_proxy(proxy);
            network =
                through.map_err(|error| CliError::internal("--outbound-proxy cannot be used", &error))?;
        }
        if let Some(file) = &self.outbound_ca {
            network = trusting(network, file)?;
        }
        Ok(network)
    }
}

fn trusting(network: Network, file: &Path) -> Result<Network, CliError> {
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        CliError::internal(&format!("the file {} cannot be used", file.display()), error)
    };
    let pem = std::fs::read(file).map_err(|error| unusable(&error))?;
    network.trusting(&pem).map_err(|error| unusable(&error))
}
