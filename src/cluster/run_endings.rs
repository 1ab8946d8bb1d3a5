//! Tells whoever keeps releases, and whoever starts runs by triggers, what becomes of runs.

use futures::Stream;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    inbox::{Inbox, inbox},
    object_key::ObjectKey,
};
use signoff_api::{Run, trigger::TriggerKind};

/// Tells of runs that have ended or are gone. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunEndings {
    namespaces: mpsc::UnboundedSender<String>,
    runs: mpsc::UnboundedSender<ObjectKey<Run>>,
    /// Only where records are written: otherwise nobody would read it.
    unrecorded: Option<mpsc::UnboundedSender<ObjectKey<Run>>>,
    /// Only where traces are sent.
    untraced: Option<mpsc::UnboundedSender<ObjectKey<Run>>>,
    triggered: mpsc::UnboundedSender<TriggeredRun>,
}

/// A run that the gateway started for a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggeredRun {
    /// Namespace of both.
    pub namespace: String,
    /// The flow.
    pub flow: String,
    /// Name of the trigger.
    pub trigger: String,
    /// When the request came.
    pub at: Timestamp,
    /// Name of the run.
    pub name: String,
}

/// What the trigger controller is told of runs.
#[derive(Clone, Debug)]
pub struct RunNews {
    /// Runs that have ended or are gone.
    pub ended: EndedRuns<ObjectKey<Run>>,
    /// Runs that the gateway started.
    pub triggered: EndedRuns<TriggeredRun>,
}

/// Where [`RunEndings`] arrive, each as `T`. Clones are handles on the same.
#[derive(Debug)]
pub struct EndedRuns<T>(Inbox<T>);

impl<T> Clone for EndedRuns<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// All ends: runs that ended arrive as their namespaces and by their names.
pub fn run_endings() -> (RunEndings, EndedRuns<String>, RunNews) {
    let ((namespaces, by_namespace), (runs, by_name)) = (inbox(), inbox());
    let (triggered, arrived) = inbox();
    let endings = RunEndings {
        namespaces,
        runs,
        unrecorded: None,
        untraced: None,
        triggered,
    };
    let news = RunNews {
        ended: EndedRuns(by_name),
        triggered: EndedRuns(arrived),
    };
    (endings, EndedRuns(by_namespace), news)
}

impl<T: Send + 'static> EndedRuns<T> {
    /// What arrives from now on, and what has arrived and was not read.
    pub fn stream(self) -> impl Stream<Item = T> + Send + 'static {
        self.0.stream()
    }
}

impl RunEndings {
    /// Also tells whoever writes records.
    #[must_use]
    pub fn with_records(self) -> (Self, EndedRuns<ObjectKey<Run>>) {
        let (unrecorded, arrived) = inbox();
        let unrecorded = Some(unrecorded);
        (Self { unrecorded, ..self }, EndedRuns(arrived))
    }

    /// Also tells whoever sends traces.
    #[must_use]
    pub fn with_traces(self) -> (Self, EndedRuns<ObjectKey<Run>>) {
        let (untraced, arrived) = inbox();
        let untraced = Some(untraced);
        (Self { untraced, ..self }, EndedRuns(arrived))
    }

    /// A run was not known before.
    pub fn seen(&self, run: &Run) {
        let trigger = run.spec.trigger.as_ref();
        if let Some(trigger) = trigger.filter(|trigger| trigger.kind == TriggerKind::Webhook) {
            let _ = self.triggered.send(TriggeredRun {
                namespace: run.metadata.namespace.clone().unwrap_or_default(),
                flow: run.spec.flow.to_string(),
                trigger: trigger.name.to_string(),
                at: trigger.at.0,
                name: run.metadata.name.clone().unwrap_or_default(),
            });
        }
    }

    /// A run has ended or is gone.
    pub fn tell(&self, run: &ObjectKey<Run>) {
        // nobody listens at the end of the process
        let _ = self.namespaces.send(run.namespace().to_owned());
        let _ = self.runs.send(run.clone());
        for listener in self.unrecorded.iter().chain(&self.untraced) {
            let _ = listener.send(run.clone());
        }
    }
}
