//! What the engine is told about a run.

use std::collections::{BTreeMap, BTreeSet};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::{Deps, objects};
use crate::cluster::releases::LoadedRelease;
use signoff_api::{Connection, Run, run::StepPhase};
use signoff_engine::{
    effect::EffectKey,
    facts::{ConnectionFact, EffectOutcome, Facts, RunFacts},
    object::{ObjectFact, ObjectKey},
};

/// What is known about the world now, but for the Connections.
pub(super) fn facts(
    deps: &Deps,
    run: &Run,
    release: &LoadedRelease,
    objects: BTreeMap<ObjectKey, ObjectFact>,
    (refused, unopened): (BTreeMap<ObjectKey, String>, BTreeMap<ObjectKey, String>),
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
            trigger: run.spec.trigger.clone(),
            inputs: run.inputs().cloned().unwrap_or_default(),
            cancel: run.spec.cancel.unwrap_or_default(),
            terminate: run.spec.terminate.unwrap_or_default(),
            stopped_by: run.spec.stopped_by.clone(),
            stop_message: run.spec.stop_message.clone(),
            // the last steps of a run that is cancelled are not held back
            suspend: run.spec.suspend.unwrap_or_default() && !run.spec.cancel.unwrap_or_default(),
        },
        release: release.facts.clone(),
        objects,
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

/// The objects that a run waits for. What is known to be closed stays so; the others are looked at.
pub(super) async fn objects(
    deps: &Deps,
    run: &Run,
    newer: &BTreeMap<ObjectKey, ObjectFact>,
) -> Result<BTreeMap<ObjectKey, ObjectFact>, kube::Error> {
    let mut found = BTreeMap::new();
    let steps = run.status.iter().flat_map(|status| &status.steps);
    for step in steps.filter(|step| step.phase == StepPhase::Waiting) {
        let Some(key) = ObjectKey::of(step) else {
            continue;
        };
        let known = newer.get(&key).cloned();
        let fact = match known {
            Some(known) if known.is_closed() => Some(known),
            Some(_) | None => objects::look(deps, run, step, &key).await?.or(known),
        };
        found.extend(fact.map(|fact| (key, fact)));
    }
    Ok(found)
}
