//! How far a run and the runs that it waits for have come, and waiting for them.

use std::time::{Duration, Instant};

use futures::future::{join_all, select_all};
use kube::{
    Api,
    runtime::{
        wait::{self, await_condition},
        watcher,
    },
};

use signoff_api::{Approval, Digest, Run, RunPhase, RunStatus, run::StepPhase};

/// Most runs that are looked at together. A run that waits for more of them is not known to be settled.
const MOST: usize = 64;
/// Pause after a watch broke off.
const PAUSE: Duration = Duration::from_secs(1);
/// How long questions are waited for that the run says are open.
const UNTIL_ASKED: Duration = Duration::from_secs(5);

/// How far a run has come, with the runs that its steps wait for.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The run.
    pub run: Run,
    /// The approvals that it waits for, also through runs that it started.
    pub open_approvals: Vec<String>,
    /// It has ended, or nothing but people or a callback lets it go on. A retry and a timer come by themselves.
    pub is_settled: bool,
    /// What only others let go on, as `RUN/STEP/PASS/ITEM`.
    waits: Vec<String>,
    /// The runs that were looked at, and their versions.
    seen: Vec<(String, Option<String>)>,
}

impl Standing {
    /// A run of which no others are known.
    pub fn of(run: Run) -> Self {
        standing(run, &[])
    }

    /// Whether the run has ended.
    pub fn has_ended(&self) -> bool {
        self.run
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_finished())
    }

    /// Stands for what it waits for: it is another one when something else is waited for, or nothing more.
    pub fn state(&self) -> String {
        let mut waits = self.waits.clone();
        waits.sort();
        let status = self.run.status.as_ref();
        let ended = status.filter(|_| self.has_ended()).map(|status| status.phase);
        let text = format!("{ended:?}\n{}", waits.join("\n"));
        Digest::of(text.as_bytes()).short().to_owned()
    }
}

/// A run that was waited for.
#[derive(Debug)]
pub struct Waited {
    /// As it is now.
    pub standing: Standing,
    /// Whether the time passed before it came so far.
    pub timed_out: bool,
    /// Why the run could not be watched, so that nothing was waited for.
    pub unwatched: Option<wait::Error>,
}

/// Waits until a run is settled, at most so long.
///
/// # Errors
/// If the run is not there, or the API server does not answer.
pub async fn until_settled(runs: &Api<Run>, name: &str, longest: Duration) -> kube::Result<Waited> {
    until(runs, name, longest, |standing| standing.is_settled).await
}

/// Waits until a run has come as far as this, at most so long.
///
/// # Errors
/// If the run is not there, or the API server does not answer.
pub async fn until(
    runs: &Api<Run>,
    name: &str,
    longest: Duration,
    is_over: impl Fn(&Standing) -> bool,
) -> kube::Result<Waited> {
    let begun = Instant::now();
    loop {
        let standing = look(runs, name).await?;
        let left = longest.saturating_sub(begun.elapsed());
        let is_over = is_over(&standing);
        if is_over || left.is_zero() {
            until_asked(runs, &standing, left.min(UNTIL_ASKED)).await;
            return Ok(Waited {
                standing,
                timed_out: !is_over,
                unwatched: None,
            });
        }
        match tokio::time::timeout(left, changed(runs, &standing.seen)).await {
            // looked at once more
            Err(_) | Ok(Ok(())) => {}
            Ok(Err(error)) if is_forbidden(&error) => {
                return Ok(Waited {
                    standing,
                    timed_out: false,
                    unwatched: Some(error),
                });
            }
            Ok(Err(_)) => tokio::time::sleep(PAUSE.min(left)).await,
        }
    }
}

/// Waits until the questions of a run are there: the run says that it waits for people a moment before they are put. Who may not
/// watch questions does not wait for them.
async fn until_asked(runs: &Api<Run>, standing: &Standing, longest: Duration) {
    let Some(namespace) = runs.namespace() else {
        return;
    };
    let approvals = Api::<Approval>::namespaced(runs.clone().into_client(), namespace);
    let asked = standing.open_approvals.iter().map(|name| {
        let is_there = |approval: Option<&Approval>| approval.is_some();
        await_condition(approvals.clone(), name, is_there)
    });
    let _ = tokio::time::timeout(longest, join_all(asked)).await;
}

/// Waits until one of these runs is another than it was.
async fn changed(runs: &Api<Run>, seen: &[(String, Option<String>)]) -> Result<(), wait::Error> {
    let watches = seen.iter().map(|(name, version)| {
        let version = version.clone();
        let is_other =
            move |run: Option<&Run>| run.is_none_or(|run| run.metadata.resource_version != version);
        Box::pin(await_condition(runs.clone(), name, is_other))
    });
    let (first, _, _) = select_all(watches).await;
    first.map(drop)
}

/// Whether the API server does not let the caller watch.
fn is_forbidden(error: &wait::Error) -> bool {
    let wait::Error::ProbeFailed(error) = error;
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 405))
        }
        watcher::Error::WatchError(status) => matches!(status.code, 401 | 403 | 405),
        watcher::Error::NoResourceVersion => true,
    }
}

/// Reads a run, and the runs that it waits for.
///
/// # Errors
/// If the run is not there, or the API server does not answer.
pub async fn look(runs: &Api<Run>, name: &str) -> kube::Result<Standing> {
    let run = runs.get(name).await?;
    let (mut others, mut wanted) = (Vec::<Run>::new(), children(&run));
    while let Some(name) = wanted.pop() {
        let is_known = others.iter().any(|run| run.metadata.name.as_ref() == Some(&name));
        if is_known || others.len() >= MOST {
            continue;
        }
        if let Some(child) = runs.get_opt(&name).await? {
            wanted.extend(children(&child));
            others.push(child);
        }
    }
    Ok(standing(run, &others))
}

/// How far a run has come, given the runs that it waits for.
fn standing(run: Run, others: &[Run]) -> Standing {
    let all = || std::iter::once(&run).chain(others);
    let by_name = |name: &str| {
        others
            .iter()
            .find(|run| run.metadata.name.as_deref() == Some(name))
    };
    let is_settled = is_settled(&run, &by_name, MOST);
    let name = |run: &Run| run.metadata.name.clone().unwrap_or_default();
    Standing {
        open_approvals: all().flat_map(open_approvals).collect(),
        waits: all()
            .flat_map(|run| {
                let steps = run.status.iter().flat_map(|status| &status.steps);
                let of = name(run);
                steps
                    .filter(|step| step.phase == StepPhase::Waiting && needs_others(step))
                    .map(move |step| format!("{of}/{}/{}/{:?}", step.name, step.iteration, step.item))
            })
            .collect(),
        seen: all()
            .map(|run| (name(run), run.metadata.resource_version.clone()))
            .collect(),
        is_settled,
        run,
    }
}

/// The runs that the steps of a run wait for.
fn children(run: &Run) -> Vec<String> {
    let steps = run.status.iter().flat_map(|status| &status.steps);
    let waiting = steps.filter(|step| step.phase == StepPhase::Waiting);
    waiting.filter_map(|step| step.run.clone()).collect()
}

/// Whether only people or a callback let a step go on.
fn needs_others(step: &signoff_api::run::StepStatus) -> bool {
    step.approval.is_some() || (step.run.is_none() && step.wake_at.is_none())
}

/// A step that waits for a run waits for others if that run does. One that has ended lets the step go on at once.
fn is_settled<'a>(run: &Run, others: &impl Fn(&str) -> Option<&'a Run>, depth: usize) -> bool {
    let Some(status) = &run.status else {
        return false;
    };
    status.phase.is_finished() || (depth > 0 && waits_for_others(status, others, depth))
}

fn waits_for_others<'a>(status: &RunStatus, others: &impl Fn(&str) -> Option<&'a Run>, depth: usize) -> bool {
    let mut steps = status.steps.iter();
    let waits = |run: &Run| {
        let status = run.status.as_ref();
        status.is_some_and(|status| !status.phase.is_finished()) && is_settled(run, others, depth - 1)
    };
    status.phase == RunPhase::Waiting
        && steps.any(|step| {
            step.phase == StepPhase::Waiting
                && match &step.run {
                    Some(name) => others(name).is_some_and(&waits),
                    None => needs_others(step),
                }
        })
}

/// The approvals that the steps of a run wait for themselves.
pub fn open_approvals(run: &Run) -> Vec<String> {
    let steps = run.status.iter().flat_map(|status| &status.steps);
    steps
        .filter(|step| step.phase == StepPhase::Waiting)
        .filter_map(|step| step.approval.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn named(name: &str, phase: &str, step: &Value) -> Run {
        serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": name},
            "spec": {"flow": "f"}, "status": {"phase": phase, "steps": [step]}
        }))
        .unwrap()
    }

    fn step(phase: &str, more: &Value) -> Value {
        let mut step = json!({"name": "s", "iteration": 1, "phase": phase});
        step.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        step
    }

    const AT: &str = "2026-11-29T12:00:00.000000Z";

    #[test]
    fn a_retry_and_a_timer_are_waited_through_and_people_and_callbacks_are_not() {
        for (phase, step, settled) in [
            ("Waiting", step("Retrying", &json!({"wakeAt": AT})), false),
            ("Waiting", step("Waiting", &json!({"wakeAt": AT})), false),
            ("Waiting", step("Waiting", &json!({"approval": "r-s"})), true),
            ("Waiting", step("Waiting", &json!({"deadline": AT})), true),
            ("Running", step("Running", &json!({})), false),
            ("Failed", step("Failed", &json!({})), true),
        ] {
            assert_eq!(
                standing(named("r", phase, &step), &[]).is_settled,
                settled,
                "{phase} {step}"
            );
        }
    }

    #[test]
    fn a_run_that_waits_for_another_is_as_settled_as_that_one_and_asks_what_it_asks() {
        let parent = named("r", "Waiting", &step("Waiting", &json!({"run": "c"})));
        let child = |phase: &str, more: Value| named("c", phase, &step(phase, &more));
        let timer = child("Waiting", json!({"wakeAt": AT}));
        assert!(!standing(parent.clone(), &[timer]).is_settled);
        for none_yet in [
            vec![],
            vec![child("Running", json!({}))],
            vec![child("Succeeded", json!({}))],
        ] {
            assert!(!standing(parent.clone(), &none_yet).is_settled, "{none_yet:?}");
        }
        let asks = child("Waiting", json!({"approval": "c-s"}));
        let asked = standing(parent.clone(), std::slice::from_ref(&asks));
        assert!(asked.is_settled && asked.open_approvals == ["c-s"], "{asked:?}");
        // through one more
        let top = named("top", "Waiting", &step("Waiting", &json!({"run": "r"})));
        let asked = standing(top, &[parent, asks]);
        assert!(asked.is_settled && asked.open_approvals == ["c-s"], "{asked:?}");
    }

    #[test]
    fn the_state_is_another_one_when_something_else_is_waited_for() {
        let asks = |approval: &str, pass: i64| {
            let step = json!({"name": "s", "iteration": pass, "phase": "Waiting", "approval": approval});
            standing(named("r", "Waiting", &step), &[]).state()
        };
        assert_eq!(asks("r-s", 1), asks("r-s", 1));
        assert_ne!(asks("r-s", 1), asks("r-s-2", 2));
        let ended = standing(named("r", "Succeeded", &step("Succeeded", &json!({}))), &[]).state();
        assert_ne!(asks("r-s", 1), ended);
    }
}
