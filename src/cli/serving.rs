//! The client of a process that serves: its requests carry its name, and it keeps no more connections than it uses.

use std::time::Duration;

use http::{HeaderValue, header::USER_AGENT};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

use super::{Global, connect, error::CliError};

/// Longest silence on a connection. API servers send a bookmark on every watch once a minute, so one that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(150);
/// How long a connection is kept that nobody uses. A burst opens hundreds of some thirty kilobytes each, and API servers keep them for 90 s.
const IDLE: Duration = Duration::from_secs(20);

/// A client for as long as a process serves, to the API server that the arguments and the environment say. It is named for the audit log.
pub(super) async fn client(global: &Global, name: &str) -> Result<Client, CliError> {
    let mut config = connect::config(global).await?;
    // a connection on which nothing comes any more is given up
    config.read_timeout = Some(SILENCE);
    let agent = format!("signoff/{} ({name})", env!("CARGO_PKG_VERSION"));
    let agent = HeaderValue::from_str(&agent)
        .map_err(|error| CliError::internal(&format!("{name:?} is no name for a process"), &error))?;
    config.headers.push((USER_AGENT, agent));
    build(config).map_err(|error| CliError::internal("the kubeconfig cannot be used", &error))
}

/// As kube builds its own, which has no say in how long connections are kept.
fn build(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        // kube knows which kinds of proxies it was built with
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let pool: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector);
    let retries = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retries)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(pool);
    Ok(Client::new(service, config.default_namespace))
}
