//! Runs that are retried, and the runs that their steps started.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Api;

use signoff_api::{Run, RunStatus};
use signoff_engine::{
    plan::Plan,
    retry::{ChildFact, ChildFacts, EarlierRun, children_to_read},
};

/// How many runs are read at the same time.
const AT_ONCE: usize = 8;

/// Those of the runs that a retry has to know of that are there. What the retry itself has started already, before its state
/// was written, does not keep it from starting the same: `own` is its uid.
///
/// # Errors
/// If one cannot be read.
pub async fn children(
    runs: &Api<Run>,
    plan: &Plan,
    from: Option<&str>,
    earlier: &EarlierRun,
    own: Option<&str>,
) -> Result<ChildFacts, kube::Error> {
    let names = stream::iter(children_to_read(plan, from, earlier));
    let facts = names.map(async |name| {
        let fact = child(runs, &name, own).await?;
        Ok::<_, kube::Error>(fact.map(|fact| (name, fact)))
    });
    let facts: Vec<_> = facts.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(facts.into_iter().flatten().collect())
}

/// A run. One that cannot be decoded is as good as gone, so that it keeps no other from ending.
///
/// # Errors
/// If it cannot be read.
pub async fn get(runs: &Api<Run>, name: &str) -> Result<Option<Run>, kube::Error> {
    match runs.get_opt(name).await {
        Err(kube::Error::SerdeError(_)) => Ok(None),
        read => read,
    }
}

async fn child(runs: &Api<Run>, name: &str, own: Option<&str>) -> Result<Option<ChildFact>, kube::Error> {
    let Some(run) = get(runs, name).await? else {
        return Ok(None);
    };
    // only the operator creates runs with a parent
    let Some(parent) = &run.spec.parent else {
        return Ok(None);
    };
    let status = run.status.clone().unwrap_or_default();
    Ok(Some(ChildFact {
        parent: parent.uid.clone(),
        phase: status.phase,
        has_begun: status.release.is_some() && (run.spec.retry_of.is_none() || status.retry.is_some()),
        retried_by: claimed(runs, name, &status, own).await?,
    }))
}

/// The run that has claimed a run and holds on to it, if `own` has not started it.
///
/// # Errors
/// If it cannot be read.
pub async fn claimed(
    runs: &Api<Run>,
    run: &str,
    status: &RunStatus,
    own: Option<&str>,
) -> Result<Option<String>, kube::Error> {
    let Some(by) = &status.retried_by else {
        return Ok(None);
    };
    let other = get(runs, by).await?;
    Ok(holds(run, status, other.as_ref(), own).then(|| by.clone()))
}

/// Whether the run that claimed another holds on to it. `other` is what has its name now. Nobody knows any more what one did that
/// is gone, so that it holds on for ever.
fn holds(run: &str, status: &RunStatus, other: Option<&Run>, own: Option<&str>) -> bool {
    let Some(other) = other.filter(|other| other.metadata.uid == status.retried_by_uid) else {
        return true;
    };
    let parent = other.spec.parent.as_ref();
    let is_own = own.is_some() && parent.map(|parent| parent.uid.as_str()) == own;
    retries(other, run) && !is_own
}

/// Whether a run that claimed another holds on to it: not if it was refused, or retries another one.
fn retries(run: &Run, earlier: &str) -> bool {
    let took_over = |run: &Run| run.status.as_ref().is_some_and(|status| status.retry.is_some());
    let has_ended = run
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished());
    run.spec
        .retry_of
        .as_ref()
        .is_some_and(|other| *other.run == *earlier)
        && (!has_ended || took_over(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run(of: &str, status: &Value) -> Run {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r", "uid": "u-r"},
            "spec": {"flow": "f", "retryOf": {"run": of, "from": "pay"}}, "status": status
        }))
        .unwrap()
    }

    #[test]
    fn a_run_that_could_not_retry_does_not_keep_others_from_it() {
        let took_over = json!({"run": "first", "uid": "u"});
        for (run, holds) in [
            (run("first", &json!({})), true),
            (
                run("first", &json!({"phase": "Running", "retry": took_over})),
                true,
            ),
            (
                run("first", &json!({"phase": "Failed", "retry": took_over})),
                true,
            ),
            (run("first", &json!({"phase": "Failed"})), false),
            (
                run("other", &json!({"phase": "Running", "retry": took_over})),
                false,
            ),
        ] {
            assert_eq!(retries(&run, "first"), holds, "{run:?}");
        }
    }

    #[test]
    fn a_run_that_claimed_another_and_is_gone_holds_on_to_it_also_if_another_one_has_its_name() {
        let claimed = |uid: &str| RunStatus {
            retried_by: Some("r".to_owned()),
            retried_by_uid: Some(uid.to_owned()),
            ..RunStatus::default()
        };
        let refused = run("first", &json!({"phase": "Failed"}));
        for (status, other, expected) in [
            (claimed("u-r"), None, true),
            (claimed("u-r"), Some(&refused), false),
            (claimed("u-old"), Some(&refused), true),
            (
                RunStatus {
                    retried_by_uid: None,
                    ..claimed("")
                },
                Some(&refused),
                true,
            ),
        ] {
            assert_eq!(holds("first", &status, other, None), expected, "{status:?}");
        }
    }
}
