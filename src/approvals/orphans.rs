//! Decisions on an approval that does not exist.

use super::{ApprovalError, index::Seen, write};
use crate::cluster::context::Context;
use signoff_api::{DecisionStatus, decision::DecisionReason};

/// Tells the deciders of an approval that is not there.
pub(super) async fn settle(context: &Context, decisions: &[Seen]) -> Result<(), ApprovalError> {
    // one that was judged while the approval was there keeps what it was told
    let mut failed = Ok(());
    for seen in decisions.iter().filter(|seen| !seen.is_settled()) {
        let status = DecisionStatus {
            counted: Some(false),
            reason: Some(DecisionReason::ApprovalNotFound),
            message: Some(format!(
                "there is no approval {:?} in this namespace",
                seen.decision.spec.approval
            )),
        };
        let written = write::one_decision(context, &seen.decision, &status).await;
        failed = failed.and(written);
    }
    failed
}
