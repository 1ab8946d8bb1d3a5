//! Decisions on an approval that does not exist.

use std::sync::Arc;

use kube::ResourceExt as _;

use super::{Deps, write};
use crate::{
    api::{Approval, Decision, DecisionStatus, decision::DecisionReason},
    controllers::error_chain,
};

/// Tells the decider of an approval that is not there. One that the watch has not shown yet is judged when it does.
pub(super) async fn settle(deps: Deps, decision: Arc<Decision>) {
    let namespace = decision.namespace().unwrap_or_default();
    match deps
        .context
        .namespaced::<Approval>(&namespace)
        .get_metadata_opt(&decision.spec.approval)
        .await
    {
        Ok(Some(_)) => return,
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(decision = %decision.name_any(), error = %error_chain(&error), "an approval could not be looked up");
            return;
        }
    }
    if decision
        .status
        .as_ref()
        .is_some_and(|status| status.reason.is_some())
    {
        // it was judged while the approval was there
        return;
    }
    let status = DecisionStatus {
        counted: Some(false),
        reason: Some(DecisionReason::ApprovalNotFound),
        message: Some(format!(
            "there is no approval {:?} in this namespace",
            decision.spec.approval
        )),
    };
    if let Err(error) = write::one_decision(&deps.context, &decision, &status).await {
        tracing::warn!(decision = %decision.name_any(), error = %error_chain(&error), "a decision could not be answered");
    }
}
