//! How a run of a scenario starts: with inputs, or by an event of a trigger.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::scenario::{Scenario, ScenarioTrigger, TriggerEvent};
use crate::manifest::did_you_mean;
use signoff_api::{Definition, Digest, Run, json::JsonObject, trigger::RunTrigger};
use signoff_engine::{
    facts::ReleaseFacts,
    inputs,
    plan::Plan,
    trigger::{
        Event, SourcePlan, TriggerPlan,
        flow::FlowPlan,
        schedule::SchedulePlan,
        webhook::{Delivery, Unwanted},
    },
};

/// What a run starts with.
pub(super) struct Start {
    pub(super) inputs: JsonObject,
    pub(super) requested_by: String,
    pub(super) trigger: Option<RunTrigger>,
}

/// What the run of a scenario starts with.
pub(super) fn start(
    scenario: &Scenario,
    definition: &Definition,
    plan: &Plan,
    release: &ReleaseFacts,
) -> Result<Start, String> {
    let spec = &scenario.spec;
    let (given, requested_by, trigger) = match &spec.trigger {
        None => (spec.inputs.clone(), spec.requested_by.clone(), None),
        Some(said) => {
            let names = || plan.triggers().iter().map(|trigger| trigger.name.as_str());
            let trigger = plan.triggers().iter().find(|trigger| trigger.name == said.name);
            let trigger = trigger.ok_or_else(|| {
                let meant = did_you_mean(&said.name, names());
                format!(
                    "spec.trigger: there is no trigger {} in flow {}{meant}",
                    said.name, spec.flow
                )
            })?;
            let event = event(said, trigger, release, said.at.unwrap_or(spec.now))?;
            let run = trigger.start(definition, release, &event);
            let run = run
                .map_err(|why| format!("spec.trigger: no run starts: {}", why.message()))?
                .spec;
            (
                run.inputs.unwrap_or_default(),
                run.requested_by.unwrap_or_default(),
                run.trigger,
            )
        }
    };
    let inputs = inputs::complete(definition, &given).map_err(|message| format!("spec.{message}"))?;
    Ok(Start {
        inputs,
        requested_by,
        trigger,
    })
}

/// The event that a scenario tells of.
fn event(
    said: &ScenarioTrigger,
    trigger: &TriggerPlan,
    release: &ReleaseFacts,
    at: Timestamp,
) -> Result<Event, String> {
    match &trigger.source {
        SourcePlan::Schedule(_) => Ok(SchedulePlan::event(at)),
        SourcePlan::Flow(flow) => end(said, flow, at),
        SourcePlan::Webhook(webhook) => {
            let events = webhook.events(release, &delivery(&said.headers, &said.body, at));
            let mut events = events.map_err(|why| format!("spec.trigger: no run starts: {why}"))?;
            match (events.len(), events.pop()) {
                (1, Some(event)) => Ok(event),
                (count, _) => Err(format!(
                    "spec.trigger: {count} runs start; a scenario is about one, so give a body with one item"
                )),
            }
        }
    }
}

/// A request that proves who its sender is.
fn delivery(headers: &BTreeMap<String, String>, body: &Value, at: Timestamp) -> Delivery {
    let mut headers: BTreeMap<String, String> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    // a scenario needs no id: nothing is sent twice
    for id in ["webhook-id", "x-github-delivery", "idempotency-key"] {
        headers.entry(id.to_owned()).or_insert_with(|| at.to_string());
    }
    Delivery {
        at,
        headers,
        sha256: Digest::of(body.to_string().as_bytes()),
        body: body.clone(),
    }
}

/// The events that come by a webhook trigger of a flow while its run goes on.
pub(super) fn events(
    came: &TriggerEvent,
    plan: &Plan,
    release: &ReleaseFacts,
    at: Timestamp,
) -> Result<Vec<Event>, String> {
    let names = || plan.triggers().iter().map(|trigger| trigger.name.as_str());
    let trigger = plan
        .triggers()
        .iter()
        .find(|trigger| trigger.name == came.trigger);
    let trigger = trigger.ok_or_else(|| {
        let meant = did_you_mean(&came.trigger, names());
        format!("there is no trigger {}{meant}", came.trigger)
    })?;
    match &trigger.source {
        SourcePlan::Webhook(webhook) => {
            match webhook.events(release, &delivery(&came.headers, &came.body, at)) {
                Ok(events) => Ok(events),
                Err(Unwanted::Condition) => Ok(vec![]),
                Err(why) => Err(why.to_string()),
            }
        }
        SourcePlan::Schedule(_) | SourcePlan::Flow(_) => {
            Err(format!("trigger {} is no webhook", came.trigger))
        }
    }
}

/// The end of a run of another flow.
fn end(said: &ScenarioTrigger, flow: &FlowPlan, at: Timestamp) -> Result<Event, String> {
    let run = said.run.clone().unwrap_or_default();
    let run = json!({
        "apiVersion": "signoff.dev/v1alpha1",
        "kind": "Run",
        "metadata": {"name": "ended", "namespace": "default", "uid": "ended"},
        "spec": {"flow": flow.flow, "inputs": run.inputs, "requestedBy": "dev"},
        "status": {
            "phase": run.outcome,
            "output": run.output,
            "startedAt": at.to_string(),
            "finishedAt": at.to_string(),
        },
    });
    let run: Run = serde_json::from_value(run).map_err(|error| format!("spec.trigger.run: {error}"))?;
    let event = flow.event(&run, Timestamp::MIN);
    event.ok_or_else(|| "spec.trigger.run: no run starts: the trigger wants other outcomes".to_owned())
}
