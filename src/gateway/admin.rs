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
    Leading(Vec<OpenApprovals>),
}

/// One of several that know a part each of what there is. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct Knowing {
    readiness: Readiness,
    known: Arc<Mutex<Vec<OpenApprovals>>>,
    all: usize,
}

impl Knowing {
    /// The watches of one have shown everything there is for it.
    pub fn knows(&self, approvals: OpenApprovals) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push(approvals);
        if known.len() == self.all {
            *self.readiness.lock() = Standing::Leading(known.clone());
        }
    }
}

impl Readiness {
    /// It serves what needs no leader.
    pub fn standby(&self) {
        *self.lock() = Standing::Standby;
    }

    /// It leads; so many have to know what there is before it is ready.
    pub fn once_all_know(self, all: usize) -> Knowing {
        Knowing {
            readiness: self,
            known: Arc::default(),
            all,
        }
    }

    fn approvals(&self) -> Vec<OpenApprovals> {
        match &*self.lock() {
            Standing::Leading(approvals) => approvals.clone(),
            _ => Vec::new(),
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
    let open = admin.readiness.approvals();
    if !open.is_empty() {
        OpenApprovals::count(&open, &admin.metrics);
    }
    match admin.metrics.render() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
