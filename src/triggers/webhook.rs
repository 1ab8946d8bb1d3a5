//! Runs that the gateway started: it tells nobody, and the flow says which was the last.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::{start::Started, status::Progress};
use crate::cluster::run_endings::TriggeredRun;
use signoff_api::Flow;
use signoff_engine::trigger::TriggerPlan;

/// The newest run of each trigger, with its time.
type OfTriggers = HashMap<String, (Timestamp, String)>;
/// Those of each flow.
type OfFlows = HashMap<ObjectRef<Flow>, OfTriggers>;

/// The newest run of each trigger that was seen and not told yet.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<OfFlows>);

impl Arrivals {
    /// Takes in that there is a run. Gives its flow.
    pub(super) fn seen(&self, run: TriggeredRun) -> ObjectRef<Flow> {
        let flow = ObjectRef::new(&run.flow).within(&run.namespace);
        let mut all = self.lock();
        let newest = all.entry(flow.clone()).or_default();
        let newest = newest
            .entry(run.trigger)
            .or_insert_with(|| (run.at, run.name.clone()));
        if newest.0 < run.at {
            *newest = (run.at, run.name);
        }
        flow
    }

    /// The runs of a flow that were not told yet.
    pub(super) fn of(&self, flow: &Flow) -> OfTriggers {
        let all = self.lock();
        all.get(&ObjectRef::from_obj(flow)).cloned().unwrap_or_default()
    }

    /// Those were told.
    pub(super) fn told(&self, flow: &Flow, told: &OfTriggers) {
        let mut all = self.lock();
        let key = ObjectRef::from_obj(flow);
        if let Some(left) = all.get_mut(&key) {
            left.retain(|trigger, run| told.get(trigger) != Some(run));
            if left.is_empty() {
                all.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, OfFlows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says which run was started last.
pub(super) fn advance(mut progress: Progress, plan: &TriggerPlan, seen: &OfTriggers) -> Progress {
    progress.say(None);
    if let Some((at, run)) = seen.get(plan.name.as_str())
        && progress.is_later(*at)
    {
        progress.dealt_with(*at, Started::Run(run.clone()));
    }
    progress
}
