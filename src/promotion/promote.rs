//! Promotes the release that `spec.live` names, through its gates: finds out what the plan needs to know, and does what it says.

use std::{collections::HashSet, sync::Arc};

use kube::{
    Resource as _, ResourceExt as _,
    api::{ListParams, ObjectMeta},
    runtime::reflector::ObjectRef,
};

use super::{FlowError, Flows, dependencies};
use crate::cluster::{
    create::create_or_adopt,
    status::{is_missing, patch_status},
};
use signoff_api::{
    Approval, ApprovalSpec, Flow, FlowStatus, Release, Repository, flow::Promotion, name::ReleaseName, names,
};
use signoff_engine::promotion::{
    Ask, Asked, Found, Involved, Known, Outcome, Questions, Step, Unusable, brought, next, superseded, usable,
};

pub(super) async fn promote(
    shared: &Flows,
    flow: &Flow,
    status: &mut FlowStatus,
) -> Result<Outcome, FlowError> {
    let mut known = Known::default();
    loop {
        match next(flow.spec.live.as_deref(), status, &known) {
            Step::Forget(questions) => {
                if let Some(questions) = questions {
                    withdraw(shared, flow, &questions).await?;
                }
                status.promotion = None;
            }
            Step::FindWanted(name) => {
                known.wanted = Some(find(shared, flow, &name).await?);
                known.repository = repository_gate(shared, flow);
            }
            Step::FindDependencies(release) => {
                known.dependencies = Some(dependencies::known(shared, flow, &release));
            }
            Step::FindLive(name) => known.live = Some(find(shared, flow, &name).await?),
            Step::FindClosed(name) => known.closed = Some(closed(shared, flow, &name).await?),
            Step::Ask(ask) => known.asked.push(asked(shared, flow, status, *ask).await?),
            Step::Finish(done) => {
                if let Some(questions) = done.withdraw {
                    withdraw(shared, flow, &questions).await?;
                }
                done.change.apply(status);
                return Ok(done.outcome);
            }
        }
    }
}

/// The gate of the Repository that a flow came from.
fn repository_gate(shared: &Flows, flow: &Flow) -> Option<Promotion> {
    let gates = shared
        .repositories
        .find(|repository| repository.spec.promotion.is_some() && brought(repository, flow));
    gates?.spec.promotion.clone()
}

/// Whether another release becomes live only through a gate. What was said before stands while the release that is live cannot be read.
pub(super) async fn gated(
    shared: &Flows,
    flow: &Flow,
    status: &FlowStatus,
) -> Result<Option<bool>, FlowError> {
    let Some(live) = status.live_release() else {
        return Ok(None);
    };
    let gated = match find(shared, flow, live).await? {
        Ok(live) => live.spec.definition.promotion.is_some() || repository_gate(shared, flow).is_some(),
        Err(_) => return Ok(status.gated),
    };
    Ok(gated.then_some(true))
}

/// A release of this flow whose content is what its digest says.
async fn find(shared: &Flows, flow: &Flow, name: &str) -> Result<Found, FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    if let Err(error) = name.parse::<ReleaseName>() {
        return Ok(Err(error.into()));
    }
    let release = match shared.releases.get(&ObjectRef::new(name).within(&namespace)) {
        Some(release) => release,
        None => match shared.context.namespaced::<Release>(&namespace).get(name).await {
            Ok(release) => Arc::new(release),
            Err(error) if is_missing(&error) => return Ok(Err(Unusable::NotFound(name.to_owned()))),
            Err(error) => return Err(FlowError::Api("read the release", error)),
        },
    };
    usable(&flow.name_any(), release).map_err(FlowError::NotCanonical)
}

/// The names of the closed questions about promotions of a release.
async fn closed(shared: &Flows, flow: &Flow, release: &str) -> Result<HashSet<String>, FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    let first = Questions::first(release);
    let mut first_is_over = false;
    for name in first.names() {
        let asked = look_up(shared, &namespace, &name).await?;
        first_is_over |= asked.is_some_and(|asked| is_closed(&asked));
    }
    if !first_is_over {
        return Ok(HashSet::new());
    }
    // how many there were before, only a list tells
    let of_release = ListParams::default().labels(&format!("{}={release}", names::RELEASE));
    let listed = shared.context.list::<Approval>(&namespace, &of_release).await;
    let listed = listed.map_err(|error| FlowError::Api("list the approvals of the release", error))?;
    let closed = listed.items.iter().filter(|approval| is_closed(approval));
    Ok(closed.map(kube::ResourceExt::name_any).collect())
}

fn is_closed(approval: &Approval) -> bool {
    let status = approval.status.as_ref();
    status.is_some_and(|status| status.phase.is_closed())
}

/// An approval about a promotion. One that is closed is not in the store.
async fn look_up(shared: &Flows, namespace: &str, name: &str) -> Result<Option<Arc<Approval>>, FlowError> {
    if let Some(open) = shared.questions.get(&ObjectRef::new(name).within(namespace)) {
        return Ok(Some(open));
    }
    let read = shared
        .context
        .namespaced::<Approval>(namespace)
        .get_opt(name)
        .await;
    let read = read.map_err(|error| FlowError::Api("read the approval", error))?;
    Ok(read.map(Arc::new))
}

/// The question of a gate, and the approval of its name, which is created if it is not there.
async fn asked(shared: &Flows, flow: &Flow, status: &FlowStatus, ask: Ask) -> Result<Asked, FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    let (release, name, gate) = (Arc::clone(&ask.release), ask.name(), ask.gate.name);
    let involved = Involved::new(flow, status, &release, source_of(shared, &release).as_deref());
    let now = shared.context.now();
    // how long it takes to tell what changes, the definitions say
    let question = shared
        .context
        .evaluate(&namespace, move || ask.question(&involved, now))
        .await;
    let approval = open(shared, flow, &release, &question, &name).await?;
    Ok(Asked {
        gate,
        question,
        approval,
    })
}

/// The Repository that a release came from.
fn source_of(shared: &Flows, release: &Release) -> Option<Arc<Repository>> {
    let name = release.spec.source.repository.as_ref()?;
    let reference = ObjectRef::new(name).within(&release.namespace()?);
    shared.repositories.get(&reference)
}

/// The approval of a gate, created if it is not there.
async fn open(
    shared: &Flows,
    flow: &Flow,
    release: &Release,
    spec: &ApprovalSpec,
    name: &str,
) -> Result<Arc<Approval>, FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    if let Some(approval) = look_up(shared, &namespace, name).await? {
        return Ok(approval);
    }
    let api = shared.context.namespaced::<Approval>(&namespace);
    let wanted = approval(flow, release, name, spec.clone());
    // whether it is the question is compared where a cached one is as well
    let opened = create_or_adopt(&api, &wanted, |_| true).await;
    let opened = opened.map_err(|error| FlowError::Api("open the approval", error))?;
    Ok(Arc::new(opened.object()))
}

fn approval(flow: &Flow, release: &Release, name: &str, spec: ApprovalSpec) -> Approval {
    let labels = [
        (names::MANAGED_BY, names::MANAGED_BY_VALUE.to_owned()),
        (names::FLOW, flow.name_any()),
        (names::RELEASE, release.name_any()),
    ];
    let repository = spec.repository.clone().map(|name| (names::REPOSITORY, name));
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(
            labels
                .into_iter()
                .chain(repository)
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        ),
        owner_references: release.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    Approval {
        metadata,
        spec,
        status: None,
    }
}

/// Closes the questions of a promotion that is no longer wished for.
async fn withdraw(shared: &Flows, flow: &Flow, questions: &Questions) -> Result<(), FlowError> {
    let namespace = flow.namespace().unwrap_or_default();
    for name in questions.names() {
        let Some(approval) = look_up(shared, &namespace, &name).await? else {
            continue;
        };
        let current = approval.status.clone().unwrap_or_default();
        let Some(closed) = superseded(&current, shared.context.now()) else {
            continue;
        };
        match patch_status(&shared.context, &*approval, &closed).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(FlowError::Api("close the approval", error)),
        }
    }
    Ok(())
}
