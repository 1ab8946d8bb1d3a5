//! Requests to the gateway with the user's own token.

use std::time::Duration;

use futures::StreamExt as _;
use http::{Method, StatusCode, header};
use kube::Config;
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _};
use url::Url;

use super::error::{CliError, exit};
use crate::cluster::error_chain;

/// Longest time in which nothing comes.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest answer that says what is wrong, in bytes.
const MAX_PROBLEM: usize = 64 << 10;

/// The token that the kubeconfig has for the API server.
pub(super) async fn token(config: Config) -> Result<String, CliError> {
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        CliError::internal("the token of the kubeconfig cannot be used", error)
    };
    let layer = kube::client::ConfigExt::auth_layer(&config).map_err(|error| unusable(&error))?;
    let seen = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
        let value = request.headers().get(header::AUTHORIZATION).cloned();
        Ok::<_, tower::BoxError>(http::Response::new(value))
    });
    let asked = http::Request::new(kube::client::Body::empty());
    let value = match layer {
        Some(layer) => layer.layer(seen).oneshot(asked).await,
        None => Ok(http::Response::new(None)),
    };
    let value = value.map_err(|error| unusable(error.as_ref()))?;
    let value = value.body().as_ref().and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    token.map(str::to_owned).ok_or_else(|| {
        let message = "the kubeconfig has no token, and the gateway takes nothing else";
        CliError::new("NoToken", exit::REFUSED, message).hint(
            "choose a context of a user with a token: kubectl create token makes one for a service account",
        )
    })
}

/// Sends a request, and gives the answer if it is a success.
pub(super) async fn send(
    gateway: &Url,
    method: Method,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> Result<reqwest::Response, CliError> {
    let url = format!("{}{path}", gateway.as_str().trim_end_matches('/'));
    let unreachable = |error: reqwest::Error| {
        let message = format!(
            "the gateway at {gateway} cannot be reached: {}",
            error_chain(&error.without_url())
        );
        CliError::new("Unreachable", exit::UNREACHABLE, message).hint("name it with --gateway")
    };
    let client = crate::net::Network::new(crate::net::AddressPolicy::local())
        .own_client()
        .read_timeout(SILENCE)
        .build()
        .map_err(unreachable)?;
    let mut request = client.request(method, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem = document(response, MAX_PROBLEM).await.unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("the gateway gave no reason");
    let (code, exit) = match status {
        StatusCode::NOT_FOUND => ("NotFound", exit::NOT_FOUND),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ("Forbidden", exit::REFUSED),
        StatusCode::CONFLICT => ("Conflict", exit::FAILURE),
        _ => ("Failed", exit::FAILURE),
    };
    Err(CliError::new(code, exit, signoff_api::text::visible(detail)))
}

/// The answer as a document, of at most so many bytes.
pub(super) async fn document(response: reqwest::Response, most: usize) -> Result<Value, CliError> {
    let unusable = |why: &str| {
        CliError::new(
            "Failed",
            exit::FAILURE,
            format!("the answer of the gateway {why}"),
        )
    };
    let mut pieces = response.bytes_stream();
    let mut said = Vec::new();
    while let Some(piece) = pieces.next().await {
        said.extend_from_slice(&piece.map_err(|_| unusable("broke off"))?);
        if said.len() > most {
            return Err(unusable("is too long"));
        }
    }
    serde_json::from_slice(&said).map_err(|_| unusable("is not JSON"))
}
