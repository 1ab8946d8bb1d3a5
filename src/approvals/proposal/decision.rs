//! The decisions on a question: those that are there, and one more.

use std::collections::BTreeMap;

use kube::{
    ResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
};

use super::{ProposalError, plan::Standing};
use crate::cluster::{context::Context, object_key::ApprovalKey};
use signoff_api::{Decision, DecisionSpec, decision::DecisionReason, names};

/// What came of making a decision.
pub(super) enum Made {
    /// It is there, and will be judged.
    Yes,
    /// The API server does not take it, and why.
    Refused(String),
}

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

/// Makes a decision; one of this name that is there already is the same.
pub(super) async fn make(
    context: &Context,
    key: &ApprovalKey,
    name: &str,
    spec: DecisionSpec,
) -> Result<Made, ProposalError> {
    let mut decision = Decision::new(name, spec);
    decision.metadata = ObjectMeta {
        labels: Some([(names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned())].into()),
        ..decision.metadata
    };
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let decisions = context.namespaced::<Decision>(key.namespace());
    match decisions.create(&params, &decision).await {
        Ok(_) => Ok(Made::Yes),
        // made before, and its record was not seen yet
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Made::Yes),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
            Ok(Made::Refused(status.message.clone()))
        }
        Err(error) => Err(ProposalError::Api("create the decision", error)),
    }
}

/// How an act stands: by the decision that was made of it, and whether it was answered before.
pub(super) fn standing(decision: Option<&Decision>, answered: bool) -> Standing {
    let judged = decision.map(|decision| {
        decision
            .status
            .as_ref()
            .and_then(|status| Some((status.reason?, status)))
    });
    match judged {
        None if answered => Standing::Answered,
        None => Standing::New,
        Some(None) => Standing::Judging,
        Some(Some((DecisionReason::Counted | DecisionReason::Replaced, _))) => Standing::Counted,
        Some(Some(_)) if answered => Standing::Answered,
        Some(Some((_, status))) => Standing::Refused(status.message.clone().unwrap_or_default()),
    }
}
