//! One term of leading: watches, controllers, and an end in order.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Operator, OperatorOptions, watches};
use crate::{
    controllers::{
        approval,
        context::Context,
        feedback, flow,
        identity::Identity,
        leadership::Leadership,
        proposal, release,
        releases::Releases,
        repository::{self, Pauses, RepositorySettings, sync_requests},
        run::{self, Bounds},
    },
    engine::callback_token::CallbackMinter,
    gateway::{Knowing, Pushes},
    git::Limits,
    steps::http::HttpExecutor,
    telemetry::metrics::Metrics,
};

/// Longest time that what goes on beside the controllers, such as Events, may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What one term of leading needs.
pub(super) struct Term {
    /// The one namespace it is in; without it all of them.
    scope: Option<String>,
    context: Arc<Context>,
    leadership: Leadership,
    identity: Arc<Identity>,
    /// Where a forged decision may be tried: the operator has rights only in the namespace it watches, if it watches one.
    probe_namespace: String,
    executor: HttpExecutor,
    callbacks: CallbackMinter,
    releases: Arc<Releases>,
    remotes: RepositorySettings,
    bounds: Bounds,
    metrics: Metrics,
    pushes: Pushes,
}

impl Term {
    /// A term in one namespace, or in all.
    pub(super) fn of(operator: &Operator, scope: Option<String>, bounds: Bounds) -> Self {
        let options = &operator.options;
        Self {
            probe_namespace: scope.clone().unwrap_or_else(|| options.namespace.clone()),
            context: Arc::new((*operator.leading).clone().watching(scope.clone())),
            scope,
            leadership: operator.leadership.clone(),
            identity: Arc::new(Identity::new(
                options.count_unproven_decisions,
                options.policies.clone(),
            )),
            executor: operator.executor.clone(),
            callbacks: operator.callbacks.clone(),
            releases: Arc::clone(&operator.releases),
            remotes: remotes(options),
            bounds,
            metrics: operator.metrics.clone(),
            pushes: operator.pushes.clone(),
        }
    }

    /// Runs the controllers until `shutdown`, then lets what is under way end.
    pub(super) async fn run(self, readiness: Knowing, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        // a push webhook asks for a sync at once
        let (syncs, requested) = sync_requests();
        let (hooks, more_hooks) = (syncs.listen(), syncs.listen());
        let _connected = self.pushes.connect(self.scope, syncs);
        let (waker, calls) = run::waker();
        // watches outlive the order to stop, so that runs that end still see what they wait for
        let watching = CancellationToken::new();
        let _stop_watching = watching.clone().drop_guard();
        let (flows, watch) = watches::flows(&self.context, waker.clone());
        tokio::spawn(watching.clone().run_until_cancelled_owned(watch));
        let (connections, watch) = watches::connections(&self.context, waker.clone());
        tokio::spawn(watching.clone().run_until_cancelled_owned(watch));
        let (open, touch, touched, watch) = approval::watch_open(&self.context, waker.clone());
        tokio::spawn(watching.run_until_cancelled_owned(watch));

        let ready = async {
            let proven = self.identity.prove(&self.context, &self.probe_namespace);
            // an error says that the watch has ended, and with it the term
            let _ = tokio::join!(
                flows.wait_until_ready(),
                connections.wait_until_ready(),
                open.are_known(),
                proven
            );
        };
        if shutdown.run_until_cancelled(ready).await.is_none() {
            return;
        }
        readiness.knows(open.clone());
        let judging = approval::Deps {
            context: Arc::clone(&self.context),
            identity: self.identity,
            probe_namespace: self.probe_namespace,
            open: open.clone(),
            waker,
            metrics: self.metrics.clone(),
            tasks: tasks.clone(),
        };
        let (endings, ended) = release::run_endings();
        let running = run::Deps {
            context: Arc::clone(&self.context),
            leadership: self.leadership,
            releases: self.releases,
            flows,
            connections,
            open,
            executor: self.executor,
            callbacks: self.callbacks,
            metrics: self.metrics,
            bounds: self.bounds,
            endings,
        };
        let context = || Arc::clone(&self.context);
        let stop = || shutdown.clone();
        tokio::join!(
            ending(
                stop(),
                repository::run(context(), self.remotes.clone(), requested, stop())
            ),
            ending(
                stop(),
                proposal::run(context(), self.remotes.clone(), hooks, stop())
            ),
            ending(
                stop(),
                feedback::run(context(), self.remotes.clone(), more_hooks, stop())
            ),
            ending(stop(), flow::run(context(), stop())),
            ending(stop(), release::run(context(), ended, stop())),
            ending(stop(), approval::run(judging, touch, touched, stop())),
            // has a drain time of its own
            run::run(Arc::new(running), calls, stop()),
        );
        tasks.close();
        if tokio::time::timeout(LAST_WORDS, tasks.wait()).await.is_err() {
            tracing::warn!("some events could not be written before the end");
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
    RepositorySettings {
        mirrors: options.git_cache.clone(),
        network: options.network.clone(),
        limits: Limits::default(),
        pauses: Pauses::default(),
    }
}
