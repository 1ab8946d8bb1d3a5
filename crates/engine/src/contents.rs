//! The contents of resources that expressions read. A decision reads nothing by itself: what it may need is found out before it,
//! and loaded.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    facts::{Contents, EffectOutcome, Response},
    object::{ObjectFact, ObjectKey},
    plan::Plan,
};
use signoff_api::{Resource, RunStatus, json::JsonObject};

/// Longest content that is read, in bytes.
pub const MAX_READ: u64 = 256 << 10;
/// Most contents that are loaded for a run. Newer ones come first.
const MOST: usize = 16;

/// The resources whose contents the expressions of a run may read now, the newest first: those that its steps gave, that it was
/// started with, and that just came. None if no expression reads any.
pub fn wanted(
    plan: &Plan,
    (state, inputs): (Option<&RunStatus>, Option<&JsonObject>),
    outcomes: &[EffectOutcome],
    objects: &BTreeMap<ObjectKey, ObjectFact>,
) -> Vec<Resource> {
    let mut found = Vec::new();
    if !plan.reads_contents {
        return found;
    }
    for outcome in outcomes {
        if let Ok(Response::Http(response)) = &outcome.result {
            collect(&response.body, &mut found);
        }
    }
    for object in objects.values() {
        if let ObjectFact::Run(run) = object
            && let Some(output) = &run.output
        {
            collect(&output.0, &mut found);
        }
    }
    let steps = state.iter().flat_map(|state| state.steps.iter().rev());
    for step in steps {
        if let Some(output) = &step.output {
            collect(&output.0, &mut found);
        }
    }
    let inputs = inputs.iter().flat_map(|inputs| inputs.0.values());
    inputs.for_each(|value| collect(value, &mut found));
    found
}

/// Whether expressions of a plan read contents, which no record of a run holds.
pub fn are_read(plan: &Plan) -> bool {
    plan.reads_contents
}

fn collect(value: &Value, found: &mut Vec<Resource>) {
    if found.len() >= MOST {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) if fields.contains_key("ref") && fields.contains_key("sha256") => {
            match serde_json::from_value::<Resource>(value.clone()) {
                Ok(resource) if !found.contains(&resource) => found.push(resource),
                Ok(_) => {}
                Err(_) => fields.values().for_each(|field| collect(field, found)),
            }
        }
        Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Contents as `read` looks them up.
pub(super) fn as_variable(contents: &Contents) -> Value {
    let contents = contents.iter().map(|(digest, content)| {
        let content = match content {
            Ok(text) => json!({ "text": text }),
            Err(problem) => json!({ "problem": problem }),
        };
        (digest.to_string(), content)
    });
    Value::Object(contents.collect::<Map<_, _>>())
}
