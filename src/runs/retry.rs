//! The run that a run retries: read, and claimed so that no other run retries it too.

use kube::ResourceExt as _;

use super::{Deps, write};
use signoff_api::{Run, RunPhase, name::DnsLabel, retry::RetryOf};
use signoff_engine::{
    requesters,
    retry::{EarlierRun, RetryRefused},
};

/// The step to begin with, and the run that is retried or why it cannot be.
pub(super) type Earlier = (DnsLabel, Result<EarlierRun, RetryRefused>);

/// How often a claim is tried when others write the earlier run at the same time.
const ATTEMPTS: u32 = 5;

/// The run that a run without a release retries, or why it cannot. None if it retries none, or was decided on before.
pub(super) async fn earlier(deps: &Deps, run: &Run) -> Result<Option<Earlier>, kube::Error> {
    let is_new = run.status.as_ref().is_none_or(|status| status.release.is_none());
    match run.spec.retry_of.as_ref().filter(|_| is_new) {
        None => Ok(None),
        Some(of) => {
            let claimed = claimed(deps, run, of).await?;
            Ok(Some((of.from.clone(), claimed)))
        }
    }
}

async fn claimed(
    deps: &Deps,
    run: &Run,
    of: &RetryOf,
) -> Result<Result<EarlierRun, RetryRefused>, kube::Error> {
    let namespace = run.namespace().unwrap_or_default();
    let runs = deps.context.namespaced::<Run>(&namespace);
    let name = run.name_any();
    let mut attempt = 1;
    loop {
        let Some(earlier) = runs.get_opt(&of.run).await? else {
            return Ok(Err(RetryRefused::NotFound(of.run.to_string())));
        };
        let status = earlier.status.clone().unwrap_or_default();
        let refused = match status.phase {
            phase if !phase.is_finished() => Some(RetryRefused::NotEnded(of.run.to_string())),
            RunPhase::Succeeded => Some(RetryRefused::Succeeded(of.run.to_string())),
            _ => None,
        };
        if let Some(refused) = refused {
            return Ok(Err(refused));
        }
        let claim = status.retried_by.clone();
        if claim.as_ref() != Some(&name) {
            if let Some(by) = claim
                && let Some(other) = runs.get_opt(&by).await?
                && retries(&other, of)
            {
                let run = of.run.to_string();
                return Ok(Err(RetryRefused::Retried { run, by }));
            }
            let mut next = status.clone();
            next.revision = next.revision.saturating_add(1);
            next.retried_by = Some(name.clone());
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
        }));
    }
}

/// Whether a run that claimed the same run holds on to it: not if it was refused, or retries another one.
fn retries(run: &Run, of: &RetryOf) -> bool {
    let took_over = |run: &Run| run.status.as_ref().is_some_and(|status| status.retry.is_some());
    let has_ended = run
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_finished());
    run.spec
        .retry_of
        .as_ref()
        .is_some_and(|other| other.run == of.run)
        && (!has_ended || took_over(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run(of: &str, status: &Value) -> Run {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"},
            "spec": {"flow": "f", "retryOf": {"run": of, "from": "pay"}}, "status": status
        }))
        .unwrap()
    }

    #[test]
    fn a_run_that_could_not_retry_does_not_keep_others_from_it() {
        let of = RetryOf {
            run: "first".parse().unwrap(),
            from: "pay".parse().unwrap(),
        };
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
            assert_eq!(retries(&run, &of), holds, "{run:?}");
        }
    }
}
