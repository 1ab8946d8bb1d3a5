//! What every controller shares: the client, the clock, and a way to tell people about transitions.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{NamespaceResourceScope, api::events::v1::Event, jiff::Timestamp};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    runtime::events::EventType,
};

use super::{
    event,
    fairness::Pool,
    objects::{self, Decoded, Kind, Listed, PassedOver},
    server_time::Skew,
    timers::Timers,
};
use crate::telemetry::metrics::Metrics;
use signoff_api::{names, reason::Classified};

/// Pauses before an Event that could not be written is tried again.
const EVENT_RETRIES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Longest time that a timer waits before it looks at the clocks again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Reads the time. The default reads the system's clocks; a test may stand still.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    steady: Arc<dyn Fn() -> Duration + Send + Sync>,
    longest_wait: Duration,
}

impl Clock {
    /// The system's clock: the one place that reads it for the controllers.
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// A clock that reads the time from a function.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            wall: Arc::new(read),
            steady: Arc::new(since_boot),
            longest_wait: LONGEST_WAIT,
        }
    }

    /// The same, with this for the clock that nobody sets.
    #[must_use]
    pub fn with_steady(self, read: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            steady: Arc::new(read),
            ..self
        }
    }

    /// The same, looked at so often by timers that wait.
    #[must_use]
    pub fn looked_at_every(self, longest_wait: Duration) -> Self {
        Self { longest_wait, ..self }
    }

    /// This clock, corrected to the API server's.
    #[must_use]
    pub fn corrected_by(self, skew: Skew) -> Self {
        let wall = self.wall;
        Self {
            wall: Arc::new(move || {
                let now = wall();
                now.checked_add(skew.correction()).unwrap_or(now)
            }),
            ..self
        }
    }

    /// What it reads, in whole microseconds: what the API stores, so that a time that was written is still itself when it is read.
    pub fn now(&self) -> Timestamp {
        let now = (self.wall)();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

impl Clock {
    /// How much time has passed since some moment before: it runs while the machine sleeps, and nobody sets it.
    pub fn steady(&self) -> Duration {
        (self.steady)()
    }

    /// Longest time that a timer waits before it looks again.
    pub fn longest_wait(&self) -> Duration {
        self.longest_wait
    }
}

/// How much time has passed since the machine began, also while it slept.
pub fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // where there is no other, this one runs while the machine sleeps
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), rest.unwrap_or_default())
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
    passed_over: PassedOver,
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
            passed_over: PassedOver::default(),
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

    /// What was told of objects that cannot be decoded.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed_over
    }

    /// Lists objects of a namespace. Those that cannot be decoded are reported, and do not keep the others away.
    ///
    /// # Errors
    /// If the API server refuses or does not answer.
    pub async fn list<K: Kind>(&self, namespace: &str, params: &ListParams) -> kube::Result<Listed<K>> {
        let listed = objects::list(&self.namespaced::<Decoded<K>>(namespace), params).await?;
        for object in &listed.undecodable {
            self.pass_over::<K>(object);
        }
        Ok(listed)
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

    /// Timers by its clock.
    pub fn timers<K: Ord>(&self) -> Timers<K> {
        Timers::new(self.clock.clone())
    }

    /// How much time has passed since some moment before, whatever the wall clock shows.
    pub fn steady(&self) -> Duration {
        self.clock.steady()
    }

    /// The work on an object panicked, which is a defect: it is counted, and tried again by itself.
    pub fn panicked(&self, kind: &'static str, object: &dyn fmt::Display, panic: &str) {
        self.metrics.reconcile_failed(kind, "Defect");
        tracing::error!(kind, %object, panic, "the work on an object broke, which is a defect; it is tried again");
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
        let now = (self.clock.wall)();
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
