//! What the engine is told about a run.

use std::collections::{BTreeMap, BTreeSet};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::{
    Deps,
    actor::is_stopped,
    objects::{self, child, job},
};
use crate::cluster::{objects::Decoded, releases::LoadedRelease, run_facts::run_facts};
use signoff_api::{Connection, ConnectionSpec, Repository, Run, run::StepPhase};
use signoff_engine::{
    concurrency::Place,
    effect::EffectKey,
    facts::{ConnectionFact, EffectOutcome, Facts, as_bound_repository},
    object::{ObjectFact, ObjectKey, ObjectKind},
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
        run: run_facts(run),
        release: release.facts.clone(),
        place: Place::default(),
        objects,
        refused,
        unopened,
        outcomes,
        in_flight,
        waiting_calls: BTreeMap::new(),
        connections: BTreeMap::new(),
        callbacks: deps.callbacks.clone(),
        contents: BTreeMap::new(),
    }
}

/// The Connections and Repositories that the approvals of a release bind.
pub(super) async fn connections(
    deps: &Deps,
    run: &Run,
    release: &LoadedRelease,
) -> Result<BTreeMap<String, ConnectionFact>, kube::Error> {
    let mut found = BTreeMap::new();
    let namespace = run.metadata.namespace.as_deref().unwrap_or_default();
    for name in release.plan.bound_connections() {
        if let Some(repository) = as_bound_repository(name) {
            let fact = repository_fact(deps, namespace, repository).await?;
            found.extend(fact.map(|fact| (name.to_owned(), fact)));
            continue;
        }
        let spec = connection(deps, namespace, name).await?;
        if let Some(spec) = spec {
            let digest = spec.digest().map_err(kube::Error::SerdeError)?;
            let address = spec.address().map(str::to_owned);
            found.insert(name.to_owned(), ConnectionFact { address, digest });
        }
    }
    Ok(found)
}

/// A Repository that an approval binds, with its Connection.
async fn repository_fact(
    deps: &Deps,
    namespace: &str,
    name: &str,
) -> Result<Option<ConnectionFact>, kube::Error> {
    let repositories = deps.context.namespaced::<Decoded<Repository>>(namespace);
    // one that cannot be decoded is as good as gone
    let Some(repository) = repositories.get_opt(name).await?.and_then(Decoded::ok) else {
        return Ok(None);
    };
    let spec = match &repository.spec.connection {
        Some(name) => connection(deps, namespace, name).await?,
        None => None,
    };
    let digest = repository.spec.target_digest(spec.as_ref());
    Ok(Some(ConnectionFact {
        address: Some(repository.spec.url.clone()),
        digest: digest.map_err(kube::Error::SerdeError)?,
    }))
}

/// A Connection. One that the watch does not show is read: it may have just been made. One that cannot be decoded is as good
/// as gone.
async fn connection(deps: &Deps, namespace: &str, name: &str) -> Result<Option<ConnectionSpec>, kube::Error> {
    let shown = deps
        .connections
        .get(&ObjectRef::<Connection>::new(name).within(namespace));
    if let Some(shown) = shown {
        return Ok(Some(shown.spec.clone()));
    }
    let read = deps
        .context
        .namespaced::<Decoded<Connection>>(namespace)
        .get_opt(name)
        .await?;
    Ok(read.and_then(Decoded::ok).map(|connection| connection.spec))
}

/// The objects that a run waits for. What is known to be closed stays so; the others are looked at.
pub(super) async fn objects(
    deps: &Deps,
    run: &Run,
    release: &LoadedRelease,
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
            // a run that has ended or is gone tells this one, and it is read then
            Some(known) if known.is_closed() || key.kind == ObjectKind::Run => Some(known),
            // one that was there and is not any more was deleted
            Some(_) if key.kind == ObjectKind::Job => objects::look(deps, run, step, &key).await?,
            Some(_) | None => objects::look(deps, run, step, &key).await?.or(known),
        };
        found.extend(fact.map(|fact| (key, fact)));
    }
    // those that were just started; the state names them next
    let started = newer.iter().filter(|(key, _)| match key.kind {
        // what came of ending processes is known here only
        ObjectKind::Run | ObjectKind::Job | ObjectKind::Process => true,
        ObjectKind::Approval | ObjectKind::WorkItem => false,
    });
    found.extend(started.map(|(key, fact)| (key.clone(), fact.clone())));
    let status = run.status.clone().unwrap_or_default();
    if is_stopped(run) || status.ending.is_some() {
        let (name, uid) = (run.name_any(), run.uid().unwrap_or_default());
        for key in release.plan.unrecorded_children(&name, &uid, &status) {
            if !found.contains_key(&key)
                && let Some(fact) = child::look(&deps.context, run, &key.name).await?
            {
                found.insert(key, ObjectFact::Run(fact));
            }
        }
        for key in release.plan.unrecorded_jobs(&name, &uid, &status) {
            if !found.contains_key(&key)
                && let Some(fact) = job::look(deps, run, &key.name).await?
            {
                found.insert(key, ObjectFact::Job(Box::new(fact)));
            }
        }
    }
    Ok(found)
}
