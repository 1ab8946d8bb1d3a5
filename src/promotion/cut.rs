//! Cuts the release of a flow's newest content: same content, same release.

use kube::{Resource as _, ResourceExt as _, api::ObjectMeta, runtime::reflector::ObjectRef};

use super::{
    FlowError, Flows,
    dependencies::{Pinned, pin},
};
use crate::cluster::create::{Adopted, create_or_adopt};
use signoff_api::{
    Digest, Flow, FlowStatus, Release, ReleaseSpec, canonical,
    flow::{DefinitionProblem, NamedRelease},
    names,
    release::{ReleaseSource, content_digest},
    text::visible,
};
use signoff_engine::{
    plan::{Children, Plan, Problem},
    promotion::recorded,
};

/// Most problems listed in a status.
const MAX_PROBLEMS: usize = 50;

/// What became of the draft.
pub(super) enum Drafted {
    /// Its release is there.
    Cut,
    /// The definition cannot run; the draft before it stays.
    Invalid,
    /// A flow that its steps run has no release yet; the draft before it stays.
    Waiting(String),
    /// A flow that its steps run is being changed, and brings another look.
    Changing,
    /// Another release has its name.
    Collision(String),
}

/// Checks the definition and makes sure that its release exists.
pub(super) async fn draft(
    shared: &Flows,
    flow: &Flow,
    status: &mut FlowStatus,
) -> Result<Drafted, FlowError> {
    let (dependencies, children, waiting) = match pin(shared, flow).await? {
        Pinned::Known(dependencies, children) => (dependencies, children, None),
        Pinned::Waiting(why) => (vec![], Children::new(), Some(why)),
        Pinned::Changing => return Ok(Drafted::Changing),
        Pinned::Wrong(mut problems) => {
            problems.extend(compiled(shared, flow, Children::new()).await);
            status.problems = problems.into_iter().take(MAX_PROBLEMS).map(described).collect();
            return Ok(Drafted::Invalid);
        }
    };
    let problems = compiled(shared, flow, children).await;
    if !problems.is_empty() {
        status.problems = problems.into_iter().take(MAX_PROBLEMS).map(described).collect();
        return Ok(Drafted::Invalid);
    }
    status.problems.clear();
    if let Some(why) = waiting {
        return Ok(Drafted::Waiting(why));
    }
    let digest = content_digest(&flow.spec.definition, &dependencies).map_err(FlowError::NotCanonical)?;
    let name = names::release_name(&flow.name_any(), &digest);
    let definition = canonical::digest(&flow.spec.definition).map_err(FlowError::NotCanonical)?;
    let source = source(flow, &definition);
    let spec = ReleaseSpec {
        flow: flow.name_any(),
        definition: flow.spec.definition.clone(),
        digest: digest.clone(),
        dependencies,
        source,
    };
    if let Some(other) = ensure(shared, flow, &name, spec).await? {
        return Ok(Drafted::Collision(format!(
            "release {name} exists with other content ({other})"
        )));
    }
    status.draft = Some(NamedRelease {
        release: name,
        digest,
    });
    Ok(Drafted::Cut)
}

/// What is wrong with the definition of a flow.
async fn compiled(shared: &Flows, flow: &Flow, children: Children) -> Vec<Problem> {
    let (definition, namespace) = (flow.spec.definition.clone(), flow.namespace().unwrap_or_default());
    let compile = move || Plan::compile_with(&definition, &children).err();
    let found = shared.context.evaluate(&namespace, compile).await;
    found.unwrap_or_default()
}

/// Creates the release unless it is there; gives the digest of one that has the name but not the content.
async fn ensure(
    shared: &Flows,
    flow: &Flow,
    name: &str,
    spec: ReleaseSpec,
) -> Result<Option<Digest>, FlowError> {
    let digest = spec.digest.clone();
    let namespace = flow.namespace().unwrap_or_default();
    let known = shared.releases.get(&ObjectRef::new(name).within(&namespace));
    if let Some(release) = known {
        return Ok((release.spec.digest != digest).then(|| release.spec.digest.clone()));
    }
    let api = shared.context.namespaced::<Release>(&namespace);
    let is_same = |there: &Release| there.spec.digest == digest;
    match create_or_adopt(&api, &release(flow, name, spec), is_same).await {
        Ok(Adopted::Ours(_)) => Ok(None),
        Ok(Adopted::Others(there)) => Ok(Some(there.spec.digest)),
        Err(error) => Err(FlowError::Api("create the release", error)),
    }
}

fn release(flow: &Flow, name: &str, spec: ReleaseSpec) -> Release {
    let labels = [
        (names::MANAGED_BY, names::MANAGED_BY_VALUE.to_owned()),
        (names::FLOW, flow.name_any()),
    ];
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(
            labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        ),
        owner_references: flow.controller_owner_ref(&()).map(|owner| vec![owner]),
        finalizers: Some(vec![names::FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    Release {
        metadata,
        spec,
        status: None,
    }
}

/// A Repository says where the content came from; otherwise, and when the content was edited since, whoever last changed the flow is named.
fn source(flow: &Flow, digest: &Digest) -> ReleaseSource {
    let of_this = flow
        .annotations()
        .get(names::SOURCE_DIGEST)
        .is_some_and(|of| of == digest.as_str());
    let from_git = flow
        .annotations()
        .get(names::SOURCE)
        .filter(|_| of_this)
        .and_then(|source| serde_json::from_str(source).ok());
    from_git.unwrap_or_else(|| ReleaseSource {
        changed_by: recorded(flow, names::CHANGED_BY),
        applied_by: last_manager(flow),
        generation: flow.metadata.generation,
        ..ReleaseSource::default()
    })
}

fn last_manager(flow: &Flow) -> Option<String> {
    let entries = flow.metadata.managed_fields.iter().flatten();
    let of_spec = entries.filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    of_spec
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?
        .manager
        .clone()
}

fn described(problem: Problem) -> DefinitionProblem {
    let field = format!("spec.{}", problem.field);
    let message = match problem.offset {
        Some(offset) => format!("{} (at character {})", problem.message, offset + 1),
        None => problem.message,
    };
    DefinitionProblem {
        field: visible(&field).chars().take(1_024).collect(),
        message: visible(&message).chars().take(1_024).collect(),
    }
}

#[cfg(test)]
mod tests;
