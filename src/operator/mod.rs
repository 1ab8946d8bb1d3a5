//! The operator as a whole: the controllers of whoever leads, and the gateway, which every process serves.

mod controller_set;
mod gateway_server;
mod keys;
mod supervisor;
mod watches;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use self::supervisor::Exhausted;
use self::{controller_set::ControllerSet, supervisor::Supervisor};
pub use self::{
    gateway_server::{GatewayServer, GatewayServerOptions},
    keys::KeysError,
};
pub use crate::cluster::identity::{Policies, RenderedError};
use crate::{
    cluster::{
        context::{Clock, Context, Pools},
        leadership::{Election, Leadership, Timing, leadership},
        releases::Releases,
        server_time::Skew,
        throttled_client::{RequestBound, ThrottledClient},
    },
    gateway::{
        self, Agents, Bodies, ConnectionLimits, Gateway, Listener, Pushes, Readiness, Resources, Turns,
        WeakSecrets,
    },
    net::{AddressPolicy, Network},
    perform::{Executors, JobLogs, http::HttpExecutorError},
    records,
    remotes::RepositorySettings,
    runs::{Bounds, JobRunner},
    store::Store,
    telemetry::{memory, metrics::Metrics},
};
use signoff_engine::callback_token::CallbackMinter;

/// The Lease that rivals campaign for, in the namespace of the operator.
pub const LEASE: &str = "signoff-leader";

/// How several operators on the same API server agree on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rivalry {
    /// What this process calls itself in the Lease; no other process may share it.
    pub identity: String,
    /// How long things may take.
    pub timing: Timing,
}

/// Why no Jobs are run, unless something else is said.
pub const NO_JOBS: &str =
    "this operator runs no jobs; an administrator allows them with --jobs (in the chart: jobs.enabled)";

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Where the gateway is reached from outside; callback addresses begin with it.
    pub gateway_base_url: String,
    /// Address of the page for people. Messages about questions link to it.
    pub ui_url: Option<String>,
    /// Namespace of the operator itself, where it keeps its keys.
    pub namespace: String,
    /// The namespaces to work in; none are all of them.
    pub watch_namespaces: BTreeSet<String>,
    /// Where clones of git remotes are kept.
    pub git_cache: PathBuf,
    /// Where steps, git and forge clients may connect.
    pub network: Network,
    /// Where content is kept that is large or binary. Without it, steps that need one fail with `NoStore`.
    pub store: Option<Store>,
    /// Agents that the gateway serves, if it does.
    pub agents: Option<Agents>,
    /// How often content of runs that were deleted is looked for.
    pub collect_every: Duration,
    /// Name of the Secret beside the operator with the keys that sign records of runs. Without it they are not signed.
    pub record_keys: Option<String>,
    /// How often it is looked for runs without a record, and for those past their retention.
    pub records: records::Timing,
    /// How Jobs of `job` steps are run.
    pub jobs: JobRunner,
    /// Where the logs of their pods are.
    pub job_logs: JobLogs,
    /// How many effects are performed at the same time.
    pub max_effects: usize,
    /// What the gateway bears, if it is served here.
    pub connections: ConnectionLimits,
    /// The admission policies, where they may be watched.
    pub policies: Option<Policies>,
    /// Count decisions even if the API server does not prove who made them.
    pub count_unproven_decisions: bool,
    /// What time this process believes it is. Deadlines of people follow the API server's clock instead.
    pub clock: Clock,
    /// How several operators agree on one; without it this one has no rivals.
    pub rivalry: Option<Rivalry>,
}

impl OperatorOptions {
    /// As in a cluster: nothing of this machine may be called or read.
    pub fn new(gateway_base_url: impl Into<String>, git_cache: impl Into<PathBuf>) -> Self {
        Self {
            gateway_base_url: gateway_base_url.into().trim_end_matches('/').to_owned(),
            ui_url: None,
            namespace: "signoff-system".to_owned(),
            watch_namespaces: BTreeSet::new(),
            git_cache: git_cache.into(),
            network: Network::new(AddressPolicy::default()),
            store: None,
            agents: None,
            collect_every: Duration::from_secs(600),
            record_keys: None,
            records: records::Timing::default(),
            jobs: JobRunner::Off(NO_JOBS),
            job_logs: JobLogs::Cluster,
            max_effects: 256,
            connections: ConnectionLimits::default(),
            policies: None,
            count_unproven_decisions: false,
            clock: Clock::system(),
            rivalry: None,
        }
    }
}

/// Why the operator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The keys of callback addresses could not be read or made.
    #[error("cannot set up the keys of callback addresses")]
    Keys(#[from] KeysError),
    /// HTTP steps could not be set up.
    #[error("cannot set up HTTP steps")]
    Http(#[from] HttpExecutorError),
    /// The gateway stopped.
    #[error("the gateway stopped")]
    Gateway(#[source] std::io::Error),
    /// A task cannot go on.
    #[error("the operator cannot go on")]
    Exhausted(#[from] Exhausted),
    /// It can never lead again.
    #[error("the campaign for the lease ended, so this process can never lead again")]
    Campaign,
}

/// The operator, ready to run.
#[derive(Debug)]
pub struct Operator {
    /// For the gateway, which writes whether or not this process leads.
    serving: Arc<Context>,
    /// For the controllers, which write only while it does.
    leading: Arc<Context>,
    leadership: Leadership,
    campaign: Option<Campaign>,
    options: OperatorOptions,
    metrics: Metrics,
    executors: Executors,
    remotes: RepositorySettings,
    callbacks: CallbackMinter,
    /// Names the installation in the store.
    installation: String,
    releases: Arc<Releases>,
    readiness: Readiness,
    pushes: Pushes,
}

/// What is needed to become the one that leads.
type Campaign = (Election, crate::cluster::leadership::LeaderHandle);

impl Operator {
    /// Sets everything up, without beginning any work.
    pub async fn start(client: Client, options: OperatorOptions) -> Result<Self, OperatorError> {
        let metrics = Metrics::new();
        let skew = Skew::default();
        let throttled = |leadership: Leadership| ThrottledClient {
            metrics: metrics.clone(),
            leadership,
            clock: options.clock.clone(),
            skew: skew.clone(),
            bound: RequestBound::default(),
        };
        let unbound = throttled(Leadership::unrivalled()).through(client.clone());
        let keys = keys::read_or_make(&unbound, &options.namespace).await?;
        let installation = match &options.store {
            Some(_) => keys::installation(&unbound, &options.namespace).await?,
            None => String::new(),
        };
        let (leadership, campaign) = rivals(&unbound, &options);
        let bound = throttled(leadership.clone()).through(client);
        let clock = options.clock.clone().corrected_by(skew);
        let pools = Pools::new(&metrics);
        let context = |client| {
            let context = Context::new(client, clock.clone());
            Arc::new(context.counting(metrics.clone()).sharing(pools.clone()))
        };
        let (serving, leading) = (context(unbound), context(bound));
        let remotes = controller_set::remotes(&options);
        Ok(Self {
            executors: Executors::new(leading.client().clone(), remotes.clone(), clock.clone())?
                .keeping_in(options.store.clone()),
            remotes,
            callbacks: CallbackMinter {
                base_url: options.gateway_base_url.clone(),
                keys,
            },
            releases: Arc::new(Releases::new(Arc::clone(&serving))),
            installation,
            readiness: Readiness::default(),
            pushes: Pushes::default(),
            serving,
            leading,
            leadership,
            campaign,
            options,
            metrics,
        })
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The routes of the admin address: health, readiness, metrics.
    pub fn admin(&self) -> axum::Router {
        let client = self.serving.client().clone();
        gateway::admin(client, self.metrics.clone(), self.readiness.clone())
    }

    /// Serves the gateway on this listener, if there is one, and leads whenever it can, until `shutdown`; then lets what is under way
    /// end, and lets another process lead.
    pub async fn run(
        mut self,
        gateway: Option<TcpListener>,
        shutdown: CancellationToken,
    ) -> Result<(), OperatorError> {
        let serving = gateway.map(|listener| {
            let router = gateway::router(Gateway {
                context: Arc::clone(&self.serving),
                releases: Arc::clone(&self.releases),
                keys: self.callbacks.keys.clone(),
                namespaces: self.options.watch_namespaces.clone(),
                pushes: self.pushes.clone(),
                bodies: Bodies::default(),
                request_timeout: self.options.connections.request_timeout,
                turns: Turns::default(),
                resources: Resources::of(self.options.store.clone()),
                agents: self.options.agents.clone(),
                weak: WeakSecrets::default(),
            });
            let serving = Listener::gateway(self.options.connections, self.metrics.clone());
            AbortOnDropHandle::new(tokio::spawn(serving.serve(listener, router, shutdown.clone())))
        });
        let _giving_back = AbortOnDropHandle::new(tokio::spawn(memory::trim_heap_periodically()));
        let retire = CancellationToken::new();
        let _retire = retire.clone().drop_guard();
        let campaign = self.campaign.take().map(|(election, mandate)| {
            self.readiness.standby();
            AbortOnDropHandle::new(tokio::spawn(election.campaign(mandate, retire.clone())))
        });
        let (mut serving, mut campaign) = (serving, campaign);
        let mut leading = Box::pin(self.lead_whenever_it_can(&shutdown));
        loop {
            tokio::select! {
                led = &mut leading => {
                    led?;
                    break;
                }
                served = ended(serving.as_mut()), if serving.is_some() => {
                    serving = None;
                    match served.map_err(std::io::Error::other).and_then(|served| served) {
                        // at a shutdown it ends before what is under way does
                        Ok(()) if shutdown.is_cancelled() => {}
                        Ok(()) => return Err(OperatorError::Gateway(std::io::Error::other("it ended by itself"))),
                        Err(error) => return Err(OperatorError::Gateway(error)),
                    }
                }
                _ = ended(campaign.as_mut()), if campaign.is_some() => return Err(OperatorError::Campaign),
            }
        }
        retire.cancel();
        if let Some(campaign) = campaign {
            // it only gives back the lease, which ends by itself if that fails
            let _ = campaign.await;
        }
        match serving {
            None => Ok(()),
            Some(serving) => match serving.await {
                Ok(served) => served.map_err(OperatorError::Gateway),
                Err(broken) => Err(OperatorError::Gateway(std::io::Error::other(broken))),
            },
        }
    }

    async fn lead_whenever_it_can(&self, shutdown: &CancellationToken) -> Result<(), Exhausted> {
        while shutdown
            .run_until_cancelled(self.leadership.gained())
            .await
            .is_some()
        {
            self.lead(shutdown).await?;
        }
        Ok(())
    }

    /// Leads until `shutdown`, and until what was under way then has ended; or until the lead is lost, when everything is dropped where
    /// it stands: it is another process's to go on with.
    async fn lead(&self, shutdown: &CancellationToken) -> Result<(), Exhausted> {
        self.metrics.leading(true);
        let stop = shutdown.child_token();
        let _stop_what_is_beside = stop.clone().drop_guard();
        let led = tokio::select! {
            biased;
            () = self.leadership.lost() => {
                tracing::warn!("the lead was lost; what was under way is dropped");
                self.readiness.standby();
                Ok(())
            }
            led = self.terms(stop) => led,
        };
        self.metrics.leading(false);
        led
    }

    /// A term in each of the namespaces that are watched, or one in all of them. They share nothing but what bounds their work.
    async fn terms(&self, shutdown: CancellationToken) -> Result<(), Exhausted> {
        let scopes: Vec<Option<String>> = if self.options.watch_namespaces.is_empty() {
            vec![None]
        } else {
            self.options.watch_namespaces.iter().cloned().map(Some).collect()
        };
        let bounds = Bounds::new(self.options.max_effects);
        let readiness = self.readiness.clone().once_all_know(scopes.len());
        let supervisor = Supervisor::new(self.metrics.clone(), self.readiness.clone());
        let terms = scopes.into_iter().map(|scope| {
            let (bounds, readiness, supervisor, shutdown) = (&bounds, &readiness, &supervisor, &shutdown);
            async move {
                // what is shared by the controllers of a term breaks it as a whole; each of them is started again by itself
                let exhausted = OnceLock::new();
                let term = || {
                    let term = ControllerSet::of(self, scope.clone(), bounds.clone());
                    let running = Box::pin(term.run(readiness.clone(), supervisor.clone(), shutdown.clone()));
                    let exhausted = &exhausted;
                    async move {
                        if let Err(error) = running.await {
                            let _ = exhausted.set(error);
                            shutdown.cancel();
                        }
                    }
                };
                supervisor.keep("controllers", shutdown, term).await?;
                exhausted.into_inner().map_or(Ok(()), Err)
            }
        });
        futures::future::try_join_all(terms).await.map(drop)
    }
}

async fn ended<T>(task: Option<&mut AbortOnDropHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Who leads, and how to become it: at once where there are no rivals.
fn rivals(client: &Client, options: &OperatorOptions) -> (Leadership, Option<Campaign>) {
    let Some(rivalry) = &options.rivalry else {
        return (Leadership::unrivalled(), None);
    };
    let (mandate, leadership) = leadership();
    let election = Election::new(
        client.clone(),
        &options.namespace,
        LEASE,
        rivalry.identity.clone(),
        rivalry.timing,
        options.clock.clone(),
    );
    (leadership, Some((election, mandate)))
}
