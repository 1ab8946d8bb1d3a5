//! The decisions on a question.

use std::collections::BTreeMap;

use kube::{ResourceExt as _, api::ListParams};

use super::{ProposalError, plan::ClaimState};
use crate::cluster::{context::Context, object_key::ApprovalKey};
use signoff_api::{Decision, decision::DecisionReason};

/// The decisions on a question, by name.
pub(super) async fn made(
    context: &Context,
    key: &ApprovalKey,
) -> Result<BTreeMap<String, Decision>, ProposalError> {
    let of_question = ListParams::default().fields(&format!("spec.approval={}", key.name()));
    let list = context.list::<Decision>(key.namespace(), &of_question).await;
    let list = list.map_err(|error| ProposalError::Api("list the decisions", error))?;
    Ok(list
        .items
        .into_iter()
        .map(|decision| (decision.name_any(), decision))
        .collect())
}

/// How an act stands: by the decision that was made of it, and whether it was answered before.
pub(super) fn standing(decision: Option<&Decision>, answered: bool) -> ClaimState {
    let judged = decision.map(|decision| {
        decision
            .status
            .as_ref()
            .and_then(|status| Some((status.reason?, status)))
    });
    match judged {
        None if answered => ClaimState::Answered,
        None => ClaimState::New,
        Some(None) => ClaimState::Judging,
        Some(Some((DecisionReason::Counted | DecisionReason::Replaced, _))) => ClaimState::Counted,
        Some(Some(_)) if answered => ClaimState::Answered,
        Some(Some((_, status))) => ClaimState::Refused(status.message.clone().unwrap_or_default()),
    }
}
