//! In a run that retries another: who approved before.

use serde_json::{Value, json};

use super::ApprovalPlan;
use crate::turn::StepView;

/// Name of the shown item.
const ITEM: &str = "approved-before";

/// What people are shown of an approval in the run that is retried, under a name that the flow does not use itself.
pub(super) fn shown(step: &StepView<'_>, approval: &ApprovalPlan) -> Option<(String, Value)> {
    let retry = step.run.state.retry.as_ref()?;
    let mut approvals = retry.approvals.iter();
    let earlier = approvals.find(|earlier| earlier.step == step.status.name)?;
    let value = json!({ "run": retry.run, "by": earlier.by, "at": earlier.at });
    Some((approval.unused(ITEM), value))
}
