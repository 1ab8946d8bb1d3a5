//! Callbacks that were lost, answered by hand: which waits take them, and what they ask of them.

use serde_json::Value;

use crate::{callback_token::record_key, plan::Plan, turn::MAX_OUTPUT};
use signoff_api::{
    Digest, RunStatus, bounds, canonical,
    resolution::Resolution,
    run::{StepPhase, StepStatus},
};

/// What tells a resolution from another one of the same wait.
pub fn digest(resolution: &Resolution) -> Digest {
    let Resolution { body, message, by } = resolution;
    canonical::digest_of_value(&serde_json::json!({ "body": body.0, "message": message, "by": by }))
}

/// The key under which the callback of a step can be answered by hand now.
///
/// # Errors
/// Why there is none, for whoever answers.
pub fn key(plan: &Plan, state: &RunStatus, step: &str, item: Option<i64>) -> Result<String, String> {
    let Some(index) = plan.index_of(step) else {
        return Err(format!("the flow has no step {step}"));
    };
    let planned = &plan.steps[index];
    if !planned.kind.takes_callback() {
        return Err(format!("step {step} waits for no callback"));
    }
    if planned.for_each.is_some() != item.is_some() {
        return Err(match item {
            Some(_) => format!("step {step} has no items"),
            None => format!("step {step} has items: say which one"),
        });
    }
    let mut entries = state.steps.iter().rev();
    match entries.find(|entry| entry.name == step && entry.item == item) {
        Some(entry) if entry.phase == StepPhase::Waiting => Ok(key_of(entry)),
        Some(_) => Err(format!("step {step} does not wait any more")),
        None => Err(format!("step {step} does not wait now")),
    }
}

/// Whether the wait of a key takes this body, sent by hand.
///
/// # Errors
/// Why it does not, for whoever answers.
pub fn check(plan: &Plan, state: &RunStatus, key: &str, body: &Value) -> Result<(), String> {
    let entry = state.steps.iter().find(|entry| key_of(entry) == key);
    let known = entry.and_then(|entry| Some((entry, plan.index_of(&entry.name)?)));
    let Some((entry, step)) = known else {
        return Err(format!("nothing waits at {key}"));
    };
    let planned = &plan.steps[step];
    if !planned.kind.takes_callback() || entry.items.is_some() {
        return Err(format!("no callback is waited for at {key}"));
    }
    if entry.phase != StepPhase::Waiting || state.ending.is_some() && !planned.is_finally {
        return Err(format!("step {} does not wait any more", entry.name));
    }
    if state.callbacks.contains_key(key) {
        return Err("the callback has come meanwhile".to_owned());
    }
    let size = body.to_string().len();
    if size > MAX_OUTPUT {
        return Err(format!("the body has {size} bytes; at most {MAX_OUTPUT} may be"));
    }
    bounds::nesting(body, bounds::MAX_NESTING - 1).map_err(|error| format!("the body: {error}"))?;
    planned.kind.takes_body(body)
}

fn key_of(entry: &StepStatus) -> String {
    record_key(&entry.name, entry.iteration, entry.item)
}
