//! Whether a question is one that we ask. Somebody may have made an Approval while no policy kept them from it.

use kube::ResourceExt as _;

use super::{ApprovalError, Judging, index::Seen, write};
use crate::cluster::object_key::ApprovalKey;
use signoff_api::{
    Approval, Run,
    condition::{self, ConditionStatus},
};
use signoff_engine::asked;

/// Whether the run that the question is said to be about asks it. It is looked up when something depends on it: for a question that is new or
/// was answered, once. The promotion of a release compares its questions itself.
pub(super) async fn is_ours(
    judging: &Judging,
    key: &ApprovalKey,
    approval: &Approval,
    seen: &[Seen],
) -> Result<bool, ApprovalError> {
    let status = approval.status.as_ref();
    let closed = status.is_some_and(|status| status.phase.is_closed());
    let deps = &judging.deps;
    let now = deps.context.now();
    let over = approval
        .spec
        .expires_at
        .as_ref()
        .is_some_and(|time| time.0 <= now);
    let idle = status.is_some() && seen.is_empty() && !over;
    let Some(run) = approval.spec.subject.run.as_deref().filter(|_| !closed && !idle) else {
        return Ok(true);
    };
    if deps.open.is_asked(key, approval) {
        return Ok(true);
    }
    let runs = deps.context.namespaced::<Run>(key.namespace());
    let run = runs.get_opt(run).await;
    let run = run.map_err(|error| ApprovalError::Api("read the run that asks", error))?;
    let by_it = |run: &Run| {
        let uid = run.metadata.uid.as_deref().unwrap_or_default();
        run.status
            .as_ref()
            .is_some_and(|status| asked::by_run(uid, status, &approval.name_any(), &approval.spec))
    };
    if run.as_ref().is_some_and(by_it) {
        deps.open.found_asked(key, approval);
        return Ok(true);
    }
    // one whose run has moved on is about to be closed
    tracing::warn!(approval = %key, "no run asks this question as it stands; nothing is judged");
    let mut next = approval.status.clone().unwrap_or_default();
    let message = "no run asks this question: the operator did not make it, or the run has gone on, and nothing counts that is decided on it";
    condition::set_question(
        &mut next.conditions,
        ConditionStatus::False,
        "NotAsked",
        message,
        None,
        now,
    );
    write::approval(&deps.context, approval, &next).await?;
    Ok(false)
}
