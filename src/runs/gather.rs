//! What the engine is told about a run.

use std::collections::{BTreeMap, BTreeSet};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::Deps;
use crate::cluster::{object_key::ApprovalKey, releases::LoadedRelease};
use signoff_api::{Approval, ApprovalStatus, Connection, Run, run::StepPhase};
use signoff_engine::{
    asked,
    effect::EffectKey,
    facts::{ApprovalFact, ConnectionFact, EffectOutcome, Facts, RunFacts},
};

/// An Approval as the engine sees it.
pub(super) fn approval_fact(approval: &Approval) -> ApprovalFact {
    ApprovalFact {
        digest: approval.spec.digest.clone(),
        status: approval.status.clone().unwrap_or_default(),
    }
}

/// What is known about the world now, but for the Connections.
pub(super) fn facts(
    deps: &Deps,
    run: &Run,
    release: &LoadedRelease,
    approvals: BTreeMap<String, ApprovalFact>,
    (refused, unopened): (BTreeMap<String, String>, BTreeMap<String, String>),
    outcomes: Vec<EffectOutcome>,
    in_flight: BTreeSet<EffectKey>,
) -> Facts {
    Facts {
        run: RunFacts {
            namespace: run.namespace().unwrap_or_default(),
            name: run.name_any(),
            uid: run.uid().unwrap_or_default(),
            generation: run.metadata.generation,
            requested_by: run.spec.requested_by.clone(),
            inputs: run.spec.inputs.clone().unwrap_or_default(),
            cancel: run.spec.cancel.unwrap_or_default(),
            suspend: run.spec.suspend.unwrap_or_default(),
        },
        release: release.facts.clone(),
        approvals,
        refused,
        unopened,
        outcomes,
        in_flight,
        connections: BTreeMap::new(),
        callbacks: deps.callbacks.clone(),
    }
}

/// The Connections that the approvals of a release bind. One that the watch does not show is read: it may have just been made.
pub(super) async fn connections(
    deps: &Deps,
    run: &Run,
    release: &LoadedRelease,
) -> Result<BTreeMap<String, ConnectionFact>, kube::Error> {
    let mut found = BTreeMap::new();
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    for name in release.plan.bound_connections() {
        let shown = deps
            .connections
            .get(&ObjectRef::<Connection>::new(name).within(namespace));
        let spec = if let Some(shown) = shown {
            Some(shown.spec.clone())
        } else {
            let read = deps
                .context
                .namespaced::<Connection>(namespace)
                .get_opt(name)
                .await?;
            read.map(|connection| connection.spec)
        };
        if let Some(spec) = spec {
            let digest = spec.digest().map_err(kube::Error::SerdeError)?;
            let address = spec.address().map(str::to_owned);
            found.insert(name.to_owned(), ConnectionFact { address, digest });
        }
    }
    Ok(found)
}

/// The Approvals that a run waits for. What is known to be closed stays so; what the watch shows as open is; the others are read.
pub(super) async fn approvals(
    deps: &Deps,
    run: &Run,
    newer: &BTreeMap<String, ApprovalFact>,
) -> Result<BTreeMap<String, ApprovalFact>, kube::Error> {
    let mut found = BTreeMap::new();
    let steps = run.status.iter().flat_map(|status| &status.steps);
    for step in steps.filter(|step| step.phase == StepPhase::Waiting) {
        let Some(name) = step.approval.as_deref() else {
            continue;
        };
        let fact = match (newer.get(name), &step.digest) {
            (Some(known), _) if known.status.phase.is_closed() => Some(known.clone()),
            (_, Some(digest)) if is_open(deps, run, name) => Some(ApprovalFact {
                digest: digest.clone(),
                status: ApprovalStatus::default(),
            }),
            _ => read(deps, run, name).await?.or_else(|| newer.get(name).cloned()),
        };
        found.extend(fact.map(|fact| (name.to_owned(), fact)));
    }
    Ok(found)
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

/// The Approval of that name, if it belongs to this run and not to an earlier one of the same name, and is the question that the run asks.
async fn read(deps: &Deps, run: &Run, name: &str) -> Result<Option<ApprovalFact>, kube::Error> {
    let api = deps
        .context
        .namespaced::<Approval>(run.metadata.namespace.as_deref().unwrap_or_default());
    let approval = api.get_opt(name).await?;
    Ok(approval
        .filter(|approval| belongs_to(approval, run) && is_asked(approval, run))
        .map(|approval| approval_fact(&approval)))
}

/// Whether an Approval was opened by this very run.
pub(super) fn belongs_to(approval: &Approval, run: &Run) -> bool {
    approval
        .owner_references()
        .iter()
        .any(|owner| owner.kind == "Run" && Some(&owner.uid) == run.metadata.uid.as_ref())
}
