//! Writes the records of runs that have ended: of those that it is told of, and of those that ended while nobody did.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use kube::{
    api::ListParams,
    runtime::{events::EventType, reflector::Store as Known},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    retention::{self, RecordedRuns, Sweeper},
    signer::RecordKeys,
    write::{self, Recorder},
};
use crate::{
    cluster::{
        backoff::{Backoff, Backoffs},
        context::Context,
        error_chain,
        inbox::Inbox,
        object_key::ObjectKey,
        objects::{self, Decoded},
        parts::beside,
        queue::{self, Touched},
        run_endings,
        timers::{Again, Wake},
    },
    store::Store,
};
use signoff_api::{
    Flow, Release, Run, RunPhase,
    reason::{Classified, ErrorClass},
};
use signoff_engine::retention::REPEATED;

/// How many records are written at the same time.
const CONCURRENCY: usize = 8;
/// How many runs are listed at once.
const PAGE: u32 = 100;
/// Pauses after a list that failed.
const PAUSES: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(5),
};

/// How often it is looked for what is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Pause between two looks for runs that ended without a record.
    pub list_every: Duration,
    /// Pause before the first look for runs that are past their retention, and between two.
    pub retain_every: Duration,
    /// How long any run stays after its end.
    pub least: Duration,
    /// How long a run stays whose request may be repeated, unless its flow says a shorter time.
    pub repeated: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            list_every: Duration::from_hours(1),
            retain_every: Duration::from_mins(10),
            least: Duration::from_mins(10),
            repeated: REPEATED,
        }
    }
}

/// What is needed to write records.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Client, clock, events.
    pub context: Arc<Context>,
    /// Where they are written.
    pub store: Store,
    /// What they are signed with, if they are.
    pub keys: Option<RecordKeys>,
    /// Flows as the watch shows them.
    pub flows: Known<Flow>,
    /// Releases as the watch shows them.
    pub releases: Known<Release>,
    /// How often to look.
    pub timing: Timing,
}

type RunKey = ObjectKey<Run>;

/// Writes records, and deletes runs that are past the retention of their flow, until `shutdown`.
pub async fn run(deps: Deps, ended: run_endings::EndedRuns<RunKey>, shutdown: CancellationToken) {
    let known = Arc::new(Mutex::new(RecordedRuns::default()));
    let (found, unrecorded) = crate::cluster::inbox::inbox();
    let sweeper = Sweeper {
        context: Arc::clone(&deps.context),
        store: deps.store.clone(),
        unrecorded: found.clone(),
        flows: deps.flows.clone(),
        releases: deps.releases.clone(),
        ended: Arc::clone(&known),
        timing: deps.timing,
    };
    let recorder = Arc::new(Recorder {
        context: Arc::clone(&deps.context),
        store: deps.store.clone(),
        keys: deps.keys.clone(),
        releases: deps.releases.clone(),
    });
    let looking = look(
        Arc::clone(&deps.context),
        found,
        Arc::clone(&known),
        deps.timing.list_every,
    );
    let looking = shutdown.clone().run_until_cancelled_owned(looking);
    let sweeping = shutdown
        .clone()
        .run_until_cancelled_owned(retention::sweep(sweeper));
    let touched = touched(ended, unrecorded);
    let backoffs = Arc::new(Backoffs::default());
    let context = Arc::clone(&deps.context);
    let working = queue::run(
        "Record",
        &context,
        touched,
        CONCURRENCY,
        shutdown,
        |key, shown| {
            let (recorder, known, backoffs) =
                (Arc::clone(&recorder), Arc::clone(&known), Arc::clone(&backoffs));
            async move { record(&key, shown, &recorder, &known, &backoffs).await }
        },
    );
    beside(looking, Box::pin(beside(sweeping, working))).await;
}

/// The runs to look at.
fn touched(
    ended: run_endings::EndedRuns<RunKey>,
    unrecorded: Inbox<Arc<Run>>,
) -> impl Stream<Item = Touched<Run>> {
    let named = ended.stream().map(Touched::Named);
    stream::select(named.boxed(), unrecorded.stream().map(Touched::Shown).boxed())
}

/// Finds the runs that have ended, again and again.
async fn look(
    context: Arc<Context>,
    unrecorded: mpsc::UnboundedSender<Arc<Run>>,
    known: Arc<Mutex<RecordedRuns>>,
    every: Duration,
) {
    let mut failures = 0;
    loop {
        let pause = match list(&context, &unrecorded, &known).await {
            Ok(()) => {
                failures = 0;
                every
            }
            Err(error) => {
                context.metrics().reconcile_failed("Record", "Transient");
                tracing::warn!(error = %error_chain(&error), "the runs that ended could not be listed; trying again");
                failures += 1;
                PAUSES.after(failures)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn list(
    context: &Context,
    unrecorded: &mpsc::UnboundedSender<Arc<Run>>,
    known: &Mutex<RecordedRuns>,
) -> kube::Result<()> {
    let runs = context.all::<Decoded<Run>>();
    for phase in RunPhase::FINISHED {
        let mut params = ListParams::default()
            .fields(&format!("status.phase={phase}"))
            .limit(PAGE);
        loop {
            let listed = objects::list(&runs, &params).await?;
            for mut run in listed.items {
                run.metadata.managed_fields = None;
                if is_recorded(&run) {
                    lock(known).note(&run);
                } else if unrecorded.send(Arc::new(run)).is_err() {
                    return Ok(());
                }
            }
            match listed.next {
                Some(next) => params = params.continue_token(&next),
                None => break,
            }
        }
    }
    Ok(())
}

fn is_recorded(run: &Run) -> bool {
    run.status.as_ref().is_some_and(|status| status.record.is_some())
}

fn lock(known: &Mutex<RecordedRuns>) -> std::sync::MutexGuard<'_, RecordedRuns> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn record(
    key: &RunKey,
    shown: Option<Arc<Run>>,
    recorder: &Recorder,
    known: &Mutex<RecordedRuns>,
    backoffs: &Backoffs<RunKey>,
) -> Again {
    let context = &recorder.context;
    let run = match shown {
        Some(run) => run,
        None => match context
            .namespaced::<Run>(key.namespace())
            .get_opt(key.name())
            .await
        {
            Ok(Some(run)) => Arc::new(run),
            // it is gone
            Ok(None) => return None,
            // reading it again does not help
            Err(kube::Error::SerdeError(_)) => return None,
            Err(error) => {
                tracing::warn!(run = %key, error = %error_chain(&error), "a run that ended could not be read; trying again");
                return Some(Wake::After(backoffs.failed(key.clone())));
            }
        },
    };
    // its name may be that of a newer run
    let has_ended = run
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished());
    if !has_ended {
        return None;
    }
    if is_recorded(&run) {
        lock(known).note(&run);
        return None;
    }
    let began = Instant::now();
    match recorder.record(&run).await {
        Ok(()) => {
            context.metrics().reconciled("Record", began.elapsed());
            backoffs.succeeded(key);
            lock(known).note(&run);
            None
        }
        Err(error) => {
            let pause = backoffs.failed(key.clone());
            // that it has to wait is as usual: decisions are judged while the run goes on
            if error.class() != ErrorClass::Waiting {
                context
                    .metrics()
                    .reconcile_failed("Record", error.class().as_str());
            }
            match error.class() {
                ErrorClass::Waiting => tracing::debug!(run = %key, %error, "the record of a run has to wait"),
                ErrorClass::Transient => {
                    tracing::warn!(run = %key, error = %error_chain(&error), "the record of a run could not be written; trying again");
                }
                ErrorClass::Invalid => {
                    tracing::error!(run = %key, error = %error_chain(&error), "the record of a run cannot be written until somebody acts");
                    if pause < write::TOLD_BEFORE {
                        let note = format!("the record of the run cannot be written: {error}");
                        context
                            .event(&*run, EventType::Warning, error.reason(), &note)
                            .await;
                    }
                }
            }
            Some(Wake::After(pause))
        }
    }
}
