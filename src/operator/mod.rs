//! The operator as a whole: all controllers and the gateway, started and ended together.

mod keys;
mod watches;

use std::{path::PathBuf, sync::Arc, time::Duration};

use kube::Client;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::keys::KeysError;
use crate::{
    controllers::{
        approval,
        context::{Clock, Context},
        flow,
        identity::Identity,
        metered::metered,
        release,
        releases::Releases,
        repository::{self, RepositorySettings, sync_requests},
        run,
    },
    engine::callback_token::CallbackMinter,
    gateway::{self, Gateway, Readiness},
    git::{Limits, Network},
    steps::http::{HttpExecutor, HttpExecutorError, address::AddressPolicy},
    telemetry::metrics::Metrics,
};

/// Longest time that what goes on beside the controllers, such as Events, may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Where the gateway is reached from outside; callback addresses begin with it.
    pub gateway_base_url: String,
    /// Namespace of the operator itself, where it keeps its keys.
    pub namespace: String,
    /// The one namespace to work in; without it in all of them.
    pub watch_namespace: Option<String>,
    /// Where clones of git remotes are kept.
    pub git_cache: PathBuf,
    /// Whether steps may call addresses of this machine.
    pub allow_loopback: bool,
    /// Whether Repositories may name `file://` remotes.
    pub allow_file_remotes: bool,
    /// Networks that steps may not call, beside those that nobody may.
    pub deny_networks: Vec<ipnet::IpNet>,
    /// If not empty, the only hosts that steps may call.
    pub allow_hosts: Vec<String>,
    /// How many effects are performed at the same time.
    pub max_effects: usize,
    /// Count decisions even if the API server does not prove who made them.
    pub count_unproven_decisions: bool,
}

impl OperatorOptions {
    /// As in a cluster: nothing of this machine may be called or read.
    pub fn new(gateway_base_url: impl Into<String>, git_cache: impl Into<PathBuf>) -> Self {
        Self {
            gateway_base_url: gateway_base_url.into().trim_end_matches('/').to_owned(),
            namespace: "signoff-system".to_owned(),
            watch_namespace: None,
            git_cache: git_cache.into(),
            allow_loopback: false,
            allow_file_remotes: false,
            deny_networks: Vec::new(),
            allow_hosts: Vec::new(),
            max_effects: 256,
            count_unproven_decisions: false,
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
}

/// The operator, ready to run.
#[derive(Debug)]
pub struct Operator {
    context: Arc<Context>,
    options: OperatorOptions,
    metrics: Metrics,
    executor: HttpExecutor,
    callbacks: CallbackMinter,
    releases: Arc<Releases>,
    readiness: Readiness,
    identity: Arc<Identity>,
}

impl Operator {
    /// Sets everything up, without beginning any work.
    pub async fn start(client: Client, options: OperatorOptions) -> Result<Self, OperatorError> {
        let metrics = Metrics::new();
        let client = metered(client, metrics.clone());
        let keys = keys::read_or_make(&client, &options.namespace).await?;
        let executor = HttpExecutor::new(client.clone(), addresses(&options))?;
        let context = Context::new(client, Clock::system())
            .watching(options.watch_namespace.clone())
            .counting(metrics.clone());
        let context = Arc::new(context);
        let identity = Arc::new(Identity::new(options.count_unproven_decisions));
        identity.prove(&context, &probe_namespace(&options)).await;
        Ok(Self {
            callbacks: CallbackMinter {
                base_url: options.gateway_base_url.clone(),
                keys,
            },
            releases: Arc::new(Releases::new(Arc::clone(&context))),
            readiness: Readiness::default(),
            identity,
            context,
            options,
            metrics,
            executor,
        })
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The routes of the admin address: health, readiness, metrics.
    pub fn admin(&self) -> axum::Router {
        gateway::admin(
            self.context.client().clone(),
            self.metrics.clone(),
            self.readiness.clone(),
        )
    }

    /// Runs the controllers, and the gateway on this listener, until `shutdown`; then lets what is under way end.
    pub async fn run(self, gateway: TcpListener, shutdown: CancellationToken) -> Result<(), OperatorError> {
        let tasks = TaskTracker::new();
        // a push webhook asks for a sync at once
        let (syncs, requested) = sync_requests();
        let router = gateway::router(Gateway {
            context: Arc::clone(&self.context),
            releases: Arc::clone(&self.releases),
            keys: self.callbacks.keys.clone(),
            syncs,
        });
        let serving = tokio::spawn(gateway::serve(gateway, router, shutdown.clone()));
        let (waker, calls) = run::waker();
        // watches outlive the order to stop, so that runs that end still see what they wait for
        let watching = CancellationToken::new();
        let _stop_watching = watching.clone().drop_guard();
        let (flows, watch) = watches::flows(&self.context, waker.clone());
        tokio::spawn(watching.clone().run_until_cancelled_owned(watch));
        let (approvals, changes, watch) = watches::approvals(&self.context, waker.clone());
        tokio::spawn(watching.run_until_cancelled_owned(watch));

        let filled = async {
            // an error says that the watch has ended, and with it the operator
            let _ = flows.wait_until_ready().await;
            let _ = approvals.wait_until_ready().await;
        };
        if shutdown.run_until_cancelled(filled).await.is_some() {
            self.readiness.caches_filled(approvals.clone());
            let judging = approval::Deps {
                context: Arc::clone(&self.context),
                identity: Arc::clone(&self.identity),
                probe_namespace: probe_namespace(&self.options),
                approvals: approvals.clone(),
                waker,
                metrics: self.metrics.clone(),
                tasks: tasks.clone(),
            };
            let running = run::Deps {
                context: Arc::clone(&self.context),
                releases: self.releases,
                flows,
                approvals,
                executor: self.executor,
                callbacks: self.callbacks,
                metrics: self.metrics,
                effects: Semaphore::new(self.options.max_effects),
                writes: run::Deps::writes(),
                tasks: tasks.clone(),
            };
            let context = || Arc::clone(&self.context);
            let (settings, stop) = (remotes(&self.options), || shutdown.clone());
            tokio::join!(
                ending(stop(), repository::run(context(), settings, requested, stop())),
                ending(stop(), flow::run(context(), stop())),
                ending(stop(), release::run(context(), stop())),
                ending(stop(), approval::run(judging, changes, stop())),
                // has a drain time of its own
                run::run(Arc::new(running), calls, stop()),
            );
        }
        tasks.close();
        if tokio::time::timeout(LAST_WORDS, tasks.wait()).await.is_err() {
            tracing::warn!("some events could not be written before the end");
        }
        match serving.await {
            Ok(served) => served.map_err(OperatorError::Gateway),
            Err(broken) => Err(OperatorError::Gateway(std::io::Error::other(broken))),
        }
    }
}

/// Lets a controller end what it is at when the order to stop comes. One that was still waiting for its first listing would wait for
/// ever, and one that is cut off is made good at the next start.
async fn ending(shutdown: CancellationToken, controller: impl Future<Output = ()>) {
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = controller => {}
        () = overdue => {}
    }
}

/// Where git remotes may be and how much they may ask of this process.
fn remotes(options: &OperatorOptions) -> RepositorySettings {
    let policy = addresses(options);
    RepositorySettings {
        mirrors: options.git_cache.clone(),
        network: Network::new(move |address| policy.allows(address), options.allow_file_remotes),
        limits: Limits::default(),
    }
}

fn addresses(options: &OperatorOptions) -> AddressPolicy {
    AddressPolicy {
        allow_loopback: options.allow_loopback,
        deny: options.deny_networks.clone(),
        allow_hosts: options.allow_hosts.clone(),
    }
}

/// Where a forged decision may be tried: the operator has rights only in the namespace it watches, if it watches one.
fn probe_namespace(options: &OperatorOptions) -> String {
    options
        .watch_namespace
        .clone()
        .unwrap_or_else(|| options.namespace.clone())
}
