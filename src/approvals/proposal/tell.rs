//! Tells on a question that it cannot be put, and that it can again.

use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::json;

use crate::cluster::{context::Context, object_key::ApprovalKey};
use signoff_api::{
    Approval,
    condition::{self, ASKED, ConditionStatus},
    names,
};

/// How often the condition is tried to be set while somebody else writes the status.
const TRIES: usize = 5;

/// Says why a question cannot be put: once in an Event, and in its condition, which outlives that.
pub(super) async fn cannot_be_put(
    context: &Context,
    key: &ApprovalKey,
    reason: &str,
    why: &str,
    is_news: bool,
) {
    let approvals = context.namespaced::<Approval>(key.namespace());
    let note = format!("the question cannot be put on the forge: {why}");
    for attempt in 0..TRIES {
        let Ok(approval) = approvals.get(key.name()).await else {
            return;
        };
        if is_news && attempt == 0 {
            context.event(&approval, EventType::Warning, reason, &note).await;
        }
        if says(&approval, ConditionStatus::False, reason)
            || set(context, &approval, ConditionStatus::False, reason, &note).await
        {
            return;
        }
    }
}

fn says(approval: &Approval, truth: ConditionStatus, reason: &str) -> bool {
    let conditions = approval.status.as_ref().map(|status| &status.conditions);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one.type_ == ASKED && one.status == truth.as_str() && one.reason == reason)
}

/// Says that a question is put, if it was said that it cannot be.
pub(super) async fn is_put(context: &Context, approval: &Approval) {
    let conditions = approval.status.as_ref().map(|status| &status.conditions);
    let mut conditions = conditions.into_iter().flatten();
    if conditions.any(|one| one.type_ == ASKED && one.status == ConditionStatus::False.as_str()) {
        set(
            context,
            approval,
            ConditionStatus::True,
            "Asked",
            "nothing is in the way of the question any more",
        )
        .await;
    }
}

/// Sets the condition, unless somebody else writes the status at the same time. Whether it is set.
async fn set(
    context: &Context,
    approval: &Approval,
    truth: ConditionStatus,
    reason: &str,
    message: &str,
) -> bool {
    let status = approval.status.clone().unwrap_or_default();
    let mut conditions = status.conditions;
    let generation = approval.metadata.generation;
    condition::set(
        &mut conditions,
        ASKED,
        truth,
        reason,
        message,
        generation,
        context.now(),
    );
    let told = json!({
        "metadata": {"resourceVersion": approval.metadata.resource_version},
        "status": {"conditions": conditions},
    });
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let approvals = context.namespaced::<Approval>(&approval.namespace().unwrap_or_default());
    let (name, told) = (approval.name_any(), Patch::Merge(told));
    let set = approvals.patch_status(&name, &params, &told).await;
    if let Err(error) = &set {
        tracing::debug!(approval = %name, %error, "the condition of a question was not set");
    }
    set.is_ok()
}
