//! For the house: health, readiness, metrics.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use kube::Client;

use crate::{controllers::approval::OpenApprovals, telemetry::metrics::Metrics};

/// Longest wait for the API server's answer before it counts as not reachable.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a process can do its work. Clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Standing>>);

#[derive(Debug, Default)]
enum Standing {
    /// The watches have not shown everything yet.
    #[default]
    Starting,
    /// It serves what needs no leader, and would lead if nobody else did.
    Standby,
    /// It leads and knows everything there is.
    Leading(OpenApprovals),
}

impl Readiness {
    /// It serves what needs no leader.
    pub fn standby(&self) {
        *self.lock() = Standing::Standby;
    }

    /// It leads, and the watches have shown everything there is.
    pub fn leading(&self, approvals: OpenApprovals) {
        *self.lock() = Standing::Leading(approvals);
    }

    fn approvals(&self) -> Option<OpenApprovals> {
        match &*self.lock() {
            Standing::Leading(approvals) => Some(approvals.clone()),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    if matches!(*admin.readiness.lock(), Standing::Starting) {
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
    if let Some(approvals) = admin.readiness.approvals() {
        approvals.count(&admin.metrics);
    }
    match admin.metrics.render() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
