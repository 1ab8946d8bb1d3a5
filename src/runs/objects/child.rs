//! Runs that steps start: created, stopped, and read.

use std::collections::BTreeMap;

use kube::{
    Resource as _, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams},
};
use serde_json::json;

use super::{ObjectError, belongs_to, step_of};
use crate::cluster::{
    context::Context,
    create::{Adopted, create_or_adopt},
    objects::{Decoded, Undecodable},
    status::is_missing,
};
use signoff_api::{
    Run, RunPhase, RunSpec,
    name::{ObjectName, ReleaseName},
    names,
    reason::StepReason,
    retry::{RetryOf, RunName},
    run::StepError,
};
use signoff_engine::{
    facts::RunFact,
    object::{CloseObject, Closing, ObjectKey, StartRun},
};

/// Creates a Run, or finds the one that an earlier attempt created.
pub(super) async fn open(context: &Context, run: &Run, wanted: &StartRun) -> Result<RunFact, ObjectError> {
    let name = || wanted.name.clone();
    // the engine takes both from names that were checked
    let (Ok(_), Ok(release), Ok(retried)) = (
        wanted.name.parse::<ObjectName>(),
        wanted.release.parse::<ReleaseName>(),
        wanted.retry_of.as_deref().map(str::parse::<RunName>).transpose(),
    ) else {
        return Err(ObjectError::Taken(name()));
    };
    let api = context.namespaced::<Run>(&run.namespace().unwrap_or_default());
    let spec = RunSpec {
        release: Some(release),
        inputs: Some(wanted.inputs.clone()),
        requested_by: wanted.requested_by.clone(),
        earlier_requesters: wanted.earlier_requesters.clone(),
        parent: Some(wanted.parent.clone()),
        retry_of: retried.map(|run| RetryOf { run, from: None }),
        ..RunSpec::of(wanted.flow.clone())
    };
    // one that nobody waits for outlives the run that started it
    let owner = wanted.parent.is_waited_for();
    let owner = run.controller_owner_ref(&()).filter(|_| owner);
    let mut child = Run::new(&wanted.name, spec);
    child.metadata = ObjectMeta {
        labels: Some(labels(run, wanted)),
        owner_references: owner.map(|owner| vec![owner]),
        ..child.metadata
    };
    match create_or_adopt(&api, &child, |there| is_ours(there, wanted)).await {
        Ok(Adopted::Ours(child)) => Ok(fact(&child)),
        // what cannot be decoded is not what this operator wrote
        Ok(Adopted::Others(_)) | Err(kube::Error::SerdeError(_)) => Err(ObjectError::RunTaken(name())),
        Err(error) => Err(ObjectError::Api(
            format!("create the run {:?}", wanted.name),
            error,
        )),
    }
}

fn labels(run: &Run, wanted: &StartRun) -> BTreeMap<String, String> {
    let labels = [
        (names::MANAGED_BY, names::MANAGED_BY_VALUE.to_owned()),
        (names::FLOW, wanted.flow.to_string()),
        (names::RELEASE, wanted.release.clone()),
        (names::RUN, run.name_any()),
        (names::STEP, wanted.parent.step.clone()),
    ];
    labels.map(|(label, value)| (label.to_owned(), value)).into()
}

/// Whether a Run is the one that the step starts. Only the operator writes `spec.parent`.
fn is_ours(there: &Run, wanted: &StartRun) -> bool {
    let Some(parent) = &there.spec.parent else {
        return false;
    };
    if !wanted.is_keyed {
        return *parent == wanted.parent;
    }
    let flow_of = |parent: &signoff_api::run::RunParent| parent.chain.first().map(|run| run.flow.clone());
    // one of another release, such as a draft, does something else
    let release = there.spec.release.as_ref();
    there.spec.flow == wanted.flow
        && release.is_some_and(|release| release.as_str() == wanted.release)
        && !parent.is_waited_for()
        && flow_of(parent) == flow_of(&wanted.parent)
}

/// A Run as the engine sees it.
pub(in crate::runs) fn fact(child: &Run) -> RunFact {
    let (parent, status) = (child.spec.parent.as_ref(), child.status.as_ref());
    RunFact {
        step: parent.map(|parent| parent.step.clone()).unwrap_or_default(),
        iteration: parent.map(|parent| parent.iteration).unwrap_or_default(),
        item: parent.and_then(|parent| parent.item),
        phase: status.map(|status| status.phase).unwrap_or_default(),
        output: status.and_then(|status| status.output.clone()),
        error: status.and_then(|status| status.error.clone()),
        cancel: child.spec.cancel == Some(true),
        terminate: child.spec.terminate == Some(true),
    }
}

/// Has a Run that this run has started stopped, unless it has ended or is being stopped already.
pub(super) async fn close(
    context: &Context,
    run: &Run,
    wanted: &CloseObject,
) -> Result<Option<RunFact>, ObjectError> {
    let name = &wanted.key.name;
    let failed = |error| ObjectError::Api(format!("stop the run {name:?}"), error);
    let child = match get(context, run, name).await.map_err(failed)? {
        None => return Ok(None),
        Some(Decoded::Object(child)) => child,
        // no operator goes on with it
        Some(Decoded::Undecodable(child)) => return Ok(Some(unread(run, name, &child))),
    };
    let known = fact(&child);
    let (field, is_told) = match wanted.closing {
        Closing::Terminated => ("terminate", known.terminate),
        Closing::Cancelled | Closing::Superseded => ("cancel", known.cancel || known.terminate),
    };
    if known.phase.is_finished() || is_told {
        return Ok(Some(known));
    }
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    // another run may have taken the name meanwhile
    let patch = json!({ "metadata": { "uid": child.metadata.uid }, "spec": { field: true } });
    let api = context.namespaced::<Run>(run.metadata.namespace.as_deref().unwrap_or_default());
    match api.patch(name, &params, &Patch::Merge(&patch)).await {
        Ok(stopped) => Ok(Some(fact(&stopped))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// What is known of a Run that this run has started.
pub(in crate::runs) async fn look(
    context: &Context,
    run: &Run,
    name: &str,
) -> Result<Option<RunFact>, kube::Error> {
    let child = get(context, run, name).await?;
    Ok(child.map(|child| match child {
        Decoded::Object(child) => fact(&child),
        Decoded::Undecodable(child) => unread(run, name, &child),
    }))
}

/// The Run of that name, if this run has started it and waits for it.
async fn get(context: &Context, run: &Run, name: &str) -> Result<Option<Decoded<Run>>, kube::Error> {
    let api = context.namespaced::<Decoded<Run>>(run.metadata.namespace.as_deref().unwrap_or_default());
    let child = api.get_opt(name).await?;
    let uid = run.metadata.uid.as_deref();
    Ok(child.filter(|child| match child {
        Decoded::Object(child) => {
            let parent = child.spec.parent.as_ref().filter(|parent| parent.is_waited_for());
            parent.is_some_and(|parent| Some(parent.uid.as_str()) == uid)
        }
        Decoded::Undecodable(child) => belongs_to(&child.metadata, run),
    }))
}

/// A Run that cannot be decoded has failed: no operator goes on with it.
fn unread(run: &Run, name: &str, child: &Undecodable) -> RunFact {
    let step = step_of(run, &ObjectKey::run(name));
    RunFact {
        step: step.map(|step| step.name.clone()).unwrap_or_default(),
        iteration: step.map(|step| step.iteration).unwrap_or_default(),
        item: step.and_then(|step| step.item),
        phase: RunPhase::Failed,
        output: None,
        error: Some(StepError {
            reason: StepReason::RunNotSucceeded,
            message: format!("it cannot be read: {}", child.message()),
        }),
        cancel: false,
        terminate: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parent(flow: &str, detached: bool) -> Value {
        json!({"uid": "u", "step": "apply", "iteration": 1, "detached": detached, "digest": format!("sha256:{:064}", 0),
            "chain": [{"run": "p", "flow": flow}]})
    }

    fn run(release: &str, parent: &Value) -> Run {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
            "metadata": {"name": "child-k"}, "spec": {"flow": "child", "release": release, "parent": parent}}))
        .unwrap()
    }

    #[test]
    fn a_run_under_a_key_is_taken_for_the_one_that_is_wanted_only_if_it_does_the_same() {
        let (live, draft) = ("child-0123456789", "child-aaaaaaaaaa");
        let wanted = StartRun {
            name: "child-k".to_owned(),
            flow: "child".parse().unwrap(),
            release: live.to_owned(),
            inputs: serde_json::from_value(json!({})).unwrap(),
            requested_by: None,
            earlier_requesters: vec![],
            is_keyed: true,
            parent: serde_json::from_value(parent("top", true)).unwrap(),
            retry_of: None,
        };
        assert!(is_ours(&run(live, &parent("top", true)), &wanted));
        for other in [
            run(draft, &parent("top", true)),
            run(live, &parent("elsewhere", true)),
            run(live, &parent("top", false)),
        ] {
            assert!(!is_ours(&other, &wanted), "{:?}", other.spec);
        }
    }
}
