//! The releases of other flows that a release runs: which ones, and whether they were live.

use std::sync::Arc;

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::{FlowError, Flows};
use signoff_api::{Flow, Release, release::Dependency};
use signoff_engine::{
    dependencies::{Depths, circle, depth, too_deep},
    plan::{Children, Problem},
    promotion::KnownDependency,
};

/// What the steps of a flow are to run.
pub(super) enum Pinned {
    /// These releases, whose flows take these inputs.
    Known(Vec<Dependency>, Children),
    /// A flow has no release yet, or is not there.
    Waiting(String),
    /// A flow is being changed. Its next status brings another look.
    Changing,
    /// The flows run each other in a circle, or too deep.
    Wrong(Vec<Problem>),
}

/// Chooses the draft of each flow that the steps of a flow run.
pub(super) async fn pin(shared: &Flows, flow: &Flow) -> Result<Pinned, FlowError> {
    let (definition, name) = (&flow.spec.definition, flow.name_any());
    let children = definition.children();
    let this = ObjectRef::from_obj(flow);
    let namespace = flow.namespace().unwrap_or_default();
    let refer = |name: &str| ObjectRef::<Flow>::new(name).within(&namespace);
    // whatever changes from here on brings another look
    shared
        .dependents
        .set(&this, children.iter().map(|child| refer(child)).collect());
    if children.is_empty() {
        return Ok(Pinned::Known(vec![], Children::new()));
    }
    let children_of = |name: &str| {
        let flow = shared.known.get(&refer(name));
        flow.map(|flow| {
            flow.spec
                .definition
                .children()
                .into_iter()
                .map(str::to_owned)
                .collect()
        })
    };
    let wrong = circle(&name, definition, &children_of);
    if !wrong.is_empty() {
        return Ok(Pinned::Wrong(wrong));
    }
    let mut dependencies = Vec::new();
    let mut inputs = Children::new();
    let mut depths = Depths::new();
    for child in children {
        let known = shared.known.get(&refer(child));
        let Some(known) = known.filter(|known| known.metadata.deletion_timestamp.is_none()) else {
            return Ok(Pinned::Waiting(format!(
                "there is no flow {child} in this namespace yet"
            )));
        };
        let status = known.status.clone().unwrap_or_default();
        if status.observed_generation != known.metadata.generation {
            return Ok(Pinned::Changing);
        }
        let Some(draft) = status.draft else {
            return Ok(Pinned::Waiting(format!(
                "no release was cut from flow {child} yet"
            )));
        };
        let Some(release) = release(shared, &namespace, &draft.release).await? else {
            return Ok(Pinned::Waiting(format!(
                "release {} of flow {child} is gone",
                draft.release
            )));
        };
        let releases = |name: &str| below(shared, &namespace, name);
        depths.insert(child.to_owned(), depth(&draft.release, &releases));
        inputs.insert(child.to_owned(), release.spec.definition.inputs.clone());
        dependencies.push(Dependency {
            flow: child.to_owned(),
            release: draft.release,
            digest: draft.digest,
        });
    }
    let wrong = too_deep(definition, &depths);
    Ok(if wrong.is_empty() {
        Pinned::Known(dependencies, inputs)
    } else {
        Pinned::Wrong(wrong)
    })
}

/// The releases that a release runs, as far as they are known.
fn below(shared: &Flows, namespace: &str, release: &str) -> Option<Vec<String>> {
    let release = shared.releases.get(&ObjectRef::new(release).within(namespace))?;
    let below = release.spec.dependencies.iter();
    Some(below.map(|dependency| dependency.release.clone()).collect())
}

async fn release(shared: &Flows, namespace: &str, name: &str) -> Result<Option<Arc<Release>>, FlowError> {
    if let Some(release) = shared.releases.get(&ObjectRef::new(name).within(namespace)) {
        return Ok(Some(release));
    }
    let read = shared
        .context
        .namespaced::<Release>(namespace)
        .get_opt(name)
        .await;
    let read = read.map_err(|error| FlowError::Api("read the release of a flow that a step runs", error))?;
    Ok(read.map(Arc::new))
}

/// What is known of the releases that a release runs. A change of one of their flows brings another look.
pub(super) fn known(shared: &Flows, flow: &Flow, wanted: &Release) -> Vec<KnownDependency> {
    let namespace = flow.namespace().unwrap_or_default();
    let this = ObjectRef::from_obj(flow);
    let known = wanted.spec.dependencies.iter().map(|dependency| {
        let child = ObjectRef::<Flow>::new(&dependency.flow).within(&namespace);
        shared.dependents.add(&this, child.clone());
        let child = shared.known.get(&child);
        let release = ObjectRef::new(&dependency.release).within(&namespace);
        KnownDependency {
            live: child.and_then(|child| child.status.as_ref()?.live.clone()),
            release: shared.releases.get(&release),
        }
    });
    known.collect()
}
