//! What the engine is told about a run.

use std::collections::{BTreeMap, BTreeSet};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::Deps;
use crate::{
    api::{Approval, Run, RunStatus},
    controllers::releases::LoadedRelease,
    engine::{
        effect::EffectKey,
        facts::{ApprovalFact, EffectOutcome, Facts, RunFacts},
    },
};

/// An Approval as the engine sees it.
pub(super) fn approval_fact(approval: &Approval) -> ApprovalFact {
    ApprovalFact {
        digest: approval.spec.digest.clone(),
        status: approval.status.clone().unwrap_or_default(),
    }
}

/// What is known about the world now.
pub(super) fn facts(
    deps: &Deps,
    run: &Run,
    release: &LoadedRelease,
    newer: &BTreeMap<String, ApprovalFact>,
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
        approvals: approvals(deps, run, newer),
        outcomes,
        in_flight,
        callbacks: deps.callbacks.clone(),
    }
}

/// The Approvals of a run: those its status names, as the watch shows them or as they are known more recently.
fn approvals(
    deps: &Deps,
    run: &Run,
    newer: &BTreeMap<String, ApprovalFact>,
) -> BTreeMap<String, ApprovalFact> {
    let mut found = BTreeMap::new();
    for name in names(run.status.as_ref()) {
        if let Some(approval) = cached(deps, run, name) {
            found.insert(name.to_owned(), approval_fact(&approval));
        }
    }
    for (name, fact) in newer {
        match found.get(name) {
            // a closed question stays closed, so whichever knows of that is the newer one
            Some(known) if known.status.phase.is_closed() => {}
            _ => {
                found.insert(name.clone(), fact.clone());
            }
        }
    }
    found
}

fn names(status: Option<&RunStatus>) -> impl Iterator<Item = &str> {
    status
        .into_iter()
        .flat_map(|status| &status.steps)
        .filter_map(|step| step.approval.as_deref())
}

/// The Approval of that name as the watch shows it, if it belongs to this run and not to an earlier one of the same name.
pub(super) fn cached(deps: &Deps, run: &Run, name: &str) -> Option<std::sync::Arc<Approval>> {
    let reference = ObjectRef::<Approval>::new(name).within(&run.namespace().unwrap_or_default());
    deps.approvals
        .get(&reference)
        .filter(|approval| belongs_to(approval, run))
}

/// Whether an Approval was opened by this very run.
pub(super) fn belongs_to(approval: &Approval, run: &Run) -> bool {
    approval
        .owner_references()
        .iter()
        .any(|owner| owner.kind == "Run" && Some(&owner.uid) == run.metadata.uid.as_ref())
}

/// Whether a question is still open.
pub(super) fn is_open(approval: &Approval) -> bool {
    !approval
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_closed())
}
