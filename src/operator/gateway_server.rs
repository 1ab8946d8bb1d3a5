//! The gateway in a process of its own, which may do nothing but what the gateway does.

use std::{collections::BTreeSet, sync::Arc};

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{KeysError, OperatorError, keys};
use crate::{
    cluster::{
        context::{Clock, Context},
        leadership::Leadership,
        releases::Releases,
        server_time::Skew,
        throttled_client::{RequestBound, ThrottledClient},
    },
    gateway::{
        self, Agents, Bodies, ConnectionLimits, Gateway, Listener, Pushes, Readiness, Resources, Turns,
        WeakSecrets,
    },
    store::Store,
    telemetry::metrics::Metrics,
};
use signoff_engine::callback_token::CallbackKeys;

/// How the gateway runs.
#[derive(Clone, Debug)]
pub struct GatewayServerOptions {
    /// Namespace of the operator, where the keys of callback addresses are.
    pub namespace: String,
    /// The namespaces to work in; none are all of them.
    pub watch_namespaces: BTreeSet<String>,
    /// What it bears.
    pub connections: ConnectionLimits,
    /// Where content is kept that is large or binary.
    pub store: Option<Store>,
    /// Agents that it serves, if it does.
    pub agents: Option<Agents>,
}

/// The gateway, ready to serve.
#[derive(Debug)]
pub struct GatewayServer {
    context: Arc<Context>,
    keys: CallbackKeys,
    namespaces: BTreeSet<String>,
    connections: ConnectionLimits,
    store: Option<Store>,
    agents: Option<Agents>,
    metrics: Metrics,
    readiness: Readiness,
}

impl GatewayServer {
    /// Waits until an operator has made the keys of callback addresses.
    ///
    /// # Errors
    /// When the keys may not be read or cannot be used.
    pub async fn start(client: Client, options: GatewayServerOptions) -> Result<Self, KeysError> {
        let metrics = Metrics::new();
        let (clock, skew) = (Clock::system(), Skew::default());
        let throttled = ThrottledClient {
            metrics: metrics.clone(),
            leadership: Leadership::unrivalled(),
            clock: clock.clone(),
            skew: skew.clone(),
            bound: RequestBound::default(),
        };
        let client = throttled.through(client);
        let keys = keys::await_made(&client, &options.namespace).await?;
        let context = Context::new(client, clock.corrected_by(skew));
        Ok(Self {
            context: Arc::new(context.counting(metrics.clone())),
            keys,
            namespaces: options.watch_namespaces,
            connections: options.connections,
            store: options.store,
            agents: options.agents,
            metrics,
            readiness: Readiness::default(),
        })
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The routes of the admin address: health, readiness, metrics.
    pub fn admin(&self) -> axum::Router {
        let client = self.context.client().clone();
        gateway::admin(client, self.metrics.clone(), self.readiness.clone())
    }

    /// Serves on this listener until `shutdown`, then lets requests under way end.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), OperatorError> {
        self.readiness.standby();
        let router = gateway::router(Gateway {
            releases: Arc::new(Releases::new(Arc::clone(&self.context))),
            context: self.context,
            keys: self.keys,
            namespaces: self.namespaces,
            pushes: Pushes::default(),
            bodies: Bodies::default(),
            request_timeout: self.connections.request_timeout,
            turns: Turns::default(),
            resources: Resources::of(self.store),
            agents: self.agents,
            weak: WeakSecrets::default(),
        });
        let serving = Listener::gateway(self.connections, self.metrics);
        let served = serving.serve(listener, router, shutdown).await;
        served.map_err(OperatorError::Gateway)
    }
}
