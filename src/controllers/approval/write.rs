//! Writes what was judged: first the answer, then what became of each decision.

use std::{collections::BTreeMap, sync::Arc};

use kube::{ResourceExt as _, runtime::events::EventType};

use super::ApprovalError;
use crate::{
    api::{Approval, ApprovalPhase, ApprovalStatus, Decision, DecisionStatus, decision::DecisionReason},
    controllers::{context::Context, status::patch_status},
};

/// Writes the answer, unless it is there already. The first answer that the API server accepts stays.
pub(super) async fn approval(
    context: &Context,
    approval: &Approval,
    next: ApprovalStatus,
) -> Result<(), ApprovalError> {
    if approval.status.as_ref() == Some(&next) {
        return Ok(());
    }
    let closed_now = next.phase.is_closed()
        && !approval
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_closed());
    let (phase, message) = (next.phase, next.message.clone().unwrap_or_default());
    patch_status(context, approval, &next)
        .await
        .map_err(|error| ApprovalError::Api("write the approval's status", error))?;
    if closed_now {
        let type_ = if phase == ApprovalPhase::Approved {
            EventType::Normal
        } else {
            EventType::Warning
        };
        context.event(approval, type_, &phase.to_string(), &message).await;
    }
    Ok(())
}

/// Writes what became of each decision, where that is news.
pub(super) async fn decisions(
    context: &Context,
    approval: &Approval,
    decisions: &[Arc<Decision>],
    judged: Vec<(String, DecisionStatus)>,
) -> Result<(), ApprovalError> {
    let by_name: BTreeMap<String, &Arc<Decision>> = decisions
        .iter()
        .map(|decision| (decision.name_any(), decision))
        .collect();
    for (name, next) in judged {
        let Some(decision) = by_name.get(&name) else {
            continue;
        };
        if decision.status.as_ref() == Some(&next) {
            continue;
        }
        let refused = next.counted == Some(false) && next.reason != Some(DecisionReason::Replaced);
        patch_status(context, &***decision, &next)
            .await
            .map_err(|error| ApprovalError::Api("write the decision's status", error))?;
        if refused && let (Some(reason), Some(message)) = (next.reason, &next.message) {
            let by = decision.spec.by.as_deref().unwrap_or("somebody");
            let note = format!("the decision {name} by {by} does not count: {message}");
            context
                .event(
                    approval,
                    EventType::Warning,
                    &format!("Decision{reason:?}"),
                    &note,
                )
                .await;
        }
    }
    Ok(())
}
