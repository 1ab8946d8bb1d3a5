//! Sends a trace of each run when it has ended: one for a run, over all restarts, since it is made of what the status has.
//!
//! A trace that cannot be sent is tried again for two minutes and then dropped, which the metric
//! `signoff_traces_total` counts. Nothing of it holds up a run.

mod export;
mod spans;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt as _;
use kube::runtime::reflector::{ObjectRef, Store as Known};
use opentelemetry_sdk::trace::SpanData;
use tokio_util::sync::CancellationToken;

pub use self::export::{TraceExporter, TraceExporterError};
use crate::cluster::{
    backoff::Backoff,
    context::Context,
    error_chain,
    object_key::ObjectKey,
    queue::{self, Touched},
    run_endings::EndedRuns,
    timers::{Again, Wake},
};
use signoff_api::{Release, Run};

/// How many runs are read at the same time. They are sent one after the other.
const CONCURRENCY: usize = 4;
/// How often one is tried.
const ATTEMPTS: u32 = 9;

/// What is needed to send traces.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Client and clock.
    pub context: Arc<Context>,
    /// Where they are sent.
    pub exporter: TraceExporter,
    /// Releases as the watch shows them.
    pub releases: Known<Release>,
}

type RunKey = ObjectKey<Run>;

/// Sends the traces of runs that have ended until `shutdown`.
pub async fn run(deps: Deps, ended: EndedRuns<RunKey>, shutdown: CancellationToken) {
    let context = Arc::clone(&deps.context);
    let sender = Arc::new(Sender {
        deps,
        failures: Mutex::default(),
    });
    let touched = ended.stream().map(Touched::Named);
    queue::run("Trace", &context, touched, CONCURRENCY, shutdown, |key, _| {
        let sender = Arc::clone(&sender);
        async move { sender.send(&key).await }
    })
    .await;
}

struct Sender {
    deps: Deps,
    /// How often each run that is tried again has failed.
    failures: Mutex<HashMap<RunKey, u32>>,
}

impl Sender {
    async fn send(&self, key: &RunKey) -> Again {
        let context = &self.deps.context;
        let read = context
            .namespaced::<Run>(key.namespace())
            .get_opt(key.name())
            .await;
        let sent = match read {
            Ok(run) => {
                // it is gone, or its name is that of a newer run
                let Some(spans) = run.and_then(|run| self.spans(&run)) else {
                    self.forget(key);
                    return None;
                };
                let sent = self.deps.exporter.export(spans).await;
                sent.map_err(|error| error.to_string())
            }
            Err(kube::Error::SerdeError(_)) => {
                self.forget(key);
                return None;
            }
            Err(error) => Err(error_chain(&error)),
        };
        let Err(error) = sent else {
            context.metrics().traced(true);
            self.forget(key);
            return None;
        };
        let failures = self.failed(key);
        if failures < ATTEMPTS {
            tracing::debug!(run = %key, error, "the trace of a run could not be sent; trying again");
            return Some(Wake::After(Backoff::OBJECT.after(failures - 1)));
        }
        tracing::warn!(run = %key, error, "the trace of a run could not be sent and is dropped");
        context.metrics().traced(false);
        self.forget(key);
        None
    }

    fn spans(&self, run: &Run) -> Option<Vec<SpanData>> {
        let pinned = run.status.as_ref().and_then(|status| status.release.as_ref());
        let release = pinned.and_then(|pinned| {
            let name = ObjectRef::new(&pinned.name).within(run.metadata.namespace.as_deref()?);
            let release = self.deps.releases.get(&name)?;
            (release.spec.digest == pinned.digest).then_some(release)
        });
        spans::spans(run, release.as_deref())
    }

    /// Counts a failure, from 1.
    fn failed(&self, key: &RunKey) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn forget(&self, key: &RunKey) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(key);
    }
}
