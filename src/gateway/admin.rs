//! For the house: health, readiness, metrics.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use kube::{Client, runtime::reflector::Store};

use crate::{api::Approval, controllers::approval::count_pending, telemetry::metrics::Metrics};

/// Longest wait for the API server's answer before it counts as not reachable.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the operator can do its work. Clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<OnceLock<Store<Approval>>>);

impl Readiness {
    /// The watches have shown everything there is.
    pub fn caches_filled(&self, approvals: Store<Approval>) {
        // a second operator in the same process would be another one with its own readiness
        let _ = self.0.set(approvals);
    }
}

#[derive(Clone)]
struct Admin {
    client: Client,
    metrics: Metrics,
    readiness: Readiness,
}

/// The routes of the admin address.
pub fn admin(client: Client, metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(Admin {
            client,
            metrics,
            readiness,
        })
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.readiness.0.get().is_none() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the watches have not shown everything yet",
        )
            .into_response();
    }
    match tokio::time::timeout(PATIENCE, admin.client.apiserver_version()).await {
        Ok(Ok(_)) => "ok".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the API server does not answer").into_response(),
    }
}

async fn scrape(State(admin): State<Admin>) -> Response {
    if let Some(approvals) = admin.readiness.0.get() {
        count_pending(approvals, &admin.metrics);
    }
    match admin.metrics.render() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
