//! What goes out to the API server: writes are counted, and refused while this process does not lead.

use std::time::Duration;

use http::{Method, Request};
use kube::{Client, client::Body};

use super::leadership::Leadership;
use crate::telemetry::metrics::Metrics;

/// Longest wait for an answer to begin. An API server gives up a request after a minute at most, and a busy one after seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A write was held back: another process leads, and may have written since.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this process does not lead, so it writes nothing")]
pub struct NotLeading;

/// The same client, with every write counted by kind, and held back while `leadership` is not held. Its reads go on.
pub fn outgoing(client: Client, metrics: Metrics, leadership: Leadership) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let is_write = is_write(request.method());
        let held_back = is_write && !leadership.is_held();
        if is_write && !held_back {
            metrics.api_write(kind_of(request.uri().path()));
        }
        let client = client.clone();
        async move {
            if held_back {
                return Err(kube::Error::Service(NotLeading.into()));
            }
            if is_watch(&request) {
                return client.send(request).await;
            }
            // whether a write was applied is not known then, which is for its caller to find out
            match tokio::time::timeout(PATIENCE, client.send(request)).await {
                Ok(answer) => answer,
                Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
            }
        }
    });
    Client::new(service, namespace)
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true")
}

fn is_write(method: &Method) -> bool {
    matches!(
        *method,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    )
}

/// The resource a path is about, out of those the operator writes.
fn kind_of(path: &str) -> &'static str {
    const KINDS: [&str; 11] = [
        "repositories",
        "flows",
        "releases",
        "runs",
        "approvals",
        "decisions",
        "connections",
        "events",
        "leases",
        "secrets",
        "selfsubjectaccessreviews",
    ];
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let resource = match parts.next() {
        Some("api") => parts.nth(1),
        Some("apis") => parts.nth(2),
        _ => None,
    };
    let resource = match resource {
        // /…/namespaces/<name>/<resource>
        Some("namespaces") => parts.nth(1),
        other => other,
    };
    KINDS
        .into_iter()
        .find(|kind| Some(*kind) == resource)
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_kind() {
        for (path, kind) in [
            (
                "/apis/signoff.dev/v1alpha1/namespaces/default/runs/r/status",
                "runs",
            ),
            ("/apis/events.k8s.io/v1/namespaces/default/events", "events"),
            ("/api/v1/namespaces/default/secrets", "secrets"),
            ("/apis/signoff.dev/v1alpha1/runs", "runs"),
            ("/api/v1/namespaces/default", "other"),
            ("/apis/example.com/v1/namespaces/default/things/x", "other"),
        ] {
            assert_eq!(kind_of(path), kind, "{path}");
        }
    }
}
