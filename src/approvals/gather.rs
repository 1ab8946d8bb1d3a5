//! What is known about an approval's decisions.

use std::sync::Arc;

use kube::{ResourceExt as _, api::ListParams};

use super::ApprovalError;
use crate::cluster::{context::Context, object_key::created_at};
use signoff_api::{Approval, Decision, Run};
use signoff_engine::judge::{ActsAs, DecisionFact};

/// The decisions on an approval that the API server has accepted so far, read consistently whatever the watch is doing.
pub(super) async fn fresh(
    context: &Context,
    approval: &Approval,
) -> Result<Vec<Arc<Decision>>, ApprovalError> {
    let namespace = approval.namespace().unwrap_or_default();
    let selection = ListParams::default().fields(&format!("spec.approval={}", approval.name_any()));
    let list = context
        .list::<Decision>(&namespace, &selection)
        .await
        .map_err(|error| ApprovalError::Api("list the decisions", error))?;
    Ok(list.items.into_iter().map(Arc::new).collect())
}

/// The run that a question was put for, if it is about to go on. One that cannot be read now is read by whoever drives it.
pub(super) async fn run(context: &Context, approval: &Approval, goes_on: bool) -> Option<Run> {
    let name = approval.spec.subject.run.as_deref().filter(|_| goes_on)?;
    let api = context.namespaced::<Run>(&approval.namespace().unwrap_or_default());
    api.get_opt(name).await.ok().flatten()
}

/// The decisions as the judge wants them.
pub(super) fn facts(decisions: &[Arc<Decision>]) -> Vec<DecisionFact> {
    decisions
        .iter()
        .map(|decision| DecisionFact {
            name: decision.name_any(),
            uid: decision.uid().unwrap_or_default(),
            created_at: created_at(&**decision),
            spec: decision.spec.clone(),
            judged: decision.status.clone(),
            acts_as: ActsAs::Nobody,
        })
        .collect()
}
