//! For the house: health, readiness, metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{Request, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use kube::Client;

use crate::{cluster::shared::OpenApprovals, telemetry::metrics::Metrics};

/// Longest wait for the API server's answer before it counts as not reachable.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a process can do its work. Clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<ServingState>>, Arc<Mutex<Vec<&'static str>>>);

#[derive(Debug, Default)]
enum ServingState {
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
    known: Arc<Mutex<BTreeMap<Option<String>, OpenApprovals>>>,
    all: usize,
}

impl Knowing {
    /// The watches of the one for this namespace, or for all, have shown everything there is for it. One that starts again says so again.
    pub fn knows(&self, scope: Option<String>, approvals: OpenApprovals) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(scope, approvals);
        if known.len() == self.all {
            *self.readiness.lock() = ServingState::Leading(known.values().cloned().collect());
        }
    }
}

impl Readiness {
    /// It serves what needs no leader.
    pub fn standby(&self) {
        *self.lock() = ServingState::Standby;
    }

    /// It leads; so many have to know what there is before it is ready.
    pub fn once_all_know(self, all: usize) -> Knowing {
        Knowing {
            readiness: self,
            known: Arc::default(),
            all,
        }
    }

    /// A task is not running, for as long as this is kept.
    pub fn down(&self, task: &'static str) -> Down {
        self.tasks().push(task);
        Down(self.clone(), task)
    }

    /// The tasks that are not running.
    pub fn is_down(&self) -> Vec<&'static str> {
        self.tasks().clone()
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn approvals(&self) -> Vec<OpenApprovals> {
        match &*self.lock() {
            ServingState::Leading(approvals) => approvals.clone(),
            _ => Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ServingState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that is not running.
#[derive(Debug)]
pub struct Down(Readiness, &'static str);

impl Drop for Down {
    fn drop(&mut self) {
        let mut tasks = self.0.tasks();
        if let Some(index) = tasks.iter().position(|task| *task == self.1) {
            tasks.swap_remove(index);
        }
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
    if matches!(*admin.readiness.lock(), ServingState::Starting) {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the watches have not shown everything yet",
        )
            .into_response();
    }
    let down = admin.readiness.is_down();
    if !down.is_empty() {
        let text = format!("not running: {}", down.join(", "));
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let asked = Request::get("/livez")
        .body(Vec::new())
        .map_err(kube::Error::HttpError);
    let answer = async { admin.client.request_text(asked?).await };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(_)) => "ok".into_response(),
        // one that does not tell everybody answers all the same
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => "ok".into_response(),
        Ok(Err(kube::Error::Api(_))) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the API server is not ready").into_response()
        }
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
