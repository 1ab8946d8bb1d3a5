//! Ends of runs of another flow.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Event;
use crate::requesters;
use signoff_api::{
    Digest, Run, RunPhase, canonical, name::FlowName, run::EndingOutcome, trigger::FlowTrigger,
};

/// Most runs that follow one another because each starts the next, after the first.
pub(super) const MAX_DEPTH: i64 = 5;

/// The end of a run of another flow.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    /// The other flow.
    pub flow: FlowName,
    phases: Vec<EndingOutcome>,
}

impl FlowPlan {
    pub(crate) fn of(trigger: &FlowTrigger) -> Self {
        Self {
            flow: trigger.name.clone(),
            phases: trigger
                .phases
                .clone()
                .unwrap_or_else(|| vec![EndingOutcome::Succeeded]),
        }
    }

    /// The phases in which a run may have ended.
    pub fn phases(&self) -> impl Iterator<Item = RunPhase> {
        self.phases.iter().map(|phase| phase.phase())
    }

    pub(super) fn digest(&self) -> Digest {
        let mut phases: Vec<String> = self
            .phases
            .iter()
            .map(|phase| phase.phase().to_string())
            .collect();
        phases.sort();
        phases.dedup();
        canonical::digest_of_value(&json!({ "flow": self.flow, "phases": phases }))
    }

    /// The event that a run is, if it has ended after this time as the trigger wants.
    pub fn event(&self, run: &Run, after: Timestamp) -> Option<Event> {
        let status = run.status.as_ref()?;
        let at = status.finished_at.as_ref()?.0;
        let is_wanted = self.phases.iter().any(|phase| phase.phase() == status.phase);
        if run.spec.flow != self.flow || !is_wanted || at <= after {
            return None;
        }
        let before = run.spec.depth();
        Some(Event {
            at,
            id: run.metadata.uid.clone()?,
            key: None,
            variables: vec![("run", as_variable(run))],
            run: run.metadata.name.clone(),
            requesters: requesters::of(run),
            depth: Some(before.unwrap_or_default().saturating_add(1)),
            sha256: None,
        })
    }
}

/// What expressions see of a run that has ended. What is not there is absent.
fn as_variable(run: &Run) -> Value {
    let status = run.status.as_ref();
    let optional = [
        (
            "requestedBy",
            run.spec.requested_by.as_ref().map(|user| json!(user)),
        ),
        (
            "output",
            status
                .and_then(|status| status.output.as_ref())
                .map(|output| output.0.clone()),
        ),
        (
            "error",
            status
                .and_then(|status| status.error.as_ref())
                .map(|error| json!(error)),
        ),
        (
            "startedAt",
            status
                .and_then(|status| status.started_at.as_ref())
                .map(|at| json!(at.0.to_string())),
        ),
    ];
    let mut fields = Map::new();
    for (name, value) in [
        ("name", json!(run.metadata.name)),
        ("namespace", json!(run.metadata.namespace)),
        ("uid", json!(run.metadata.uid)),
        ("flow", json!(run.spec.flow)),
        ("outcome", json!(status.map(|status| status.phase))),
        ("inputs", run.inputs().cloned().unwrap_or_default().to_value()),
    ] {
        fields.insert(name.to_owned(), value);
    }
    fields.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    Value::Object(fields)
}
