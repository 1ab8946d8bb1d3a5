//! Where the gateway is reached. The user's token is sent there, so nothing is guessed.

use url::{Host, Url};

use super::{
    Global, connect,
    error::{CliError, exit},
};

/// Where the gateway is reached.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct GatewayUrl {
    /// Where the gateway is reached: https, or http on a loopback address. Your token is sent there. The kubeconfig of
    /// `signoff dev` says where its gateway is.
    #[arg(long, env = "SIGNOFF_GATEWAY_URL", value_name = "URL", value_parser = url)]
    gateway: Option<Url>,
}

impl GatewayUrl {
    /// The address that was given, or else the one that the kubeconfig of `signoff dev` states.
    pub(super) fn find(&self, global: &Global) -> Result<Url, CliError> {
        let stated = || connect::stated_gateway(global);
        self.gateway.clone().or_else(stated).ok_or_else(|| {
            CliError::new(
                "NoGateway",
                exit::USAGE,
                "it is not known where the gateway is reached",
            )
            .hint("name it with --gateway or SIGNOFF_GATEWAY_URL")
        })
    }
}

fn url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error: url::ParseError| error.to_string())?;
    if url.scheme() == "https" || is_plain_and_here(&url) {
        Ok(url)
    } else {
        Err("write https://…: your token is sent there, in clear text only to a loopback address".to_owned())
    }
}

/// Whether an address is `http` on a loopback address, which no name server has a say in.
pub(super) fn is_plain_and_here(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    loopback && url.scheme() == "http"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_in_clear_text_to_this_machine_only() {
        for good in [
            "https://signoff.example.com",
            "http://127.0.0.1:7480",
            "http://[::1]:7480/",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://signoff.example.com",
            "http://localhost:7480",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "file:///etc",
            "signoff",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
