//! The `http` executor: one call to an HTTP API.

mod body;
mod connection;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use kube::Client;
use url::Url;

use self::connection::Target;
use super::error;
use crate::net::Network;
use signoff_api::{reason::StepReason, step::HttpMethod};
use signoff_engine::{
    effect::{Call, HttpRequest},
    facts::{EffectError, HttpResponse},
};

pub use self::body::MAX_BODY;

/// How many redirects are followed, for GET and HEAD only.
const MAX_REDIRECTS: usize = 5;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Performs HTTP effects. Cheap to clone; all clones share connections.
#[derive(Clone, Debug)]
pub struct HttpExecutor {
    kube: KubeClient,
    http: reqwest::Client,
    network: Network,
}

#[derive(Clone)]
struct KubeClient(Client);

impl std::fmt::Debug for KubeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client")]
pub struct HttpExecutorError(#[from] reqwest::Error);

impl HttpExecutor {
    /// An executor that reads Connections and Secrets with this client and calls only where the network allows it.
    pub fn new(client: Client, network: Network) -> Result<Self, HttpExecutorError> {
        // the engine alone decides what is tried again
        let http = network.client().retry(reqwest::retry::never()).build()?;
        Ok(Self {
            kube: KubeClient(client),
            http,
            network,
        })
    }

    /// Performs one attempt. What comes back holds none of the secrets that were used.
    pub async fn perform(
        &self,
        namespace: &str,
        call: &Call,
        request: &HttpRequest,
    ) -> Result<HttpResponse, EffectError> {
        let target = connection::resolve(&self.kube.0, namespace, &request.target).await?;
        let place = place(&target.url);
        match tokio::time::timeout(call.timeout, self.call(call, request, target)).await {
            Ok(result) => result,
            Err(_) => Err(error::timed_out(&place, call.timeout)),
        }
    }

    async fn call(
        &self,
        call: &Call,
        asked: &HttpRequest,
        target: Target,
    ) -> Result<HttpResponse, EffectError> {
        let mut headers = headers(call, asked)?;
        let auth = target.auth.map(|(name, value)| {
            headers.insert(name.clone(), value);
            name
        });
        let mut url = target.url;
        if !asked.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&asked.query);
        }
        let mut redirects_left = match asked.method {
            HttpMethod::Get | HttpMethod::Head => MAX_REDIRECTS,
            HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch | HttpMethod::Delete => 0,
        };
        loop {
            let place = place(&url);
            self.network
                .check_url(&url)
                .map_err(|refused| error::invalid(StepReason::AddressRefused, refused.to_string()))?;
            let mut request = self
                .http
                .request(method(asked.method), url.clone())
                .headers(headers.clone());
            if let Some(body) = &asked.body {
                request = request.json(body);
            }
            let response = request
                .send()
                .await
                .map_err(|error| error::transport(&place, error, &target.secrets))?;
            let next = next_hop(&url, &response).filter(|_| redirects_left > 0);
            let Some(next) = next else {
                return body::read(&place, response, &target.secrets).await;
            };
            if next.origin() != url.origin() {
                strip_credentials(&mut headers, auth.as_ref());
            }
            redirects_left -= 1;
            url = next;
        }
    }
}

/// Where a response redirects to, if it does.
fn next_hop(url: &Url, response: &reqwest::Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    url.join(location)
        .ok()
        .filter(|next| matches!(next.scheme(), "http" | "https"))
}

/// Another origin gets nothing that authenticates at this one.
fn strip_credentials(headers: &mut HeaderMap, auth: Option<&HeaderName>) {
    for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE]
        .iter()
        .chain(auth)
    {
        headers.remove(name);
    }
}

fn headers(call: &Call, asked: &HttpRequest) -> Result<HeaderMap, EffectError> {
    let mut headers = HeaderMap::with_capacity(asked.headers.len() + 2);
    for (name, value) in &asked.headers {
        let wrong = |what| {
            error::invalid(
                StepReason::InvalidRequest,
                format!("the header {name:?} has {what}"),
            )
        };
        let parsed = HeaderName::try_from(name).map_err(|_| wrong("an invalid name"))?;
        if matches!(
            parsed,
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION
        ) {
            return Err(wrong("a name that a step may not set"));
        }
        headers.insert(
            parsed,
            HeaderValue::try_from(value).map_err(|_| wrong("an invalid value"))?,
        );
    }
    let key = HeaderValue::try_from(&call.idempotency_key).map_err(|_| {
        error::invalid(
            StepReason::InvalidRequest,
            "the idempotency key has characters that no header may hold",
        )
    })?;
    headers.insert(IDEMPOTENCY_KEY, key);
    Ok(headers)
}

/// An address as messages name it: without query and login, which may hold secrets.
fn place(url: &Url) -> String {
    let mut place = url.clone();
    // fails where there is no host, and so no login
    let _ = place.set_username("").and_then(|()| place.set_password(None));
    place.set_query(None);
    place.set_fragment(None);
    place.to_string()
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}
