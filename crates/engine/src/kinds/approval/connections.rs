//! Where later steps call is part of what people decide on: it is shown, bound by the digest, and checked again before
//! each call.

use serde_json::{Value, json};

use super::ApprovalPlan;
use crate::{
    kinds::{Failure, Next},
    turn::StepView,
};
use signoff_api::{canonical, reason::StepReason, run::BoundConnection};

/// Name of the shown item.
const ITEM: &str = "connections";
/// How often people are asked anew.
const MOST: usize = 20;

/// The Connections that a question binds, as they are now.
pub(super) fn now(step: &StepView<'_>) -> Vec<BoundConnection> {
    let bound = |name: &String| {
        let fact = step.run.facts.connections.get(name);
        BoundConnection {
            name: name.clone(),
            address: fact.and_then(|fact| fact.address.clone()),
            digest: fact.map_or_else(
                || canonical::digest_of_value(&Value::Null),
                |fact| fact.digest.clone(),
            ),
        }
    };
    step.planned.binds.keys().map(bound).collect()
}

/// What people are shown of them, under a name that the flow does not use itself.
pub(super) fn shown(
    step: &StepView<'_>,
    approval: &ApprovalPlan,
    bound: &[BoundConnection],
) -> Option<(String, Value)> {
    if bound.is_empty() {
        return None;
    }
    let item = approval.unused(ITEM);
    let shown: Vec<Value> = bound
        .iter()
        .map(|connection| {
            json!({
                "connection": connection.name,
                "address": connection.address,
                "digest": connection.digest,
                "steps": step.planned.binds.get(&connection.name),
            })
        })
        .collect();
    Some((item, Value::Array(shown)))
}

/// Whether people are asked anew, because a Connection is no longer what they are shown.
pub(super) fn superseded(step: &StepView<'_>) -> Option<Next> {
    let now = now(step);
    let changed: Vec<&str> = step
        .status
        .connections
        .iter()
        .filter(|connection| !now.contains(connection))
        .map(|connection| connection.name.as_str())
        .collect();
    if changed.is_empty() {
        return None;
    }
    let which = changed.join(", ");
    let reason = StepReason::ConnectionChanged;
    let before = match (step.call, step.status.item) {
        (Some(call), _) => usize::try_from(call.asked).unwrap_or(MOST),
        (None, None) => step.run.superseded(&step.status.name),
        (None, Some(_)) => usize::try_from(step.status.attempt).unwrap_or(MOST),
    };
    if before >= MOST {
        let message = format!("the Connection {which} changed again after people were asked {MOST} times");
        return Some(Next::Fail(Failure::new(reason, message)));
    }
    let message = format!("the Connection {which} has changed, so that people are asked anew");
    Some(Next::Supersede(reason, message))
}
