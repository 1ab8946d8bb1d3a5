//! Retries: a run that goes on from a run that ended badly, with the same release and the same inputs.
//!
//! The outcomes of the steps before the first one that is done again are taken over. Approvals are asked again, and nothing
//! after them begins before they are decided.

use std::collections::BTreeSet;

use super::plan::{Plan, PlannedStep};
use signoff_api::{
    Digest, RunPhase, RunStatus, Verdict,
    json::JsonObject,
    reason::StepReason,
    retry::{EarlierApproval, RetryStatus},
    run::{StepOutcome, StepPhase, StepStatus},
};

/// The run that is retried.
#[derive(Clone, Debug)]
pub struct EarlierRun {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The users who requested it and the runs that led to it.
    pub requesters: Vec<String>,
    /// Its inputs, with the defaults of its release.
    pub inputs: JsonObject,
    /// How it ended.
    pub status: RunStatus,
}

/// Why a run cannot retry another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryRefused {
    /// There is no such run.
    #[error("there is no run {0}")]
    NotFound(String),
    /// It goes on by itself.
    #[error("run {0} has not ended")]
    NotEnded(String),
    /// There is nothing to do again.
    #[error("run {0} succeeded; start another run instead")]
    Succeeded(String),
    /// Another run retries it.
    #[error("run {run} is retried by run {by} already")]
    Retried {
        /// The run that was to be retried.
        run: String,
        /// The run that retries it.
        by: String,
    },
    /// Outcomes of another release mean nothing here.
    #[error("run {0} used another release")]
    OtherRelease(String),
    /// Outcomes for other inputs mean nothing here.
    #[error("run {0} had other inputs")]
    OtherInputs(String),
    /// The flow has no such step, or it belongs to `finally`.
    #[error("the flow has no step {0} outside finally")]
    NoStep(String),
    /// The steps of that run would be done twice.
    #[error(
        "step {step} of run {run} has run {child}, whose steps would be performed again; retry from a later step, or retry {child}"
    )]
    RanFlow {
        /// The run that was to be retried.
        run: String,
        /// The step.
        step: String,
        /// The run that it started.
        child: String,
    },
    /// It would be done twice.
    #[error(
        "step {step} of run {run} was performed and must not be repeated (delivery: AtMostOnce); retry from a later step"
    )]
    Performed {
        /// The run that was to be retried.
        run: String,
        /// The step.
        step: String,
    },
}

/// The first step that did not end as the flow wants it: where a retry begins if nobody says where.
pub fn first_unfinished<'a>(plan: &'a Plan, status: &RunStatus) -> Option<&'a str> {
    let main = plan.steps[..plan.main].iter();
    let mut left = main.filter(|step| !matches!(current(status, step), Some(entry) if is_kept(step, entry)));
    left.next().map(|step| step.name.as_str())
}

/// Takes over what stands of an earlier run into the state of a run that has not begun.
///
/// # Errors
/// If the run cannot be retried so.
pub fn take_over(
    plan: &Plan,
    from: &str,
    earlier: &EarlierRun,
    (digest, inputs): (&Digest, &JsonObject),
    state: &mut RunStatus,
) -> Result<(), RetryRefused> {
    let run = || earlier.name.clone();
    let EarlierRun { status, .. } = earlier;
    if !status.phase.is_finished() {
        return Err(RetryRefused::NotEnded(run()));
    }
    if status.phase == RunPhase::Succeeded {
        return Err(RetryRefused::Succeeded(run()));
    }
    if status
        .release
        .as_ref()
        .is_none_or(|release| release.digest != *digest)
    {
        return Err(RetryRefused::OtherRelease(run()));
    }
    if earlier.inputs != *inputs {
        return Err(RetryRefused::OtherInputs(run()));
    }
    let first = plan
        .index_of(from)
        .filter(|step| *step < plan.main)
        .ok_or_else(|| RetryRefused::NoStep(from.to_owned()))?;
    let again = after(plan, first);
    if let Some(step) = plan.steps[..plan.main]
        .iter()
        .enumerate()
        .find(|(index, step)| must_not_repeat(step, status, again.contains(index)))
    {
        let step = step.1.name.clone();
        return Err(RetryRefused::Performed { run: run(), step });
    }
    if let Some((step, child)) = runs_again(plan, status, &again) {
        return Err(RetryRefused::RanFlow {
            run: run(),
            step,
            child,
        });
    }
    state.steps = taken_over(plan, &again, status);
    // loops that begin among the steps that are done again begin anew
    state.loops = status.loops.clone();
    state.loops.retain(|last, _| !begins_in(plan, last, &again));
    for step in &mut state.loops.values_mut() {
        step.resume_at = None;
    }
    state.retry = Some(RetryStatus {
        run: run(),
        uid: status
            .retry
            .as_ref()
            .map_or_else(|| earlier.uid.clone(), |retry| retry.uid.clone()),
        requested_by: earlier.requesters.clone(),
        unknown: unknown(plan, status, &again),
        approvals: approvals(plan, status),
    });
    Ok(())
}

/// The first step that would start a run a second time, and the run that it started.
fn runs_again(plan: &Plan, status: &RunStatus, again: &BTreeSet<usize>) -> Option<(String, String)> {
    status.steps.iter().find_map(|entry| {
        let child = entry.run.as_ref()?;
        let index = plan.index_of(&entry.name).filter(|index| *index < plan.main)?;
        let step = &plan.steps[index];
        // the same key is the same run
        let is_repeated = again.contains(&index) || !is_kept(step, entry);
        (is_repeated && !step.kind.is_idempotent()).then(|| (entry.name.clone(), child.clone()))
    })
}

/// The steps that must not be repeated before people say that the call did not happen.
fn unknown(plan: &Plan, status: &RunStatus, again: &BTreeSet<usize>) -> Vec<String> {
    let before = status.retry.iter().flat_map(|retry| &retry.unknown);
    let before: BTreeSet<&String> = before.collect();
    let steps = plan.steps[..plan.main].iter().enumerate();
    let steps = steps.filter(|(index, step)| {
        let Some(entry) = current(status, step) else {
            return before.contains(&step.name);
        };
        let error = entry.error.as_ref();
        let is_unknown = error.is_some_and(|error| error.reason == StepReason::OutcomeUnknown);
        let is_repeated = again.contains(index) || !is_kept(step, entry);
        step.at_most_once && is_repeated && (is_unknown || before.contains(&step.name))
    });
    steps.map(|(_, step)| step.name.clone()).collect()
}

/// A step and all that come after it.
fn after(plan: &Plan, first: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([first]);
    loop {
        let next: Vec<usize> = (0..plan.main)
            .filter(|step| !found.contains(step))
            .filter(|step| {
                plan.steps[*step]
                    .needs
                    .iter()
                    .any(|needed| found.contains(&needed.step))
            })
            .collect();
        if next.is_empty() {
            return found;
        }
        found.extend(next);
    }
}

/// Whether a step was performed that would be performed a second time.
fn must_not_repeat(step: &PlannedStep, status: &RunStatus, is_again: bool) -> bool {
    let is_begun = |entry: &&StepStatus| entry.attempt > 0 || entry.items.is_some();
    let Some(entry) = current(status, step).filter(|entry| step.at_most_once && is_begun(entry)) else {
        return false;
    };
    // some of its items were performed
    if is_again && entry.items.is_some() {
        return true;
    }
    match entry.phase {
        StepPhase::Succeeded => is_again,
        // if it is unknown whether it was performed, people are asked
        StepPhase::Failed | StepPhase::Cancelled | StepPhase::Skipped | StepPhase::Omitted => false,
        StepPhase::Running | StepPhase::Retrying | StepPhase::Waiting => true,
    }
}

fn taken_over(plan: &Plan, again: &BTreeSet<usize>, status: &RunStatus) -> Vec<StepStatus> {
    let stands = |entry: &&StepStatus| {
        let Some(index) = plan.index_of(&entry.name).filter(|index| *index < plan.main) else {
            return false;
        };
        let step = &plan.steps[index];
        if entry.repeated == Some(true) {
            return step
                .loop_end
                .is_some_and(|last| !begins_in(plan, &plan.steps[last].name, again));
        }
        entry.item.is_none()
            && !again.contains(&index)
            && step.kind.question().is_none()
            && is_kept(step, entry)
    };
    let entries = status.steps.iter().filter(stands);
    entries
        .map(|entry| StepStatus {
            taken_over: Some(true),
            ..entry.clone()
        })
        .collect()
}

/// Whether the loop that this step ends begins among these.
fn begins_in(plan: &Plan, last: &str, steps: &BTreeSet<usize>) -> bool {
    let Some(last) = plan.index_of(last) else {
        return true;
    };
    let mut loops = plan.steps[last].loops();
    // of several that end with one step, the longest says where it begins
    loops.all(|(_, of_loop)| of_loop.iter().all(|step| steps.contains(step)))
}

/// The entry of the newest pass of a step.
fn current<'a>(status: &'a RunStatus, step: &PlannedStep) -> Option<&'a StepStatus> {
    let mut newest = status.steps.iter().rev();
    newest.find(|entry| entry.name == step.name && entry.item.is_none() && entry.repeated != Some(true))
}

/// Whether the flow goes on from this outcome.
fn is_kept(step: &PlannedStep, entry: &StepStatus) -> bool {
    match entry.phase {
        StepPhase::Succeeded | StepPhase::Skipped | StepPhase::Omitted => true,
        StepPhase::Failed => step.continues_after_failure,
        StepPhase::Running | StepPhase::Retrying | StepPhase::Waiting | StepPhase::Cancelled => false,
    }
}

/// Who approved what, in the newest pass.
fn approvals(plan: &Plan, status: &RunStatus) -> Vec<EarlierApproval> {
    let main = plan.steps[..plan.main].iter();
    let asked = main.filter(|step| step.kind.question().is_some());
    asked
        .filter_map(|step| {
            let entry = current(status, step)?;
            let earlier = status.retry.iter().flat_map(|retry| &retry.approvals);
            match &entry.decision {
                Some(decision)
                    if entry.outcome == Some(StepOutcome::Approved)
                        && decision.verdict == Verdict::Approve =>
                {
                    Some(EarlierApproval {
                        step: step.name.clone(),
                        by: decision.by.clone(),
                        at: decision.at.clone(),
                    })
                }
                Some(_) | None => earlier.clone().find(|known| known.step == step.name).cloned(),
            }
        })
        .collect()
}
