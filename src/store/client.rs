//! The HTTP client of the store. Its address is the operator's own configuration, so the policy for addresses that flows
//! name does not apply: a store may be inside the cluster, and credentials may come from a metadata address. It trusts the
//! certificate authorities that all outbound calls trust, and uses a proxy only where its own settings name one.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig,
    client::{HttpClient, HttpConnector},
};

use crate::net::Network;

/// Longest time in which nothing arrives.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one request is tried again.
const PATIENCE: Duration = Duration::from_secs(180);

/// Makes clients.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<Network>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options
            .get_config_value(&ClientConfigKey::AllowHttp)
            .is_some_and(|value| value == "true");
        let proxy = options.get_config_value(&ClientConfigKey::ProxyUrl);
        let client = || {
            let client = self.0.own_client().http1_only().read_timeout(READ_TIMEOUT);
            let client = match &proxy {
                Some(url) => client.proxy(reqwest::Proxy::all(url)?),
                None => client.no_proxy(),
            };
            client.https_only(!allows_http).build()
        };
        let unusable = |error| object_store::Error::Generic {
            store: "HTTP client",
            source: Box::new(error),
        };
        client().map(HttpClient::new).map_err(unusable)
    }
}

/// A store that is away for a minute or two is waited for.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            ..BackoffConfig::default()
        },
        // pauses are random and may be short, so that a number of retries is no time
        max_retries: usize::MAX,
        retry_timeout: PATIENCE,
    }
}
