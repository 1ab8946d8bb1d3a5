//! The event that a wait waits for: which trigger it comes by, and the keys that it may have.

use serde_json::{Value, json};

use crate::{
    expression::{JsonTemplate, Scope, type_name},
    kinds::Failure,
    plan::{Place, check},
    spelling::did_you_mean,
    turn::StepView,
};
use signoff_api::{
    name::{DnsLabel, FlowName},
    names,
    reason::StepReason,
    step::EventWait,
    trigger::TriggerSource,
};

/// What it waits for, with its expressions parsed.
#[derive(Debug)]
pub(super) struct EventPlan {
    flow: Option<FlowName>,
    trigger: DnsLabel,
    keys: JsonTemplate,
}

impl EventPlan {
    pub(super) fn compile(place: &mut Place<'_, '_>, event: &EventWait) -> Option<Self> {
        // what another flow has is not known here
        if event.flow.is_none()
            && place.knows_all_triggers()
            && let Err(message) = known(place, &event.trigger)
        {
            place.problem("trigger", message);
        }
        let most = EventWait::MOST_KEYS;
        if event.keys.is_empty() || event.keys.len() > most {
            let message = format!("a wait has from 1 to {most} keys");
            place.problem("keys", message);
        }
        let keys = place.json("keys", &json!(event.keys), &[])?;
        for (path, offset, expression) in keys.expressions() {
            let type_ = place.type_of(expression);
            if !check::is_keys(&type_) {
                let message = format!("a key is a text or a list of texts, not {type_}");
                place.mistyped(&format!("keys{path}"), offset, message);
            }
        }
        if let Some(when) = &event.when {
            place.condition_of_event("when", when, event);
        }
        Some(Self {
            flow: event.flow.clone(),
            trigger: event.trigger.clone(),
            keys,
        })
    }

    /// Its trigger: the flow, unless it is that of the step, and the name.
    pub(super) fn trigger(&self) -> (Option<&str>, &str) {
        (self.flow.as_deref(), &self.trigger)
    }

    /// What is waited for, for people.
    pub(super) fn what(&self) -> String {
        match &self.flow {
            Some(flow) => format!("an event of trigger {flow}/{}", self.trigger),
            None => format!("an event of trigger {}", self.trigger),
        }
    }

    /// The hashes of the events that end the wait, each once.
    pub(super) fn hashes(&self, step: &StepView<'_>, scope: &Scope) -> Result<Vec<String>, Failure> {
        let flow = self.flow.as_deref().unwrap_or(&step.run.facts.release.flow);
        let values = self.keys.value(scope).map_err(|error| {
            let message = format!("event.keys: {error}");
            Failure::new(error.reason(), message)
        })?;
        let mut keys = Vec::new();
        for value in values.as_array().into_iter().flatten() {
            match value {
                Value::Array(several) => several.iter().try_for_each(|key| collect(&mut keys, key))?,
                one => collect(&mut keys, one)?,
            }
        }
        if keys.is_empty() {
            return Err(invalid("there is no key"));
        }
        let hashes = keys.iter();
        Ok(hashes
            .map(|key| names::event_key(flow, &self.trigger, key))
            .collect())
    }
}

/// Adds a key. What is not there is none.
fn collect(keys: &mut Vec<String>, value: &Value) -> Result<(), Failure> {
    let key = match value {
        Value::Null => return Ok(()),
        Value::String(key) => key.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => {
            return Err(invalid(&format!("{} is no key", type_name(value))));
        }
    };
    if key.is_empty() {
        return Err(invalid("a key is empty"));
    }
    if !keys.contains(&key) {
        keys.push(key);
    }
    if keys.len() > EventWait::MOST_KEYS {
        let most = EventWait::MOST_KEYS;
        return Err(invalid(&format!("there are more than {most} keys")));
    }
    Ok(())
}

fn invalid(why: &str) -> Failure {
    Failure::new(StepReason::InvalidEventKeys, format!("event.keys: {why}"))
}

/// Whether the flow has a webhook trigger of this name whose events have keys.
fn known(place: &Place<'_, '_>, name: &DnsLabel) -> Result<(), String> {
    let triggers = place.triggers();
    let Some(trigger) = triggers.iter().find(|trigger| trigger.name == *name) else {
        let names = triggers.iter().map(|trigger| trigger.name.as_str());
        return Err(format!(
            "the flow has no trigger {name}{}",
            did_you_mean(name, names)
        ));
    };
    match &trigger.kind {
        TriggerSource::Webhook(webhook) if webhook.key.is_some() => Ok(()),
        TriggerSource::Webhook(_) => Err(format!("the webhook of trigger {name} has no key")),
        TriggerSource::Schedule(_) | TriggerSource::Flow(_) => {
            Err(format!("trigger {name} is no webhook, so no event comes by it"))
        }
    }
}
