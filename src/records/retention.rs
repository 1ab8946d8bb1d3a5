//! Deletes runs that are past the retention of their flow.
//!
//! Runs that have ended and are recorded are known by name and time. Only where one of them is past its retention, all runs of the
//! namespace are listed, and the engine says which of them nothing needs any more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use compact_str::CompactString;
use json_patch::{Patch as Operations, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    runtime::reflector::{ObjectRef, Store as Known},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use super::{archive::Timing, envelope::Envelope, gather, statement};
use crate::cluster::{
    backoff::Backoff,
    context::Context,
    error_chain,
    objects::{self, Decoded},
    status::{is_missing, is_stale},
};
use crate::store::{RecordPath, Store, StoreError};
use signoff_api::{
    Digest, Flow, Release, Run, names, retention::Retention, run::RunParent, trigger::TriggerKind,
};
use signoff_engine::retention::{Leaving, Parent, Rule, RunFacts, Stay, leaving};

/// How many runs are listed at once.
const PAGE: u32 = 100;
/// Pauses of a namespace whose runs are needed by others.
const PAUSES: Backoff = Backoff {
    first: Duration::from_mins(20),
    longest: Duration::from_hours(6),
};

/// The runs of a namespace that have ended and are recorded, by flow and by the time of their end.
type ByFlow = BTreeMap<CompactString, BTreeSet<(Timestamp, CompactString)>>;

/// Runs that have ended and are recorded.
#[derive(Debug, Default)]
pub(super) struct RecordedRuns(HashMap<String, ByFlow>);

impl RecordedRuns {
    /// Notes one.
    pub(super) fn note(&mut self, run: &Run) {
        let finished_at = run.status.as_ref().and_then(|status| status.finished_at.as_ref());
        // one that another run owns goes with that
        if let (Some(finished_at), false) = (finished_at, is_owned(run)) {
            let of_namespace = self.0.entry(run.namespace().unwrap_or_default()).or_default();
            let of_flow = of_namespace.entry(run.spec.flow.as_str().into()).or_default();
            of_flow.insert((finished_at.0, run.name_any().into()));
        }
    }

    /// The namespaces in which a run may be past its retention.
    fn due(&self, rule: impl Fn(&str, &str) -> Rule, least: Duration, now: Timestamp) -> Vec<String> {
        let is_due = |namespace: &str, flow: &str, ended: &BTreeSet<(Timestamp, CompactString)>| {
            let rule = rule(namespace, flow);
            let is_older = |at: Timestamp, than: Duration| {
                SignedDuration::try_from(than).is_ok_and(|than| now.duration_since(at) >= than)
            };
            ended.first().is_some_and(|(oldest, _)| {
                is_older(*oldest, least) && (ended.len() > rule.keep || is_older(*oldest, rule.after))
            })
        };
        let due = self
            .0
            .iter()
            .filter(|(namespace, flows)| flows.iter().any(|(flow, ended)| is_due(namespace, flow, ended)));
        due.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// Replaces what is known of a namespace.
    fn replace(&mut self, namespace: &str, runs: &[Run]) {
        self.0.remove(namespace);
        let recorded = |run: &&Run| run.status.as_ref().is_some_and(|status| status.record.is_some());
        runs.iter().filter(recorded).for_each(|run| self.note(run));
    }
}

fn is_owned(run: &Run) -> bool {
    run.spec.parent.as_ref().is_some_and(RunParent::is_waited_for)
}

/// What is needed to delete runs.
#[derive(Clone, Debug)]
pub(super) struct Sweeper {
    pub(super) context: Arc<Context>,
    pub(super) store: Store,
    pub(super) flows: Known<Flow>,
    pub(super) releases: Known<Release>,
    pub(super) ended: Arc<Mutex<RecordedRuns>>,
    /// For runs whose record has to be written anew.
    pub(super) unrecorded: mpsc::UnboundedSender<Arc<Run>>,
    pub(super) timing: Timing,
}

/// When a namespace is looked at again in which nothing could be deleted, and how often that was so.
#[derive(Default)]
struct Held(HashMap<String, (Instant, u32)>);

/// Deletes runs again and again. The first look comes after a pause: triggers first look for the ends of runs.
pub(super) async fn sweep(sweeper: Sweeper) {
    let mut held = Held::default();
    loop {
        tokio::time::sleep(sweeper.timing.retain_every).await;
        let now = sweeper.context.now();
        let due = sweeper.ended().due(
            |namespace, flow| sweeper.rule(namespace, flow),
            sweeper.timing.least,
            now,
        );
        for namespace in due {
            if held
                .0
                .get(&namespace)
                .is_some_and(|(until, _)| *until > Instant::now())
            {
                continue;
            }
            match sweeper.sweep(&namespace, now).await {
                Ok(0) => {
                    let failures = held.0.get(&namespace).map_or(0, |(_, failures)| *failures);
                    let until = Instant::now() + PAUSES.after(failures).min(sweeper.longest_pause());
                    held.0.insert(namespace, (until, failures.saturating_add(1)));
                }
                Ok(_) => {
                    held.0.remove(&namespace);
                }
                Err(error) => {
                    sweeper
                        .context
                        .metrics()
                        .reconcile_failed("Retention", "Transient");
                    tracing::warn!(namespace, error = %error_chain(&error), "old runs could not be deleted; trying again");
                }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("the runs could not be listed")]
    List(#[source] kube::Error),
    #[error("run {0} cannot be decoded, and may need another one: {1}")]
    Undecodable(String, String),
    #[error("the record of run {0} could not be read")]
    Record(String, #[source] StoreError),
    #[error("where the record of run {0} is could not be taken out of its status")]
    Forget(String, #[source] kube::Error),
    #[error("run {0} could not be deleted")]
    Delete(String, #[source] kube::Error),
}

impl Sweeper {
    fn ended(&self) -> MutexGuard<'_, RecordedRuns> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pauses are a few looks at most where looks are frequent.
    fn longest_pause(&self) -> Duration {
        self.timing.retain_every.saturating_mul(36)
    }

    /// What the live release of a flow says, or the flow where none is live. A flow that is gone says nothing.
    fn rule(&self, namespace: &str, flow: &str) -> Rule {
        let flow = self.flows.get(&ObjectRef::new(flow).within(namespace));
        let live = flow.as_ref().and_then(|flow| {
            let live = flow.status.as_ref()?.live_release()?;
            self.releases.get(&ObjectRef::new(live).within(namespace))
        });
        let said = match (live, flow) {
            (Some(live), _) => live.spec.definition.retention.clone(),
            (None, Some(flow)) => flow.spec.definition.retention.clone(),
            (None, None) => None,
        };
        let retention: Retention = said.unwrap_or_default();
        Rule {
            keep: retention.keep(),
            after: retention.after(),
        }
    }

    /// Deletes what is past its retention in a namespace. Gives how many runs that were.
    async fn sweep(&self, namespace: &str, now: Timestamp) -> Result<usize, SweepError> {
        let runs = self.list(namespace).await?;
        let facts: Vec<RunFacts> = runs.iter().map(facts).collect();
        let rule = |flow: &str| self.rule(namespace, flow);
        let stay = Stay {
            least: self.timing.least,
            repeated: self.timing.repeated,
        };
        let leaving = leaving(&facts, rule, stay, now);
        self.ended().replace(namespace, &runs);
        let mut deleted = 0;
        for group in &leaving {
            if self.are_recorded(&runs, group).await? {
                deleted += self.delete_all(&runs, group).await?;
            }
        }
        Ok(deleted)
    }

    /// Whether the records are there of all runs that would be gone.
    async fn are_recorded(&self, runs: &[Run], group: &Leaving) -> Result<bool, SweepError> {
        let mut all = true;
        for run in group.all.iter().map(|at| &runs[*at]) {
            if !self.is_recorded(run).await? {
                self.forget_record(run).await?;
                all = false;
            }
        }
        Ok(all)
    }

    /// Whether the record of a run is what its status says.
    async fn is_recorded(&self, run: &Run) -> Result<bool, SweepError> {
        let status = run.status.as_ref();
        let finished_at = status
            .and_then(|status| status.finished_at.as_ref())
            .map(|time| time.0);
        let Some(record) = status.and_then(|status| status.record.as_ref()) else {
            return Ok(false);
        };
        let path = RecordPath::of(&gather::owner(run), finished_at.unwrap_or_default());
        if path.to_string() != record.reference {
            return Ok(false);
        }
        match self.store.read_record(&path).await {
            Ok(bytes) => Ok(Digest::of(&bytes) == record.sha256 && place_in(&bytes) == Some(path)),
            Err(error) if error.is_transient() => Err(SweepError::Record(run.name_any(), error)),
            Err(_) => Ok(false),
        }
    }

    /// Lets the record of a run be written once more.
    async fn forget_record(&self, run: &Run) -> Result<(), SweepError> {
        let (namespace, name) = (run.namespace().unwrap_or_default(), run.name_any());
        tracing::warn!(
            namespace,
            run = name,
            "the record of a run is gone or was changed; the run stays, and its record is written anew"
        );
        let operations = Operations(vec![
            PatchOperation::Test(TestOperation {
                path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
                value: Value::String(run.resource_version().unwrap_or_default()),
            }),
            PatchOperation::Remove(RemoveOperation {
                path: PointerBuf::from_tokens(["status", "record"]),
            }),
        ]);
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let runs = self.context.namespaced::<Run>(&namespace);
        let written = runs
            .patch_status(&name, &params, &Patch::<()>::Json(operations))
            .await;
        match written {
            Ok(run) => {
                // nobody listens any more when the operator stops
                let _ = self.unrecorded.send(Arc::new(run));
                Ok(())
            }
            Err(error) if is_missing(&error) || is_stale(&error) => Ok(()),
            Err(error) => Err(SweepError::Forget(name, error)),
        }
    }

    /// Deletes runs of which each goes on from the one before. If one has changed meanwhile, it stays, and so do those after it: while
    /// it is there, they say what was done.
    async fn delete_all(&self, runs: &[Run], group: &Leaving) -> Result<usize, SweepError> {
        let mut deleted = 0;
        for root in &group.roots {
            if !self.delete(&runs[*root]).await? {
                break;
            }
            deleted += 1;
        }
        Ok(deleted)
    }

    async fn list(&self, namespace: &str) -> Result<Vec<Run>, SweepError> {
        let api = self.context.namespaced::<Decoded<Run>>(namespace);
        let mut params = ListParams::default().limit(PAGE);
        let mut runs = Vec::new();
        loop {
            let listed = objects::list(&api, &params).await.map_err(SweepError::List)?;
            if let Some(bad) = listed.undecodable.first() {
                let name = bad.metadata.name.clone().unwrap_or_default();
                return Err(SweepError::Undecodable(name, bad.message()));
            }
            runs.extend(listed.items.into_iter().map(slim));
            match listed.next {
                Some(next) => params = params.continue_token(&next),
                None => return Ok(runs),
            }
        }
    }

    /// Deletes a run. Gives whether it is gone.
    async fn delete(&self, run: &Run) -> Result<bool, SweepError> {
        let (namespace, name) = (run.namespace().unwrap_or_default(), run.name_any());
        // what has changed since is judged anew
        let preconditions = Preconditions {
            uid: run.uid(),
            resource_version: run.resource_version(),
        };
        let params = DeleteParams::background().preconditions(preconditions);
        let runs = self.context.namespaced::<Run>(&namespace);
        match runs.delete(&name, &params).await {
            Ok(_) => {
                tracing::info!(namespace, run = name, flow = %run.spec.flow, "a run was deleted that is past the retention of its flow; its record stays");
                Ok(true)
            }
            Err(error) if is_missing(&error) => Ok(true),
            Err(error) if is_stale(&error) => Ok(false),
            Err(error) => Err(SweepError::Delete(name, error)),
        }
    }
}

/// Where a record says that it has to lie.
fn place_in(record: &[u8]) -> Option<RecordPath> {
    let envelope = Envelope::read(record).ok()?;
    statement::place_of(&envelope.payload().ok()?)
}

/// The parts of a run that are looked at: all runs of a namespace are in memory at once.
fn slim(mut run: Run) -> Run {
    run.metadata.managed_fields = None;
    run.metadata.annotations = None;
    run.metadata.labels = None;
    run.spec.inputs = None;
    run.spec.resolutions.clear();
    if let Some(status) = &mut run.status {
        let (phase, finished_at, record) = (status.phase, status.finished_at.take(), status.record.take());
        *status = signoff_api::RunStatus {
            phase,
            finished_at,
            record,
            ..signoff_api::RunStatus::default()
        };
    }
    run
}

fn facts(run: &Run) -> RunFacts {
    let status = run.status.as_ref();
    let ended = status.filter(|status| status.phase.is_finished());
    let created = run.creation_timestamp().map(|time| time.0).unwrap_or_default();
    let trigger = run.spec.trigger.as_ref();
    RunFacts {
        name: run.name_any(),
        uid: run.uid().unwrap_or_default(),
        flow: run.spec.flow.to_string(),
        finished_at: ended.map(|status| status.finished_at.as_ref().map_or(created, |time| time.0)),
        is_recorded: ended.is_some_and(|status| status.record.is_some()),
        parent: run.spec.parent.as_ref().map(|parent| Parent {
            uid: parent.uid.clone(),
            owns: parent.is_waited_for(),
        }),
        retries: run.spec.retry_of.as_ref().map(|of| of.run.to_string()),
        started_after: trigger.and_then(|trigger| trigger.run.clone()),
        is_repeatable: is_repeatable(run),
    }
}

/// Whether whoever asked for a run may ask again: with the same webhook, or under the same name.
fn is_repeatable(run: &Run) -> bool {
    match &run.spec.trigger {
        Some(trigger) => trigger.kind == TriggerKind::Webhook,
        None => {
            run.metadata.generate_name.is_none() && run.spec.parent.is_none() && run.spec.retry_of.is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_gave_a_run_its_name_may_ask_for_it_again() {
        let generated = json!({"name": "f-x7k2q", "generateName": "f-"});
        let named = json!({"name": "f-key"});
        let of_trigger =
            |kind: &str| json!({"trigger": {"name": "t", "kind": kind, "at": "2026-11-01T00:00:00.000000Z"}});
        for (metadata, more, expected) in [
            (&named, json!({}), true),
            (&generated, json!({}), false),
            (&named, of_trigger("Webhook"), true),
            (&named, of_trigger("Schedule"), false),
            (&named, json!({"retryOf": {"run": "f-x"}}), false),
        ] {
            let mut spec = json!({"flow": "f"});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            let run = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
                "metadata": metadata, "spec": spec});
            let run: Run = serde_json::from_value(run).unwrap();
            assert_eq!(facts(&slim(run)).is_repeatable, expected, "{spec}");
        }
    }
}
