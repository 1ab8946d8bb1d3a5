//! Carries out what was decided, beside HTTP calls: opening and closing Approvals, and marking a run as finished.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::{Resource as _, ResourceExt as _, api::ObjectMeta};

use super::gather::{approval_fact, belongs_to};
use crate::cluster::{
    context::Context,
    create::{Adopted, create_or_adopt},
    status::{is_missing, is_stale, patch_status},
};
use signoff_api::{
    Approval, ApprovalSpec, Repository, Run,
    condition::{self, Truth},
    names,
    step::Approvers,
};
use signoff_engine::{
    effect::{CloseApproval, OpenApproval},
    facts::ApprovalFact,
};

/// Condition of an Approval that is closed.
const DECIDED: &str = "Decided";

/// An Approval could not be opened or closed, or the run not be marked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChoreError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(String, #[source] kube::Error),
    /// The name is taken by an Approval that is not this run's.
    #[error("the name of the approval {0:?} is taken by one that does not belong to this run")]
    Taken(String),
    /// Somebody else put another question under the name.
    #[error(
        "the approval {0:?} is not the question that the run asks: somebody else made it, and no answer to it counts"
    )]
    NotOurs(String),
}

impl ChoreError {
    /// Why the API server refuses it for good: it is not valid, or too large. Another answer may change.
    pub(super) fn refusal(&self) -> Option<String> {
        match self {
            Self::Api(_, kube::Error::Api(status)) if matches!(status.code, 400 | 413 | 422) => {
                Some(status.message.clone())
            }
            Self::Api(..) | Self::Taken(_) | Self::NotOurs(_) => None,
        }
    }

    /// Whether the operator lacks a right.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api(_, kube::Error::Api(status)) if status.code == 403)
    }
}

/// Creates an Approval, or finds the one that an earlier attempt created.
pub(super) async fn open(
    context: &Context,
    run: &Run,
    wanted: &OpenApproval,
) -> Result<ApprovalFact, ChoreError> {
    let api = context.namespaced::<Approval>(&run.namespace().unwrap_or_default());
    let mut approval = Approval::new(&wanted.name, wanted.spec.clone());
    if wanted.ask_owners {
        approval.spec.approvers = owners(context, run, &wanted.spec).await?;
    }
    approval.metadata = ObjectMeta {
        labels: Some(labels(run, wanted)),
        owner_references: Some(owner(run)),
        ..approval.metadata
    };
    let is_ours = |there: &Approval| {
        let mut asked = there.spec.clone();
        if wanted.ask_owners {
            // they may have changed meanwhile
            asked.approvers.clone_from(&wanted.spec.approvers);
        }
        belongs_to(there, run) && asked == wanted.spec
    };
    let name = || wanted.name.clone();
    match create_or_adopt(&api, &approval, is_ours).await {
        Ok(Adopted::Ours(approval)) => Ok(approval_fact(&approval)),
        Ok(Adopted::Others(there)) if !belongs_to(&there, run) => Err(ChoreError::Taken(name())),
        Ok(Adopted::Others(_)) => Err(ChoreError::NotOurs(name())),
        Err(error) => Err(ChoreError::Api(
            format!("open the approval {:?}", wanted.name),
            error,
        )),
    }
}

/// Who may promote what the Repository of a question brings, if its gate names them.
async fn owners(context: &Context, run: &Run, spec: &ApprovalSpec) -> Result<Option<Approvers>, ChoreError> {
    let Some(name) = &spec.repository else {
        return Ok(None);
    };
    let api = context.namespaced::<Repository>(&run.namespace().unwrap_or_default());
    let repository = api.get_opt(name).await;
    let repository =
        repository.map_err(|error| ChoreError::Api(format!("read the repository {name:?}"), error))?;
    let gate = repository.and_then(|repository| repository.spec.promotion);
    Ok(gate.and_then(|gate| gate.approval.approvers))
}

fn labels(run: &Run, wanted: &OpenApproval) -> BTreeMap<String, String> {
    let release = run
        .status
        .as_ref()
        .and_then(|status| status.release.as_ref())
        .map(|release| release.name.clone());
    [
        (names::MANAGED_BY, Some(names::MANAGED_BY_VALUE.to_owned())),
        (names::FLOW, Some(run.spec.flow.to_string())),
        (names::RELEASE, release),
        (names::RUN, Some(run.name_any())),
        (names::STEP, wanted.spec.subject.step.clone()),
        (names::REPOSITORY, wanted.spec.repository.clone()),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some((label.to_owned(), value?)))
    .collect()
}

fn owner(run: &Run) -> Vec<OwnerReference> {
    run.controller_owner_ref(&()).into_iter().collect()
}

/// Closes an Approval of this run that is still pending.
pub(super) async fn close(
    context: &Context,
    run: &Run,
    wanted: &CloseApproval,
) -> Result<Option<ApprovalFact>, ChoreError> {
    let api = context.namespaced::<Approval>(&run.namespace().unwrap_or_default());
    let failed = |error| ChoreError::Api(format!("close the approval {:?}", wanted.name), error);
    loop {
        let Some(approval) = api.get_opt(&wanted.name).await.map_err(failed)? else {
            return Ok(None);
        };
        let mut status = approval.status.clone().unwrap_or_default();
        if status.phase.is_closed() || !belongs_to(&approval, run) {
            return Ok(Some(approval_fact(&approval)));
        }
        let now = context.now();
        status.phase = wanted.phase;
        status.needs = None;
        status.decided_at = Some(MicroTime(now));
        status.message = Some(wanted.message.clone());
        let (reason, generation) = (wanted.phase.to_string(), approval.metadata.generation);
        condition::set(
            &mut status.conditions,
            DECIDED,
            Truth::True,
            &reason,
            &wanted.message,
            generation,
            now,
        );
        match patch_status(context, &approval, &status).await {
            Ok(closed) => return Ok(Some(approval_fact(&closed))),
            Err(error) if is_missing(&error) => return Ok(None),
            // somebody wrote at the same time, perhaps the answer: look again
            Err(error) if is_stale(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
