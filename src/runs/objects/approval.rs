//! Approvals of a run: opened, closed, and read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::{Resource as _, ResourceExt as _, api::ObjectMeta};

use super::{ObjectError, belongs_to};
use crate::{
    cluster::{
        context::Context,
        create::{Adopted, create_or_adopt},
        object_key::ApprovalKey,
        objects::Decoded,
        status::{is_missing, is_stale, patch_status},
    },
    runs::Deps,
};
use signoff_api::{
    Approval, ApprovalPhase, ApprovalSpec, ApprovalStatus, Repository, Run,
    condition::{self, ConditionStatus},
    names,
    run::StepStatus,
    step::Approvers,
};
use signoff_engine::{
    asked,
    facts::ApprovalFact,
    object::{CloseObject, Closing, OpenApproval},
};

/// Creates an Approval, or finds the one that an earlier attempt created.
pub(super) async fn open(
    context: &Context,
    run: &Run,
    wanted: &OpenApproval,
) -> Result<ApprovalFact, ObjectError> {
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
        belongs_to(&there.metadata, run) && asked == wanted.spec
    };
    let name = || wanted.name.clone();
    match create_or_adopt(&api, &approval, is_ours).await {
        Ok(Adopted::Ours(approval)) => Ok(approval_fact(&approval)),
        Ok(Adopted::Others(there)) if !belongs_to(&there.metadata, run) => Err(ObjectError::Taken(name())),
        Ok(Adopted::Others(_)) => Err(ObjectError::NotOurs(name())),
        // what cannot be decoded is not what this operator wrote
        Err(kube::Error::SerdeError(_)) => Err(ObjectError::Taken(name())),
        Err(error) => Err(ObjectError::Api(
            format!("open the approval {:?}", wanted.name),
            error,
        )),
    }
}

/// Who may promote what the Repository of a question brings, if its gate names them.
async fn owners(context: &Context, run: &Run, spec: &ApprovalSpec) -> Result<Option<Approvers>, ObjectError> {
    let Some(name) = &spec.repository else {
        return Ok(None);
    };
    let api = context.namespaced::<Repository>(&run.namespace().unwrap_or_default());
    let repository = api.get_opt(name).await;
    let repository =
        repository.map_err(|error| ObjectError::Api(format!("read the repository {name:?}"), error))?;
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
    wanted: &CloseObject,
) -> Result<Option<ApprovalFact>, ObjectError> {
    let api = context.namespaced::<Decoded<Approval>>(&run.namespace().unwrap_or_default());
    let failed = |error| ObjectError::Api(format!("close the approval {:?}", wanted.key.name), error);
    loop {
        let approval = match api.get_opt(&wanted.key.name).await.map_err(failed)? {
            None => return Ok(None),
            Some(Decoded::Object(approval)) => approval,
            // nobody can answer it: its controller passes over it
            Some(Decoded::Undecodable(_)) => return Ok(None),
        };
        let mut status = approval.status.clone().unwrap_or_default();
        if status.phase.is_closed() || !belongs_to(&approval.metadata, run) {
            return Ok(Some(approval_fact(&approval)));
        }
        let now = context.now();
        status.phase = match wanted.closing {
            Closing::Cancelled | Closing::Terminated => ApprovalPhase::Cancelled,
            Closing::Superseded => ApprovalPhase::Superseded,
        };
        status.needs = None;
        status.decided_at = Some(MicroTime(now));
        status.message = Some(wanted.message.clone());
        let (reason, generation) = (wanted.closing.to_string(), approval.metadata.generation);
        condition::set_question(
            &mut status.conditions,
            ConditionStatus::True,
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

/// An Approval as the engine sees it.
pub(in crate::runs) fn approval_fact(approval: &Approval) -> ApprovalFact {
    ApprovalFact {
        digest: approval.spec.digest.clone(),
        status: approval.status.clone().unwrap_or_default(),
    }
}

/// What is known of a question: what the watch shows as open is; the others are read.
pub(super) async fn look(
    deps: &Deps,
    run: &Run,
    step: &StepStatus,
    name: &str,
) -> Result<Option<ApprovalFact>, kube::Error> {
    match &step.digest {
        Some(digest) if is_open(deps, run, name) => Ok(Some(ApprovalFact {
            digest: digest.clone(),
            status: ApprovalStatus::default(),
        })),
        Some(_) | None => read(deps, run, name).await,
    }
}

/// Whether the watch shows this question of this run as open.
pub(super) fn is_open(deps: &Deps, run: &Run, name: &str) -> bool {
    let key = ApprovalKey::new(run.metadata.namespace.as_deref().unwrap_or_default(), name);
    deps.open
        .is_open(&key, run.metadata.uid.as_deref().unwrap_or_default())
}

/// Whether it is the very question that the run's status names, and not one that somebody else put under its name.
fn is_asked(approval: &Approval, run: &Run) -> bool {
    let uid = run.metadata.uid.as_deref().unwrap_or_default();
    run.status
        .as_ref()
        .is_some_and(|status| asked::by_run(uid, status, &approval.name_any(), &approval.spec))
}

/// The Approval of that name, if it belongs to this run and not to an earlier one of the same name, and is the question
/// that the run asks. One that cannot be decoded is not: the operator wrote nothing of the kind.
async fn read(deps: &Deps, run: &Run, name: &str) -> Result<Option<ApprovalFact>, kube::Error> {
    let api = deps
        .context
        .namespaced::<Decoded<Approval>>(run.metadata.namespace.as_deref().unwrap_or_default());
    let approval = api.get_opt(name).await?;
    Ok(approval
        .and_then(Decoded::ok)
        .filter(|approval| belongs_to(&approval.metadata, run) && is_asked(approval, run))
        .map(|approval| approval_fact(&approval)))
}
