//! What every controller shares: the client, the clock, and a way to tell people about transitions.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{NamespaceResourceScope, api::events::v1::Event, jiff::Timestamp};
use kube::{Api, Client, Resource, api::PostParams, runtime::events::EventType};

use super::{event, fairness::Pool, server_time::Skew};
use crate::{
    api::{names, reason::Classified},
    telemetry::metrics::Metrics,
};

/// Pauses before an Event that could not be written is tried again.
const EVENT_RETRIES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Reads the time. The default reads the system clock; a test may stand still.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock: the one place that reads it for the controllers.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that reads the time from a function.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// This clock, corrected to the API server's.
    #[must_use]
    pub fn corrected_by(self, skew: Skew) -> Self {
        Self::from_fn(move || {
            let now = self.now();
            now.checked_add(skew.correction()).unwrap_or(now)
        })
    }

    /// What it reads, in whole microseconds: what the API stores, so that a time that was written is still itself when it is read.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What every controller shares.
#[derive(Clone)]
pub struct Context {
    client: Client,
    clock: Clock,
    /// What this process calls itself in Events.
    instance: Arc<str>,
    /// The one namespace it sees; all of them without.
    watched: Option<String>,
    metrics: Metrics,
    pools: Pools,
}

/// Threads for what tenants wrote, which no serving thread works on. Clones share them.
#[derive(Clone, Debug)]
pub struct Pools {
    expressions: Pool,
    documents: Pool,
}

impl Pools {
    /// Threads that start when there is work.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            expressions: Pool::new("expressions", metrics.clone()),
            documents: Pool::new("documents", metrics.clone()),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    /// A context over a client, with the time from `clock`.
    pub fn new(client: Client, clock: Clock) -> Self {
        let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| names::FIELD_MANAGER.to_owned());
        let metrics = Metrics::new();
        Self {
            client,
            clock,
            instance: instance.into(),
            watched: None,
            pools: Pools::new(&metrics),
            metrics,
        }
    }

    /// The same, seeing only this namespace if there is one: nothing is asked of the API server outside it.
    #[must_use]
    pub fn watching(self, namespace: Option<String>) -> Self {
        Self {
            watched: namespace,
            ..self
        }
    }

    /// The same, counting into these metrics.
    #[must_use]
    pub fn counting(self, metrics: Metrics) -> Self {
        Self {
            pools: Pools::new(&metrics),
            metrics,
            ..self
        }
    }

    /// The same, with these threads for what tenants wrote.
    #[must_use]
    pub fn sharing(self, pools: Pools) -> Self {
        Self { pools, ..self }
    }

    /// Does what a tenant's expressions, schemas or definitions ask for, which takes a fraction of a second at most, away from the threads
    /// that serve. Namespaces take turns.
    pub async fn evaluate<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.pools.expressions.run(namespace, work).await
    }

    /// The same, before all else that waits for the namespace.
    pub async fn evaluate_first<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.pools.expressions.run_first(namespace, work).await
    }

    /// Reads what a tenant's files hold, which may take seconds, away from the threads that serve. Namespaces take turns.
    pub async fn read<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.pools.documents.run(namespace, work).await
    }

    /// Where it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Runs one reconciliation of an object of a kind, and counts it with how long it took and what class of error it ended with.
    pub async fn counted<T, E: Classified>(
        &self,
        kind: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = work.await;
        match &result {
            Ok(_) => self.metrics.reconciled(kind, began.elapsed()),
            Err(error) => self.metrics.reconcile_failed(kind, error.class().as_str()),
        }
        result
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The time now, as near to the API server's as the answers that passed by have shown it. Whether a deadline has passed is asked of the
    /// server itself.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether a namespace is watched.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watched.as_ref().is_none_or(|watched| watched == namespace)
    }

    /// All objects of a kind in every namespace that is watched.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.watched {
            Some(namespace) => self.namespaced(namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The objects of a kind in one namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Tells people about a transition of an object. One that cannot be written is tried again a few times; losing it loses no state, so in the end
    /// it is only logged.
    pub async fn event<K>(&self, object: &K, type_: EventType, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let about = object.object_ref(&());
        let events: Api<Event> = self.namespaced(about.namespace.as_deref().unwrap_or("default"));
        let now = (self.clock.0)();
        let mut pauses = EVENT_RETRIES.iter();
        loop {
            let event = event::event(about.clone(), &self.instance, type_, reason, note, now);
            let Err(error) = events.create(&PostParams::default(), &event).await else {
                return;
            };
            // a name that is taken is made anew; what is refused for good is not sent again
            let may_help = match &error {
                kube::Error::Api(status) => matches!(status.code, 409 | 429 | 500..=599),
                _ => true,
            };
            let Some(pause) = pauses.next().filter(|_| may_help) else {
                tracing::warn!(reason, error = %super::error_chain(&error), "an event could not be written");
                return;
            };
            tokio::time::sleep(*pause).await;
        }
    }
}
