//! `POST /v1/hooks/git/<namespace>/<repository>`: a forge tells that something was pushed.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
};

use super::{
    Gateway,
    problem::Problem,
    signature::{self, SHORTEST_SECRET, SigningKey, WeakSecret},
};
use crate::cluster::{
    error_chain,
    secrets::{self, SecretError},
};
use signoff_api::{
    Repository,
    name::{DnsLabel, ObjectName},
};

/// Largest push event, in bytes: what GitHub sends at most.
const MAX_BODY: usize = 25 << 20;

pub(super) async fn push(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(DnsLabel, ObjectName)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let unavailable = |error: kube::Error| {
        tracing::warn!(error = %error_chain(&error), "a push could not be passed on");
        Problem::unavailable()
    };
    // whoever does not know the secret learns nothing about which repositories there are
    let unknown = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            format!(
                "there is no such webhook, or the signature is wrong, or its secret has fewer than {SHORTEST_SECRET} bytes"
            ),
        )
    };
    // what is no name is part of no address of the API server
    let Path((namespace, name)) = path.map_err(|_| unknown())?;
    if !gateway.is_for(&namespace) {
        return Err(unknown());
    }
    let repository = gateway
        .context
        .namespaced::<Repository>(&namespace)
        .get_opt(&name)
        .await
        .map_err(unavailable)?
        .ok_or_else(unknown)?;
    let webhook = repository.spec.webhook.clone().ok_or_else(unknown)?;
    let body = gateway.bodies.read(&namespace, body, MAX_BODY).await?;
    let secret = secrets::read(gateway.context.client(), &namespace, &webhook.secret_ref).await;
    let secret = secret.map_err(|error| match error {
        SecretError::Unreadable(_, error) => unavailable(error),
        SecretError::NoSecret { .. } | SecretError::NoKey { .. } | SecretError::NotText { .. } => unknown(),
    })?;
    let now = gateway.context.now().as_second();
    match is_signed(&secret.bytes, &headers, &body.bytes, now) {
        Ok(true) => {}
        Ok(false) => return Err(unknown()),
        Err(weak) => {
            gateway
                .weak
                .tell(&gateway.context, &repository, &secret.of, weak)
                .await;
            return Err(unknown());
        }
    }
    gateway
        .pushes
        .pass_on(&gateway.context, &namespace, &name)
        .await
        .map_err(unavailable)?;
    Ok(StatusCode::ACCEPTED)
}

/// Whether whoever sent this knows the secret, in one of the ways that forges have: GitHub and Gitea sign the body, GitLab does so by the
/// Standard Webhooks specification where a signing token is set, and else shows the secret.
fn is_signed(secret: &[u8], headers: &HeaderMap, body: &[u8], now: i64) -> Result<bool, WeakSecret> {
    let key = SigningKey::plain(secret)?;
    if let Some(header) = signature::only_text(headers, "x-hub-signature-256") {
        return Ok(signature::hub(&key, header, body));
    }
    // a project may have both, of which one is ours
    let signs = headers.contains_key("webhook-signature")
        && SigningKey::standard(secret)
            .is_ok_and(|key| signature::standard_webhooks(&key, headers, body, now).is_ok());
    let shows = signature::only(headers, "x-gitlab-token");
    Ok(signs || shows.is_some_and(|given| signature::token(&key, given.as_bytes())))
}
