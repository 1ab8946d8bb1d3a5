//! The run that a run retries: read, and claimed so that no other run retries it too.

use kube::{Api, ResourceExt as _};

use super::{Deps, write};
use crate::cluster::{earlier_runs, releases::LoadedRelease};
use signoff_api::{Run, RunPhase, name::DnsLabel, retry::RetryOf, run::RunParent};
use signoff_engine::{
    requesters,
    retry::{ChildFacts, EarlierRun, RetryRefused},
};

/// The step to begin with, if it is said, and the run that is retried or why it cannot be.
pub(super) type Earlier = (Option<DnsLabel>, Result<EarlierRun, RetryRefused>);

/// How often a claim is tried when others write the earlier run at the same time.
const ATTEMPTS: u32 = 5;

/// The run that a run without a release retries, or why it cannot. None if it retries none, or was decided on before.
pub(super) async fn earlier(
    deps: &Deps,
    run: &Run,
    release: &LoadedRelease,
) -> Result<Option<Earlier>, kube::Error> {
    let is_new = run.status.as_ref().is_none_or(|status| status.release.is_none());
    let Some(of) = run.spec.retry_of.as_ref().filter(|_| is_new) else {
        return Ok(None);
    };
    let runs = deps
        .context
        .namespaced::<Run>(&run.namespace().unwrap_or_default());
    let mut claimed = claimed(deps, &runs, run, of).await?;
    if let Ok(earlier) = &mut claimed {
        let from = of.from.as_deref();
        let own = run.metadata.uid.as_deref();
        earlier.children = earlier_runs::children(&runs, &release.plan, from, earlier, own).await?;
    }
    Ok(Some((of.from.clone(), claimed)))
}

async fn claimed(
    deps: &Deps,
    runs: &Api<Run>,
    run: &Run,
    of: &RetryOf,
) -> Result<Result<EarlierRun, RetryRefused>, kube::Error> {
    let name = run.name_any();
    let mut attempt = 1;
    loop {
        let Some(earlier) = earlier_runs::get(runs, &of.run).await? else {
            return Ok(Err(RetryRefused::NotFound(of.run.to_string())));
        };
        let status = earlier.status.clone().unwrap_or_default();
        if let Some(refused) = refused(run, &earlier, status.phase) {
            return Ok(Err(refused));
        }
        // one of the same name that is gone is another run
        let is_own = status.retried_by.as_ref() == Some(&name) && status.retried_by_uid == run.metadata.uid;
        // what came of a run that succeeded is for all to take over
        if status.phase != RunPhase::Succeeded && !is_own {
            if let Some(by) = earlier_runs::claimed(runs, &of.run, &status, None).await? {
                let run = of.run.to_string();
                return Ok(Err(RetryRefused::Retried { run, by }));
            }
            let mut next = status.clone();
            next.revision = next.revision.saturating_add(1);
            next.retried_by = Some(name.clone());
            next.retried_by_uid = run.uid();
            match write::status(&deps.context, &earlier, &next).await {
                Ok(_) => {}
                // somebody wrote meanwhile, perhaps another run that retries it
                Err(kube::Error::Api(refusal)) if matches!(refusal.code, 409 | 422) && attempt < ATTEMPTS => {
                    attempt += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        return Ok(Ok(EarlierRun {
            uid: earlier.uid().unwrap_or_default(),
            requesters: requesters::of(&earlier),
            inputs: earlier.inputs().cloned().unwrap_or_default(),
            name: of.run.to_string(),
            status,
            is_child: run.spec.parent.is_some(),
            children: ChildFacts::new(),
        }));
    }
}

/// Why a run cannot retry another, as far as that does not depend on what either does.
fn refused(run: &Run, earlier: &Run, phase: RunPhase) -> Option<RetryRefused> {
    let name = || earlier.name_any();
    if !phase.is_finished() {
        return Some(RetryRefused::NotEnded(name()));
    }
    let Some(parent) = &run.spec.parent else {
        return (phase == RunPhase::Succeeded).then(|| RetryRefused::Succeeded(name()));
    };
    let is_same = earlier
        .spec
        .parent
        .as_ref()
        .is_some_and(|other| is_same_step(parent, other));
    (!is_same).then(|| RetryRefused::OtherParent(name()))
}

/// Whether two runs were started by the same step of a flow. Only the operator says which step started a run.
fn is_same_step(one: &RunParent, other: &RunParent) -> bool {
    let flow = |parent: &RunParent| parent.chain.first().map(|run| run.flow.clone());
    let place = |parent: &RunParent| (parent.step.clone(), parent.iteration, parent.item, flow(parent));
    place(one) == place(other) && one.is_waited_for() && other.is_waited_for()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run(parent: &Value) -> Run {
        serde_json::from_value(json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Run",
            "metadata": {"name": "r"}, "spec": {"flow": "f", "parent": parent}}))
        .unwrap()
    }

    fn parent(step: &str, iteration: i64, flow: &str, detached: Option<bool>) -> Value {
        json!({"uid": "u", "step": step, "iteration": iteration, "digest": format!("sha256:{:064}", 0),
            "detached": detached, "chain": [{"run": "p", "flow": flow}]})
    }

    #[test]
    fn a_run_that_a_step_started_goes_on_only_from_a_run_of_the_same_step() {
        let next = run(&parent("apply", 2, "top", None));
        let other = || Some(RetryRefused::OtherParent("r".into()));
        for (earlier, expected) in [
            (parent("apply", 2, "top", None), None),
            (parent("apply", 1, "top", None), other()),
            (parent("plan", 2, "top", None), other()),
            (parent("apply", 2, "bottom", None), other()),
            (parent("apply", 2, "top", Some(true)), other()),
            (Value::Null, other()),
        ] {
            let earlier = run(&earlier);
            for phase in [RunPhase::Failed, RunPhase::Succeeded] {
                assert_eq!(refused(&next, &earlier, phase), expected, "{earlier:?}");
            }
            let not_ended = Some(RetryRefused::NotEnded("r".into()));
            assert_eq!(refused(&next, &earlier, RunPhase::Waiting), not_ended);
        }
    }

    #[test]
    fn people_retry_any_run_that_ended_badly() {
        let next = run(&Value::Null);
        for earlier in [run(&Value::Null), run(&parent("apply", 1, "top", None))] {
            assert_eq!(refused(&next, &earlier, RunPhase::Failed), None);
            let succeeded = Some(RetryRefused::Succeeded("r".into()));
            assert_eq!(refused(&next, &earlier, RunPhase::Succeeded), succeeded);
        }
    }
}
