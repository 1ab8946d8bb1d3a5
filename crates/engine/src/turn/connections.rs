//! Where later steps call is part of what people decide on: it is shown, bound by the digest, and checked again before each call.

use serde_json::{Value, json};

use super::{Turn, cut};
use crate::plan::{Action, ApprovalPlan};
use signoff_api::{
    ApprovalPhase, Digest, canonical,
    reason::StepReason,
    run::{BoundConnection, StepError, StepOutcome, StepPhase},
};

/// Name of the shown item.
const ITEM: &str = "connections";
/// How often people are asked anew.
const MOST: usize = 20;

impl Turn<'_> {
    /// The Connections that an approval binds, as they are now.
    pub(super) fn connections_now(&self, approval: &ApprovalPlan) -> Vec<BoundConnection> {
        let bound = |name: &String| {
            let fact = self.facts.connections.get(name);
            BoundConnection {
                name: name.clone(),
                address: fact.and_then(|fact| fact.address.clone()),
                digest: fact.map_or_else(
                    || canonical::digest_of_value(&Value::Null),
                    |fact| fact.digest.clone(),
                ),
            }
        };
        approval.connections.keys().map(bound).collect()
    }

    /// What people are shown of them, under a name that the flow does not use itself.
    pub(super) fn shown_connections(&self, entry: usize, approval: &ApprovalPlan) -> Option<(String, Value)> {
        let bound = &self.state.steps[entry].connections;
        if bound.is_empty() {
            return None;
        }
        let mut item = ITEM.to_owned();
        while approval.show.iter().any(|(name, _)| *name == item) {
            item.insert_str(0, "bound-");
        }
        let shown: Vec<Value> = bound
            .iter()
            .map(|connection| {
                json!({
                    "connection": connection.name,
                    "address": connection.address,
                    "digest": connection.digest,
                    "steps": approval.connections.get(&connection.name),
                })
            })
            .collect();
        Some((item, Value::Array(shown)))
    }

    /// Asks anew if a Connection is no longer what people are shown. Says whether it is so.
    pub(super) fn supersede_if_changed(&mut self, entry: usize, approval: &ApprovalPlan) -> bool {
        let now = self.connections_now(approval);
        let known = &self.state.steps[entry].connections;
        let changed: Vec<&str> = known
            .iter()
            .filter(|connection| !now.contains(connection))
            .map(|connection| connection.name.as_str())
            .collect();
        if changed.is_empty() {
            return false;
        }
        let which = changed.join(", ");
        let name = self.state.steps[entry].name.clone();
        if self.superseded(&name) >= MOST {
            let message =
                format!("the Connection {which} changed again after people were asked {MOST} times");
            self.fail(entry, StepReason::ConnectionChanged, message);
            return true;
        }
        let message = format!("the Connection {which} has changed, so that people are asked anew");
        self.stop(entry, ApprovalPhase::Superseded, &message);
        self.state.steps[entry].error = Some(StepError {
            reason: StepReason::ConnectionChanged,
            message: cut(message),
        });
        true
    }

    /// How often a question of this step was superseded.
    pub(super) fn superseded(&self, step: &str) -> usize {
        let is_superseded = |error: &StepError| error.reason == StepReason::ConnectionChanged;
        self.state
            .steps
            .iter()
            .filter(|entry| entry.name == step && entry.outcome == Some(StepOutcome::Cancelled))
            .filter(|entry| entry.error.as_ref().is_some_and(is_superseded))
            .count()
    }

    /// Digest of the Connection that a step uses, as it was when people last decided on what comes after.
    pub(super) fn bound(&self, step: &str, connection: &str) -> Option<Digest> {
        let decided = self.state.steps.iter().rev().filter(|entry| {
            entry.phase == StepPhase::Succeeded
                && matches!(entry.outcome, Some(StepOutcome::Approved | StepOutcome::TimedOut))
        });
        let binds = |name: &str| {
            let Some(index) = self.plan.index_of(name) else {
                return false;
            };
            match &self.plan.steps[index].action {
                Action::Approval(approval) => approval
                    .connections
                    .get(connection)
                    .is_some_and(|steps| steps.iter().any(|one| one == step)),
                Action::Http(_) | Action::Set(_) | Action::Wait(_) => false,
            }
        };
        decided
            .filter(|entry| binds(&entry.name))
            .find_map(|entry| entry.connections.iter().find(|bound| bound.name == connection))
            .map(|bound| bound.digest.clone())
    }
}
