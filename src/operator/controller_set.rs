//! One term of leading: watches, controllers, and an end in order.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Exhausted, Operator, OperatorOptions, Supervisor, watches};
use crate::{
    approvals::{self, proposal},
    cluster::{
        context::Context,
        identity::Identity,
        leadership::Leadership,
        parts::beside,
        releases::Releases,
        run_endings::run_endings,
        shared::{ApprovalInbox, JobStores, SharedStores},
    },
    gateway::{Knowing, Pushes},
    git::Limits,
    notifications,
    perform::Executors,
    promotion::{self, release},
    records::{self, RecordKeys},
    remotes::{Pauses, RepositorySettings},
    runs::{self, Bounds, JobRunner, Jobs, RunCalls, RunWaker},
    store::{Store, collect},
    sync::{self, SyncQueue, SyncRequests, feedback, sync_requests},
    telemetry::metrics::Metrics,
    triggers, work,
};
use signoff_engine::callback_token::CallbackMinter;

/// Longest time that what goes on beside the controllers, such as Events, may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What one term of leading needs.
pub(super) struct ControllerSet {
    /// The one namespace it is in; without it all of them.
    scope: Option<String>,
    context: Arc<Context>,
    leadership: Leadership,
    identity: Arc<Identity>,
    /// Where a forged decision may be tried: the operator has rights only in the namespace it watches, if it watches one.
    probe_namespace: String,
    executors: Executors,
    jobs: JobRunner,
    callbacks: CallbackMinter,
    releases: Arc<Releases>,
    remotes: RepositorySettings,
    bounds: Bounds,
    metrics: Metrics,
    pushes: Pushes,
    collecting: Option<collect::Deps>,
    recording: Option<Recording>,
    /// Address of the page for people, if there is one.
    pages: Option<String>,
}

/// What is needed to write records, beside what the watches show.
struct Recording {
    store: Store,
    keys: Option<RecordKeys>,
    timing: records::Timing,
}

impl ControllerSet {
    /// A term in one namespace, or in all.
    pub(super) fn of(operator: &Operator, scope: Option<String>, bounds: Bounds) -> Self {
        let options = &operator.options;
        let context = Arc::new((*operator.leading).clone().watching(scope.clone()));
        let collecting = options.store.as_ref().map(|store| collect::Deps {
            context: Arc::clone(&context),
            store: store.clone(),
            namespace: scope.clone(),
            installation: operator.installation.clone(),
            every: options.collect_every,
        });
        let recording = options.store.as_ref().map(|store| Recording {
            store: store.clone(),
            keys: options
                .record_keys
                .as_ref()
                .map(|name| RecordKeys::of(context.client().clone(), &options.namespace, name)),
            timing: options.records,
        });
        Self {
            recording,
            probe_namespace: scope.clone().unwrap_or_else(|| options.namespace.clone()),
            context,
            collecting,
            scope,
            leadership: operator.leadership.clone(),
            identity: Arc::new(Identity::new(
                options.count_unproven_decisions,
                options.policies.clone(),
            )),
            executors: operator.executors.clone().with_job_logs(options.job_logs.clone()),
            jobs: options.jobs,
            callbacks: operator.callbacks.clone(),
            releases: Arc::clone(&operator.releases),
            remotes: operator.remotes.clone(),
            bounds,
            metrics: operator.metrics.clone(),
            pushes: operator.pushes.clone(),
            pages: options.ui_url.clone(),
        }
    }

    /// Runs the controllers until `shutdown`, then lets what is under way end.
    ///
    /// # Errors
    /// If a controller breaks again and again.
    pub(super) async fn run(
        self,
        readiness: Knowing,
        supervisor: Supervisor,
        shutdown: CancellationToken,
    ) -> Result<(), Exhausted> {
        let tasks = TaskTracker::new();
        // a push webhook asks for a sync at once
        let (syncs, requested) = sync_requests();
        let _connected = self.pushes.connect(self.scope.clone(), syncs.clone());
        let (waker, calls) = runs::waker();
        // watches outlive the order to stop, so that runs that end still see what they wait for
        let (stores, inbox, watching) = SharedStores::watch(&self.context, waker.clone());
        let waking = watches::wake_runs(stores.clone(), waker.clone());
        // without the right to read Jobs, nothing of them is watched
        let (jobs, watching_jobs) = match self.jobs {
            JobRunner::Off(why) => (AllJobs::Off(why), std::future::pending().boxed()),
            JobRunner::On => {
                let (stores, watching) = JobStores::watch(&self.context);
                let telling = watches::wake_runs_of_jobs(stores.clone(), waker.clone());
                (AllJobs::On(stores), beside(watching, telling).boxed())
            }
        };
        let settings = self.remotes.clone();
        let controllers = self.controllers(
            readiness,
            supervisor,
            shutdown,
            &tasks,
            Shared {
                stores,
                jobs,
                inbox,
                waker,
                calls,
                settings,
                syncs,
                requested,
            },
        );
        let watching = beside(watching_jobs, watching).boxed();
        beside(watching, beside(waking, controllers)).await?;
        tasks.close();
        if tokio::time::timeout(LAST_WORDS, tasks.wait()).await.is_err() {
            tracing::warn!("some events could not be written before the end");
        }
        Ok(())
    }

    async fn controllers(
        self,
        readiness: Knowing,
        supervisor: Supervisor,
        shutdown: CancellationToken,
        tasks: &TaskTracker,
        shared: Shared,
    ) -> Result<(), Exhausted> {
        let Shared {
            stores,
            jobs,
            inbox,
            waker,
            calls,
            settings,
            syncs,
            requested,
        } = shared;
        let ready = async {
            let proven = self.identity.prove(&self.context, &self.probe_namespace);
            // an error says that the watch has ended, and with it the term
            let _ = tokio::join!(
                stores.flows.is_known(),
                stores.connections.is_known(),
                stores.open.are_known(),
                stores.work.is_known(),
                jobs.are_known(),
                proven
            );
        };
        if shutdown.run_until_cancelled(ready).await.is_none() {
            return Ok(());
        }
        let open = stores.open.clone();
        readiness.knows(self.scope, open.clone());
        let judging = approvals::Deps {
            context: Arc::clone(&self.context),
            identity: self.identity,
            probe_namespace: self.probe_namespace,
            open: open.clone(),
            waker: waker.clone(),
            metrics: self.metrics.clone(),
            tasks: tasks.clone(),
        };
        let triggering = triggers::Deps {
            context: Arc::clone(&self.context),
            releases: Arc::clone(&self.releases),
        };
        let notifying = notifications::Deps {
            context: Arc::clone(&self.context),
            releases: Arc::clone(&self.releases),
            executors: self.executors.clone(),
            connections: stores.connections.store(),
            turns: self.bounds.turns(),
            leadership: self.leadership.clone(),
            pages: self.pages,
        };
        let collecting = self.collecting;
        let (endings, ended, news) = run_endings();
        let (endings, recording) = match self.recording {
            Some(recording) => {
                let (endings, unrecorded) = endings.with_records();
                let deps = records::Deps {
                    context: Arc::clone(&self.context),
                    store: recording.store,
                    keys: recording.keys,
                    flows: stores.flows.store(),
                    releases: stores.releases.store(),
                    timing: recording.timing,
                };
                (endings, Some((deps, unrecorded)))
            }
            None => (endings, None),
        };
        let running = Arc::new(runs::Deps {
            context: Arc::clone(&self.context),
            leadership: self.leadership,
            releases: self.releases,
            flows: stores.flows.store(),
            connections: stores.connections.store(),
            open: open.clone(),
            work: stores.work.store(),
            jobs: jobs.of_runs(),
            executors: self.executors,
            callbacks: self.callbacks,
            metrics: self.metrics,
            bounds: self.bounds,
            waker: waker.clone(),
            endings,
        });
        let context = || Arc::clone(&self.context);
        let stop = || shutdown.clone();
        let mut judged_before = false;
        let approvals = || {
            // one that broke may have had any of them in hand
            if std::mem::replace(&mut judged_before, true) {
                open.touch_all(&inbox.touch);
            }
            ending(stop(), approvals::run(judging.clone(), inbox.clone(), stop()))
        };
        tokio::try_join!(
            supervisor.keep("repositories", &shutdown, || {
                let stores = stores.clone();
                let syncing = sync::run(
                    context(),
                    stores.clone(),
                    settings.clone(),
                    requested.clone(),
                    stop(),
                );
                ending(stop(), once_known(stores, syncing))
            }),
            supervisor.keep("proposals", &shutdown, || {
                let stores = stores.clone();
                let putting = proposal::run(
                    context(),
                    stores.clone(),
                    settings.clone(),
                    syncs.listen(),
                    stop(),
                );
                ending(stop(), once_known(stores, putting))
            }),
            supervisor.keep("feedback", &shutdown, || {
                let stores = stores.clone();
                let telling = feedback::run(
                    context(),
                    stores.clone(),
                    settings.clone(),
                    syncs.listen(),
                    stop(),
                );
                ending(stop(), once_known(stores, telling))
            }),
            supervisor.keep("flows", &shutdown, || {
                let stores = stores.clone();
                let promoting = promotion::run(context(), stores.clone(), stop());
                ending(stop(), once_known(stores, promoting))
            }),
            supervisor.keep("triggers", &shutdown, || {
                let stores = stores.clone();
                let starting = triggers::run(triggering.clone(), stores.clone(), news.clone(), stop());
                ending(stop(), once_known(stores, starting))
            }),
            supervisor.keep("releases", &shutdown, || {
                let stores = stores.clone();
                let keeping = release::run(context(), stores.clone(), ended.clone(), stop());
                ending(stop(), once_known(stores, keeping))
            }),
            supervisor.keep("resources", &shutdown, || {
                let (collecting, stop) = (collecting.clone(), stop());
                Box::pin(async move {
                    match collecting {
                        Some(deps) => collect::run(deps, stop).await,
                        None => stop.cancelled().await,
                    }
                })
            }),
            supervisor.keep("records", &shutdown, || {
                let (recording, stores, stop) = (recording.clone(), stores.clone(), stop());
                let writing = async move {
                    match recording {
                        Some((deps, unrecorded)) => records::run(deps, unrecorded, stop).await,
                        None => stop.cancelled().await,
                    }
                };
                ending(shutdown.clone(), once_known(stores, writing))
            }),
            supervisor.keep("tasks", &shutdown, || {
                let (stores, waker) = (stores.clone(), waker.clone());
                let looking = work::run(context(), stores.clone(), waker, stop());
                ending(stop(), once_known(stores, looking))
            }),
            supervisor.keep("notifications", &shutdown, || {
                let telling = notifications::run(notifying.clone(), stop());
                ending(stop(), once_known(stores.clone(), telling))
            }),
            supervisor.keep("approvals", &shutdown, approvals),
            // has a drain time of its own
            supervisor.keep("runs", &shutdown, || {
                Box::pin(runs::run(Arc::clone(&running), calls.clone(), stop()))
            }),
        )
        .map(drop)
    }
}

/// What the controllers of a term share.
struct Shared {
    stores: SharedStores,
    jobs: AllJobs,
    inbox: ApprovalInbox,
    waker: RunWaker,
    calls: RunCalls,
    settings: RepositorySettings,
    syncs: SyncRequests,
    requested: SyncQueue,
}

/// The Jobs of steps, where they are run.
enum AllJobs {
    Off(&'static str),
    On(JobStores),
}

impl AllJobs {
    /// Returns when all of them are known.
    async fn are_known(&self) -> bool {
        match self {
            Self::Off(_) => true,
            Self::On(stores) => stores.are_known().await,
        }
    }

    fn of_runs(&self) -> Jobs {
        match self {
            Self::Off(why) => Jobs::off(why),
            Self::On(stores) => Jobs::on(stores),
        }
    }
}

/// Runs a controller that compares with all stores, once they are filled. Runs and approvals do not wait for that.
async fn once_known(stores: SharedStores, controller: impl Future<Output = ()> + Send) {
    // without a watch there is nothing to do, and the term ends
    if stores.are_known().await {
        controller.await;
    }
}

/// Lets a controller end what it is at when the order to stop comes. One that was still waiting for its first listing would wait for
/// ever, and one that is cut off is made good at the next start.
fn ending<'a>(
    shutdown: CancellationToken,
    controller: impl Future<Output = ()> + Send + 'a,
) -> BoxFuture<'a, ()> {
    // boxed: it is large
    let controller = Box::pin(controller);
    Box::pin(async move {
        let overdue = async {
            shutdown.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = controller => {}
            () = overdue => {}
        }
    })
}

/// Where git remotes may be and how much they may ask of this process.
pub(super) fn remotes(options: &OperatorOptions) -> RepositorySettings {
    RepositorySettings {
        mirrors: options.git_cache.clone(),
        network: options.network.clone(),
        limits: Limits::default(),
        pauses: Pauses::default(),
    }
}
