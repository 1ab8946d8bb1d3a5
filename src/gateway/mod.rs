//! HTTP from outside: callbacks, push webhooks, triggers and agents; and for the house: health, readiness, metrics.

mod admin;
mod agents;
mod bodies;
mod callbacks;
mod checks;
mod heartbeat;
mod hooks;
mod payload;
mod problem;
mod pushes;
mod record;
mod resources;
mod server;
mod signature;
mod triggers;
mod unread;
mod values;
mod weak;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use self::problem::Problem;
pub use self::{
    admin::{Down, Knowing, Readiness, admin},
    agents::Agents,
    bodies::Bodies,
    pushes::{Connected, Pushes},
    record::Turns,
    resources::Resources,
    server::{ConnectionLimits, Listener},
    weak::WeakSecrets,
};
use crate::{
    cluster::{context::Context, releases::Releases},
    telemetry::metrics::Metrics,
};
use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use signoff_engine::callback_token::CallbackKeys;

/// What the gateway needs.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Client, clock.
    pub context: Arc<Context>,
    /// Releases, for the checks a wait asks for.
    pub releases: Arc<Releases>,
    /// What callback addresses are signed with.
    pub keys: CallbackKeys,
    /// The namespaces it is for; none are all of them.
    pub namespaces: BTreeSet<String>,
    /// Where a push is passed on to.
    pub pushes: Pushes,
    /// Room for what they send.
    pub bodies: Bodies,
    /// Longest time one request may take, its body included.
    pub request_timeout: Duration,
    /// Turns to write the runs that are called back.
    pub turns: Turns,
    /// Content that it gives out.
    pub resources: Resources,
    /// Agents that it serves, if it does.
    pub agents: Option<Agents>,
    /// The secrets that people were told to be too short.
    pub weak: WeakSecrets,
}

impl Gateway {
    fn is_for(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }
}

/// The routes that are open to the outside.
pub fn router(gateway: Gateway) -> Router {
    let (longest, metrics) = (gateway.request_timeout, gateway.context.metrics().clone());
    let callback = || post(callbacks::receive).fallback(only_post);
    let heartbeat = || post(heartbeat::receive).fallback(only_post);
    Router::new()
        .route("/v1/callbacks/{token}", callback())
        // some senders write it so
        .route("/v1/callbacks/{token}/", callback())
        .route("/v1/callbacks/{token}/heartbeat", heartbeat())
        .route("/v1/callbacks/{token}/heartbeat/", heartbeat())
        .route(
            "/v1/hooks/git/{namespace}/{repository}",
            post(hooks::push).fallback(only_post),
        )
        .route(
            "/v1/triggers/{namespace}/{flow}/{trigger}",
            post(triggers::receive).fallback(only_post),
        )
        .route("/v1/resources/{namespace}/{run}/{sha256}", get(resources::send))
        .route("/v1/values/{namespace}/{flow}", get(values::list))
        .route(
            "/v1/values/{namespace}/{flow}/{name}",
            get(values::read).put(values::write),
        )
        .route("/mcp", any(agents::answer))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address") })
        .layer(middleware::from_fn(move |request, next| {
            guard(longest, metrics.clone(), request, next)
        }))
        .layer(middleware::from_fn(unread::read_away))
        .with_state(Arc::new(gateway))
}

async fn only_post(State(_): State<Arc<Gateway>>) -> Response {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only POST does something here");
    let mut response = problem.into_response();
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

/// Bounds the time of a request and sets the headers that every answer has.
async fn guard(longest: Duration, metrics: Metrics, request: Request, next: Next) -> Response {
    let route = route(request.extensions().get::<MatchedPath>());
    let answer = tokio::time::timeout(longest, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
    });
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    metrics.gateway_answered(route, response.status().as_u16());
    response
}

/// What requests are counted under. No part of an address that its sender chose is in it.
fn route(path: Option<&MatchedPath>) -> &'static str {
    let Some(path) = path.map(MatchedPath::as_str) else {
        return "other";
    };
    let routes = [
        ("/heartbeat", "heartbeats"),
        ("/v1/callbacks/", "callbacks"),
        ("/v1/hooks/", "pushes"),
        ("/v1/triggers/", "triggers"),
        ("/v1/resources/", "resources"),
        ("/v1/values/", "values"),
        ("/mcp", "mcp"),
        ("/healthz", "health"),
    ];
    let known = routes.into_iter().find(|(part, _)| path.contains(part));
    known.map_or("other", |(_, route)| route)
}
