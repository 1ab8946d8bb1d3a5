//! Retries: a run that goes on from a run that ended badly, with the same release and the same inputs.
//!
//! The outcomes of the steps before the first one that is done again are taken over. Approvals are asked again, and nothing
//! after them begins before they are decided. A step that started a run starts another one, which retries that.

mod children;

use std::collections::BTreeSet;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

pub use self::children::{ChildFact, ChildFacts};
use super::plan::{Plan, PlannedStep};
use signoff_api::{
    Digest, RunPhase, RunStatus, Verdict, condition,
    items::{EndedItems, ItemsStatus},
    json::JsonObject,
    reason::StepReason,
    retry::{EarlierApproval, EarlierItems, RetryStatus},
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
    /// Whether the same step of a run that is retried started both runs.
    pub is_child: bool,
    /// The runs that its steps started, as far as they are there.
    pub children: ChildFacts,
}

/// The steps that are done again.
struct Selection(BTreeSet<usize>);

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
    /// That run was of another step.
    #[error("run {0} was not started by this step")]
    OtherParent(String),
    /// The steps of a run that nobody waits for would be done twice.
    #[error(
        "step {step} of run {run} started run {child} and does not wait for it (detached), so its steps would be performed again; retry from a later step, or retry {child}"
    )]
    RanFlow {
        /// The run that was to be retried.
        run: String,
        /// The step.
        step: String,
        /// The run that it started.
        child: String,
    },
    /// It is not known what was done in it.
    #[error("run {child}, which step {step} started, does not exist any more, so it cannot go on")]
    ChildGone {
        /// The step.
        step: String,
        /// The run that it started.
        child: String,
    },
    /// It goes on by itself.
    #[error("run {child}, which step {step} started, has not ended")]
    ChildNotEnded {
        /// The step.
        step: String,
        /// The run that it started.
        child: String,
    },
    /// Another run goes on from it.
    #[error("run {child}, which step {step} started, is retried by run {by} already")]
    ChildRetried {
        /// The step.
        step: String,
        /// The run that it started.
        child: String,
        /// The run that retries that one.
        by: String,
    },
    /// There are too many runs to look at.
    #[error(
        "it is not known any more what step {step} of run {run} did in all its passes; start another run instead"
    )]
    TooManyPasses {
        /// The run that was to be retried.
        run: String,
        /// The step.
        step: String,
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

/// The names of the runs to look at before a run is retried: those that its steps may have started.
pub fn children_to_read(plan: &Plan, from: Option<&str>, earlier: &EarlierRun) -> Vec<String> {
    match again(plan, from, &earlier.status) {
        // nothing in it goes on
        _ if earlier.status.phase == RunPhase::Succeeded => vec![],
        Ok(again) => children::to_read(plan, earlier, &Selection::new(plan, &again, earlier)),
        Err(_) => vec![],
    }
}

/// Takes over what stands of an earlier run into the state of a run that has not begun. Without a first step, the first one
/// that did not end well is done again. A run that a step started and that succeeded is taken over whole.
///
/// # Errors
/// If the run cannot be retried so.
pub fn take_over(
    plan: &Plan,
    from: Option<&str>,
    earlier: &EarlierRun,
    (digest, inputs): (&Digest, &JsonObject),
    state: &mut RunStatus,
) -> Result<(), RetryRefused> {
    let run = || earlier.name.clone();
    let EarlierRun { status, .. } = earlier;
    if !status.phase.is_finished() {
        return Err(RetryRefused::NotEnded(run()));
    }
    let has_succeeded = status.phase == RunPhase::Succeeded;
    if has_succeeded && !earlier.is_child {
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
    if has_succeeded {
        take_over_whole(earlier, state);
        return Ok(());
    }
    let again = again(plan, from, status)?;
    if let Some(step) = plan.steps[..plan.main].iter().enumerate().find(|(index, step)| {
        must_not_repeat(step, status, again.contains(index)) || may_be_repeated(plan, step, status, &again)
    }) {
        let step = step.1.name.clone();
        return Err(RetryRefused::Performed { run: run(), step });
    }
    let selection = Selection::new(plan, &again, earlier);
    let children = children::taken_over(plan, earlier, &selection)?;
    state.steps = taken_over(plan, &again, status);
    // loops that begin among the steps that are done again begin anew
    state.loops = status.loops.clone();
    state.loops.retain(|last, _| !begins_in(plan, last, &again));
    for step in &mut state.loops.values_mut() {
        step.resume_at = None;
    }
    state.retry = Some(RetryStatus {
        unknown: unknown(plan, status, &again),
        approvals: approvals(plan, status),
        children,
        items: items_done(plan, &again, status),
        ..of(earlier)
    });
    Ok(())
}

/// Ends a run whose state was taken over whole. Whether it is one.
pub fn end_taken_over(state: &mut RunStatus, generation: Option<i64>, now: Timestamp) -> bool {
    let is_whole = state.phase == RunPhase::Succeeded;
    if is_whole {
        state.observed_generation = generation;
        state.finished_at = Some(MicroTime(now));
        condition::set_run(
            &mut state.conditions,
            condition::ConditionStatus::True,
            &state.phase.to_string(),
            "",
            generation,
            now,
        );
    }
    is_whole
}

/// What came of a run that succeeded, without performing anything again.
fn take_over_whole(earlier: &EarlierRun, state: &mut RunStatus) {
    let entries = earlier.status.steps.iter().cloned();
    let entries = entries.map(|entry| StepStatus {
        taken_over: Some(true),
        // its questions belong to the earlier run
        approval: None,
        ..entry
    });
    state.steps = entries.collect();
    state.loops = earlier.status.loops.clone();
    state.output.clone_from(&earlier.status.output);
    state.phase = RunPhase::Succeeded;
    state.retry = Some(of(earlier));
}

/// What is always kept of the run that is retried.
fn of(earlier: &EarlierRun) -> RetryStatus {
    let before = earlier.status.retry.as_ref();
    RetryStatus {
        run: earlier.name.clone(),
        uid: before.map_or_else(|| earlier.uid.clone(), |retry| retry.uid.clone()),
        requested_by: earlier.requesters.clone(),
        unknown: vec![],
        approvals: vec![],
        children: vec![],
        items: vec![],
    }
}

/// The steps from the first one that is done again on. There is none if all ended well.
fn again(plan: &Plan, from: Option<&str>, status: &RunStatus) -> Result<BTreeSet<usize>, RetryRefused> {
    let Some(from) = from.or_else(|| first_unfinished(plan, status)) else {
        return Ok(BTreeSet::new());
    };
    let first = plan
        .index_of(from)
        .filter(|step| *step < plan.main)
        .ok_or_else(|| RetryRefused::NoStep(from.to_owned()))?;
    let mut again = after(plan, first);
    // the process that was to call back ended with the earlier run
    while let Some(start) = starts_tied_process(plan, &again) {
        again.extend(after(plan, start));
    }
    Ok(again)
}

/// A step that is not done again, and starts the process for whose callback one waits that is.
fn starts_tied_process(plan: &Plan, again: &BTreeSet<usize>) -> Option<usize> {
    let mut steps = (0..plan.main).filter(|step| !again.contains(step));
    steps.find(|step| {
        let wait = plan.steps[*step].kind.tied_wait();
        wait.and_then(|wait| plan.index_of(wait))
            .is_some_and(|wait| again.contains(&wait))
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
    if let Some(entry) = current(status, step)
        && (is_again || !is_kept(step, entry))
        && step.kind.has_called_at_most_once(entry)
    {
        return true;
    }
    let Some(entry) = current(status, step).filter(|entry| step.at_most_once && is_begun(entry)) else {
        return false;
    };
    // some of its items were performed
    if entry.items.is_some() && (is_again || !is_kept(step, entry)) {
        return true;
    }
    match entry.phase {
        StepPhase::Succeeded => is_again,
        // if it is unknown whether it was performed, people are asked
        StepPhase::Failed | StepPhase::Cancelled | StepPhase::Skipped | StepPhase::Omitted => false,
        StepPhase::Running | StepPhase::Retrying | StepPhase::Waiting => true,
    }
}

/// Whether an earlier pass of a loop that begins anew performed what must not be repeated, or it is not known any more
/// whether one did.
fn may_be_repeated(plan: &Plan, step: &PlannedStep, status: &RunStatus, again: &BTreeSet<usize>) -> bool {
    let begins_anew = |last: usize| begins_in(plan, &plan.steps[last].name, again);
    let once = step.at_most_once || step.kind.calls_at_most_once();
    if !once || !step.loop_end.is_some_and(begins_anew) {
        return false;
    }
    let is_its = |entry: &&StepStatus| entry.name == step.name && entry.item.is_none();
    let passes: Vec<&StepStatus> = status.steps.iter().filter(is_its).collect();
    let newest = passes
        .iter()
        .map(|entry| entry.iteration)
        .max()
        .unwrap_or_default();
    let is_forgotten = usize::try_from(newest).unwrap_or(usize::MAX) > passes.len();
    let is_unknown = |entry: &StepStatus| {
        let error = entry.error.as_ref();
        error.is_some_and(|error| error.reason == StepReason::OutcomeUnknown)
    };
    let is_performed = |entry: &&StepStatus| {
        if !step.at_most_once {
            return entry.repeated == Some(true) && step.kind.has_called_at_most_once(entry);
        }
        let is_begun = entry.attempt > 0 || entry.items.is_some();
        let is_refused = entry.phase == StepPhase::Failed && entry.items.is_none() && !is_unknown(entry);
        entry.repeated == Some(true) && is_begun && !is_refused
    };
    is_forgotten || passes.iter().any(is_performed)
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

/// The items that were done of steps that did not end well, and before which nothing is done again.
fn items_done(plan: &Plan, again: &BTreeSet<usize>, status: &RunStatus) -> Vec<EarlierItems> {
    let main = plan.steps[..plan.main].iter();
    let steps = main.filter(|step| {
        let mut needed = step.needs.iter();
        step.for_each.is_some()
            && step.kind.question().is_none()
            && !needed.any(|needed| again.contains(&needed.step))
    });
    let begun = steps.filter_map(|step| {
        let waiting = status.retry.iter().flat_map(|retry| &retry.items);
        let Some(entry) = current(status, step) else {
            return waiting.clone().find(|known| known.step == step.name).cloned();
        };
        let items = entry
            .items
            .as_ref()
            .filter(|_| !is_kept(step, entry) && !is_without_output(entry))?;
        Some(EarlierItems {
            step: step.name.clone(),
            iteration: entry.iteration,
            items: only_done(items),
            output: entry.output.clone(),
        })
    });
    begun.collect()
}

/// Whether outputs of a step's items may be lost, or its items are others by now.
fn is_without_output(entry: &StepStatus) -> bool {
    entry.error.as_ref().is_some_and(|error| {
        matches!(
            error.reason,
            StepReason::OutputTooLarge | StepReason::StatusTooLarge | StepReason::InvalidItems
        )
    })
}

/// The items of a step that went well.
fn only_done(items: &ItemsStatus) -> ItemsStatus {
    let is_done = |ended: &&EndedItems| match ended.outcome {
        StepOutcome::Succeeded | StepOutcome::Callback | StepOutcome::Event | StepOutcome::Elapsed => true,
        StepOutcome::Failed
        | StepOutcome::Skipped
        | StepOutcome::Omitted
        | StepOutcome::Approved
        | StepOutcome::Rejected
        | StepOutcome::ChangesRequested
        | StepOutcome::TimedOut
        | StepOutcome::Cancelled => false,
    };
    ItemsStatus {
        ended: items.ended.iter().filter(is_done).cloned().collect(),
        started: None,
        errors: vec![],
        decisions: vec![],
        ..items.clone()
    }
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
        // one that ended the run ends it again
        StepPhase::Succeeded => !step.ends_run(),
        StepPhase::Skipped | StepPhase::Omitted => true,
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
