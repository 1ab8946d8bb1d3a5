//! Writes what was judged: first the answer, then what became of each decision.

use std::{collections::BTreeMap, sync::Arc};

use kube::{
    Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::json;

use super::ApprovalError;
use crate::cluster::{
    context::Context,
    error_chain,
    object_key::created_at,
    status::{is_invalid, is_missing, patch_status},
};
use signoff_api::{
    Approval, ApprovalPhase, ApprovalStatus, Decision, DecisionStatus, decision::DecisionReason, names,
};

/// Writes the answer, unless it is there already. The first answer that the API server accepts stays. Gives the approval as it is then.
pub(super) async fn approval(
    context: &Context,
    approval: &Approval,
    next: &ApprovalStatus,
) -> Result<Option<Approval>, ApprovalError> {
    if approval.status.as_ref() == Some(next) {
        return Ok(None);
    }
    let written = patch_status(context, approval, next).await;
    written
        .map(Some)
        .map_err(|error| ApprovalError::Api("write the approval's status", error))
}

/// Tells people that a question is closed.
pub(super) async fn announce(context: &Context, approval: &Approval, status: &ApprovalStatus) {
    let closed_at = status.decided_at.as_ref().map_or(context.now(), |time| time.0);
    let open_for = closed_at.duration_since(created_at(approval)).try_into();
    context
        .metrics()
        .approval_closed(status.phase, open_for.unwrap_or_default());
    let type_ = match status.phase {
        ApprovalPhase::Approved | ApprovalPhase::ChangesRequested => EventType::Normal,
        _ => EventType::Warning,
    };
    let message = status.message.as_deref().unwrap_or_default();
    context
        .event(approval, type_, &status.phase.to_string(), message)
        .await;
}

/// Reminds people of a question that is still open.
pub(super) async fn remind(context: &Context, approval: &Approval, reminder: i64) {
    let needs = approval
        .status
        .as_ref()
        .and_then(|status| status.needs.as_deref());
    let note = format!(
        "reminder {reminder}: “{}” still waits for {}",
        approval.spec.title,
        needs.unwrap_or("people")
    );
    context
        .event(approval, EventType::Normal, "ApprovalReminder", &note)
        .await;
}

/// Writes what became of each decision, where that is news. One that cannot be written does not hold back the others.
pub(super) async fn decisions(
    context: &Context,
    decisions: &[Arc<Decision>],
    judged: Vec<(String, DecisionStatus)>,
) -> Result<(), ApprovalError> {
    let by_name: BTreeMap<String, &Arc<Decision>> = decisions
        .iter()
        .map(|decision| (decision.name_any(), decision))
        .collect();
    let mut failed = Ok(());
    for (name, next) in judged {
        if let Some(decision) = by_name.get(&name) {
            let written = one_decision(context, decision, &next).await;
            failed = failed.and(written);
        }
    }
    failed
}

/// Makes a decision go with the approval it is on, when that is deleted: nobody else may delete it, and nobody would. Gives it as it is then.
pub(super) async fn tie(
    context: &Context,
    decision: &Decision,
    approval: &Approval,
) -> Result<Option<Decision>, ApprovalError> {
    // the uid keeps the patch from another decision of that name
    let metadata = json!({ "uid": decision.uid(), "ownerReferences": [approval.owner_ref(&())] });
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = context.namespaced::<Decision>(&decision.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    match api.patch(&decision.name_any(), &params, &patch).await {
        Ok(tied) => Ok(Some(tied)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) if is_invalid(&error) => {
            report_unwritable(decision, &error);
            Ok(None)
        }
        Err(error) => Err(ApprovalError::Api("tie a decision to its approval", error)),
    }
}

/// Writes what became of a decision, and tells people if it does not count.
pub(super) async fn one_decision(
    context: &Context,
    decision: &Decision,
    next: &DecisionStatus,
) -> Result<(), ApprovalError> {
    if decision.status.as_ref() == Some(next) {
        return Ok(());
    }
    match patch_status(context, decision, next).await {
        Ok(_) => {
            if let Some(reason) = next.reason {
                context.metrics().decision_judged(decision.spec.verdict, reason);
            }
        }
        Err(error) if is_missing(&error) => return Ok(()),
        // tried again with the next change, not in a loop: the API server does not take this object
        Err(error) if is_invalid(&error) => {
            report_unwritable(decision, &error);
            return Ok(());
        }
        Err(error) => return Err(ApprovalError::Api("write the decision's status", error)),
    }
    let refused = next.counted == Some(false) && next.reason != Some(DecisionReason::Replaced);
    if refused && let (Some(reason), Some(message)) = (next.reason, &next.message) {
        let by = decision.spec.by.as_deref().unwrap_or("somebody");
        let note = format!(
            "the decision of {by} on {} does not count: {message}",
            decision.spec.approval
        );
        context
            .event(decision, EventType::Warning, &format!("{reason:?}"), &note)
            .await;
    }
    Ok(())
}

/// Logs that the API server does not take an object as it is stored.
fn report_unwritable(decision: &Decision, error: &kube::Error) {
    let (namespace, decision) = (decision.namespace(), decision.name_any());
    tracing::warn!(namespace, decision, error = %error_chain(error), "a decision cannot be written");
}
