//! Runs after runs of other flows.
//!
//! Runs that end are told of by name, and read where a flow waits for ends. A run that ended while nobody listened is found
//! by a list, once for each trigger, from the last end that was dealt with.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, api::ListParams, runtime::reflector::ObjectRef};

use super::{start::Starter, status::Progress};
use crate::cluster::{context::Context, error_chain, object_key::ObjectKey};
use signoff_api::{Digest, Flow, Run};
use signoff_engine::trigger::{Event, SourcePlan, TriggerPlan, flow::FlowPlan};

/// Ends are not always told of in the order of their times: a write may take a while. This much later than the last one
/// they are looked for again; the names of their runs keep them from starting twice.
const DISORDER: SignedDuration = SignedDuration::from_mins(10);
/// Most ends that are kept for one flow. With more, they are listed.
const KEPT: usize = 256;

/// Which flows wait for ends of which others, and the ends that they have not dealt with.
#[derive(Default)]
pub(super) struct Ends(Mutex<State>);

#[derive(Default)]
struct State {
    /// By namespace and other flow.
    listeners: HashMap<String, BTreeMap<String, BTreeSet<String>>>,
    heard: HashMap<ObjectRef<Flow>, Vec<Arc<Run>>>,
    /// Triggers of which every end was heard since this process began.
    up_to_date: HashSet<(ObjectRef<Flow>, String, Digest)>,
    /// How often an end was not kept. A list that began before one may lack it.
    missed: u64,
}

impl Ends {
    /// Notes the other flows whose ends a flow waits for.
    pub(super) fn listen(&self, flow: &Flow, plans: &[TriggerPlan]) {
        let others: BTreeSet<String> = plans.iter().filter_map(other).collect();
        let (namespace, name) = (flow.namespace().unwrap_or_default(), flow.name_any());
        let mut state = self.lock();
        if others.is_empty() && !state.listeners.contains_key(&namespace) {
            return;
        }
        let all = state.listeners.entry(namespace.clone()).or_default();
        for listeners in all.values_mut() {
            listeners.remove(&name);
        }
        for other in others {
            all.entry(other).or_default().insert(name.clone());
        }
        all.retain(|_, listeners| !listeners.is_empty());
        if all.is_empty() {
            state.listeners.remove(&namespace);
        }
    }

    /// Takes in that a run has ended or is gone. Gives the flows that wait for its end.
    pub(super) async fn heard(&self, context: &Context, key: &ObjectKey<Run>) -> Vec<ObjectRef<Flow>> {
        let namespace = key.namespace();
        if !self.lock().listeners.contains_key(namespace) {
            return Vec::new();
        }
        let read = context.namespaced::<Run>(namespace).get_opt(key.name()).await;
        let run = match read {
            Ok(Some(run)) => Arc::new(run),
            Ok(None) => return Vec::new(),
            Err(error) => {
                tracing::warn!(run = %key, error = %error_chain(&error), "a run that ended could not be read; the ends are listed");
                return self.list_again(namespace);
            }
        };
        let mut state = self.lock();
        let waiting = state
            .listeners
            .get(namespace)
            .and_then(|all| all.get(run.spec.flow.as_str()))
            .cloned()
            .unwrap_or_default();
        let mut flows = Vec::new();
        for name in waiting {
            let flow = ObjectRef::new(&name).within(namespace);
            let heard = state.heard.entry(flow.clone()).or_default();
            if heard.len() < KEPT {
                heard.push(Arc::clone(&run));
            } else {
                state.up_to_date.retain(|(of, ..)| *of != flow);
                state.missed = state.missed.wrapping_add(1);
            }
            flows.push(flow);
        }
        flows
    }

    /// Lets every flow of a namespace that waits for ends list them.
    fn list_again(&self, namespace: &str) -> Vec<ObjectRef<Flow>> {
        let mut state = self.lock();
        let in_it = |flow: &ObjectRef<Flow>| flow.namespace.as_deref() == Some(namespace);
        state.up_to_date.retain(|(flow, ..)| !in_it(flow));
        state.missed = state.missed.wrapping_add(1);
        let all = state
            .listeners
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::values);
        all.flatten()
            .map(|name| ObjectRef::new(name).within(namespace))
            .collect()
    }

    /// The ends that a flow has not dealt with. It deals with them now.
    pub(super) fn take(&self, flow: &Flow) -> Vec<Arc<Run>> {
        let taken = self.lock().heard.remove(&ObjectRef::from_obj(flow));
        taken.unwrap_or_default()
    }

    /// Gives back ends that could not be dealt with.
    pub(super) fn give_back(&self, flow: &Flow, runs: Vec<Arc<Run>>) {
        if !runs.is_empty() {
            let mut state = self.lock();
            state
                .heard
                .entry(ObjectRef::from_obj(flow))
                .or_default()
                .extend(runs);
        }
    }

    fn is_up_to_date(&self, flow: &Flow, plan: &TriggerPlan) -> bool {
        self.lock().up_to_date.contains(&key(flow, plan))
    }

    /// How many ends were missed so far.
    fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// Every end was heard since a list that began when so many had been missed.
    fn set_up_to_date(&self, flow: &Flow, plan: &TriggerPlan, missed: u64) {
        let mut state = self.lock();
        if state.missed == missed {
            state.up_to_date.insert(key(flow, plan));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(flow: &Flow, plan: &TriggerPlan) -> (ObjectRef<Flow>, String, Digest) {
    (
        ObjectRef::from_obj(flow),
        plan.name.to_string(),
        plan.source.digest(),
    )
}

/// The other flow that a trigger waits for.
fn other(plan: &TriggerPlan) -> Option<String> {
    match &plan.source {
        SourcePlan::Flow(flow) => Some(flow.flow.to_string()),
        SourcePlan::Schedule(_) | SourcePlan::Webhook(_) => None,
    }
}

/// Starts a run for each end that was not dealt with yet.
pub(super) async fn advance(
    starter: &Starter<'_>,
    plan: &FlowPlan,
    mut progress: Progress,
    ends: &Ends,
    heard: &[Arc<Run>],
    now: Timestamp,
) -> Progress {
    let since = progress.status.since.0;
    let mut events: BTreeMap<_, Event> = BTreeMap::new();
    let mut add = |event: Event| events.insert((event.at, event.id.clone()), event);
    let missed = ends.missed();
    let lists = !ends.is_up_to_date(starter.flow, starter.trigger);
    // of one that begins now nothing was missed
    if lists && since < now {
        let last = progress.status.last_at.as_ref().map(|last| last.0 - DISORDER);
        let after = last.map_or(since, |last| last.max(since));
        match ended(starter, plan).await {
            Ok(runs) => runs
                .iter()
                .filter_map(|run| plan.event(run, after))
                .for_each(|event| drop(add(event))),
            Err(error) => {
                progress.failed = Some(error);
                return progress;
            }
        }
    }
    heard
        .iter()
        .filter_map(|run| plan.event(run, since))
        .for_each(|event| drop(add(event)));
    for event in events.into_values() {
        let at = event.at;
        let started = starter.start(event).await;
        progress.dealt_with(at, started);
        if progress.failed.is_some() {
            return progress;
        }
    }
    if lists {
        ends.set_up_to_date(starter.flow, starter.trigger, missed);
    }
    progress
}

/// The runs of the other flow that have ended as the trigger wants.
async fn ended(starter: &Starter<'_>, plan: &FlowPlan) -> kube::Result<Vec<Run>> {
    let namespace = starter.flow.namespace().unwrap_or_default();
    let mut all = Vec::new();
    for phase in plan.phases() {
        let selected = format!("spec.flow={},status.phase={phase}", plan.flow);
        let list = ListParams::default().fields(&selected);
        all.extend(starter.context.list::<Run>(&namespace, &list).await?.items);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use signoff_api::Definition;
    use signoff_engine::plan::Plan;

    use super::*;

    #[test]
    fn a_list_that_began_before_an_end_was_missed_is_followed_by_another() {
        let definition = json!({"steps": [{"name": "a", "set": {}}],
            "triggers": [{"name": "then", "flow": {"name": "other"}}]});
        let flow = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
            "metadata": {"name": "f", "namespace": "ns"}, "spec": definition});
        let flow: Flow = serde_json::from_value(flow).unwrap();
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let plan = Plan::compile(&definition).unwrap().triggers()[0].clone();
        let ends = Ends::default();
        ends.listen(&flow, std::slice::from_ref(&plan));
        let before = ends.missed();
        assert_eq!(ends.list_again("ns").len(), 1);
        ends.set_up_to_date(&flow, &plan, before);
        assert!(!ends.is_up_to_date(&flow, &plan));
        ends.set_up_to_date(&flow, &plan, ends.missed());
        assert!(ends.is_up_to_date(&flow, &plan));
    }
}
