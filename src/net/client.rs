//! Clients and connections that obey the policy.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Certificate, Client, ClientBuilder, Proxy,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use tokio::net::TcpStream;
use url::Url;

use super::{
    address::{AddressPolicy, AddressRefused},
    tls::{ClientTls, TlsError},
};

/// Longest wait for a connection; what a caller waits for the answer may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where connections may go and how they are made. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    policy: Arc<AddressPolicy>,
    proxy: Option<OutboundProxy>,
    /// Certificate authorities that are trusted beside the system's.
    roots: Vec<Certificate>,
    /// The same, as they were written.
    roots_pem: String,
}

#[derive(Clone)]
struct OutboundProxy {
    proxy: Proxy,
    host: String,
}

/// Why a network cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The proxy is not one.
    #[error("the outbound proxy is not an http or https address")]
    Proxy,
    /// The certificates cannot be read.
    #[error("the certificate authorities are not PEM certificates")]
    Roots(#[source] reqwest::Error),
    /// There is no certificate.
    #[error("there is no PEM certificate among the certificate authorities")]
    NoRoots,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It may not be made.
    #[error(transparent)]
    Refused(#[from] AddressRefused),
    /// It could not be made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl fmt::Debug for Network {
    /// The proxy's address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("policy", &self.policy)
            .field("proxy", &self.proxy.as_ref().map(|proxy| &proxy.host))
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

impl Network {
    /// A network with a policy, the system's certificate authorities and no proxy.
    pub fn new(policy: AddressPolicy) -> Self {
        Self {
            policy: Arc::new(policy),
            proxy: None,
            roots: Vec::new(),
            roots_pem: String::new(),
        }
    }

    /// Lets every HTTP request go through a proxy.
    pub fn through_proxy(mut self, url: &Url) -> Result<Self, NetworkError> {
        let host = url
            .host_str()
            .filter(|_| matches!(url.scheme(), "http" | "https"));
        let host = host.ok_or(NetworkError::Proxy)?.to_owned();
        let proxy = Proxy::all(url.as_str()).map_err(|_| NetworkError::Proxy)?;
        self.proxy = Some(OutboundProxy { proxy, host });
        Ok(self)
    }

    /// Trusts these certificate authorities too.
    pub fn trusting(mut self, pem: &[u8]) -> Result<Self, NetworkError> {
        let roots = Certificate::from_pem_bundle(pem).map_err(NetworkError::Roots)?;
        if roots.is_empty() {
            return Err(NetworkError::NoRoots);
        }
        self.roots.extend(roots);
        self.roots_pem.push_str(&String::from_utf8_lossy(pem));
        self.roots_pem.push('\n');
        Ok(self)
    }

    /// The same, but only for addresses that everybody may call: for hosts that data chose.
    #[must_use]
    pub fn only_public(&self) -> Self {
        let policy = AddressPolicy {
            only_public: true,
            ..AddressPolicy::clone(&self.policy)
        };
        Self {
            policy: Arc::new(policy),
            ..self.clone()
        }
    }

    /// Whether `file://` addresses may be read from this machine's disk.
    pub fn allows_file(&self) -> bool {
        self.policy.allow_file
    }

    /// Judges the host of an address before anything is resolved. Clients do not resolve hosts that are written as an IP address, so
    /// whoever makes a request asks this first, and again wherever it is redirected.
    pub fn check_url(&self, url: &Url) -> Result<(), AddressRefused> {
        self.policy.check_url(url)
    }

    /// A client that obeys the policy, follows no redirects, and gives up where there is no connection. Where redirects are wanted,
    /// [`Network::redirects`] judges each.
    pub fn client(&self) -> ClientBuilder {
        let builder = self.bare_client();
        if self.roots.is_empty() {
            builder
        } else {
            builder.tls_certs_merge(self.roots.iter().cloned())
        }
    }

    /// The same with its own TLS settings.
    pub fn client_with(&self, tls: &ClientTls) -> Result<ClientBuilder, TlsError> {
        let builder = if tls.ca.is_some() {
            self.bare_client()
        } else {
            self.client()
        };
        tls.apply(builder)
    }

    /// A client for an address that whoever runs this process has configured. The policy is for addresses that others name,
    /// so it does not apply.
    pub fn own_client(&self) -> ClientBuilder {
        plain_client().tls_certs_merge(self.roots.iter().cloned())
    }

    /// A client that knows nothing of the network's certificate authorities.
    fn bare_client(&self) -> ClientBuilder {
        let builder = plain_client().dns_resolver(Arc::new(Resolver(self.clone())));
        match &self.proxy {
            Some(outbound) => builder.proxy(outbound.proxy.clone()),
            None => builder.no_proxy(),
        }
    }

    /// Follows a few redirects, never from https to http and never to an address that may not be called. The client itself drops
    /// credentials when the origin changes.
    pub fn redirects(&self, most: usize) -> redirect::Policy {
        let network = self.clone();
        redirect::Policy::custom(move |attempt| {
            let downgraded = attempt.url().scheme() != "https"
                && attempt
                    .previous()
                    .last()
                    .is_some_and(|previous| previous.scheme() == "https");
            if attempt.previous().len() > most {
                attempt.error("too many redirects")
            } else if downgraded {
                attempt.error("a redirect from https to http")
            } else if let Err(refused) = network.check_url(attempt.url()) {
                attempt.error(refused)
            } else {
                attempt.follow()
            }
        })
    }

    /// Judges a host that another one connects to for us. What it resolves to is not known here.
    pub fn check_host(&self, host: &str) -> Result<(), AddressRefused> {
        self.policy.check_host(host)
    }

    /// A connection of another protocol. It does not go through a proxy.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        self.policy.check_host(host)?;
        let addresses = self.resolve(host, port).await?;
        let connecting = TcpStream::connect(addresses.as_slice());
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        Ok(connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
    }

    /// TLS of another protocol, with the settings of a Connection if it has some.
    pub fn tls(&self, tls: Option<&ClientTls>) -> Result<rustls::ClientConfig, TlsError> {
        match tls {
            Some(tls) => tls.config(&self.roots_pem),
            None => ClientTls::default().config(&self.roots_pem),
        }
    }

    /// The addresses of a host. One that may not be called is enough to refuse them all: a host that also lives inside is not one to call, and
    /// what is called does not hang on the order in which a name server lists addresses.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        self.policy.check_resolved(host, &found)?;
        if found.is_empty() {
            let nothing = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(nothing.into());
        }
        Ok(found)
    }
}

/// A client as every part makes it.
fn plain_client() -> ClientBuilder {
    // fails only when one is installed already, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("signoff/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
}

/// Resolves names for a client.
struct Resolver(Network);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let network = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            // the proxy was named by whoever runs this process, and is the only host that is connected to
            if network.proxy.as_ref().is_some_and(|proxy| proxy.host == host) {
                let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            match network.resolve(host, 0).await {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                Err(ConnectError::Refused(refused)) => Err(refused.into()),
                Err(ConnectError::Io(error)) => Err(error.into()),
            }
        })
    }
}

/// The refusal in an error's chain of causes, if that is what it is.
pub fn refusal_in(error: &(dyn Error + 'static)) -> Option<AddressRefused> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
        .find_map(|error| error.downcast_ref::<AddressRefused>().cloned())
}
