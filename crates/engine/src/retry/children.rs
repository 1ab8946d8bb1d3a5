//! Runs that the steps of a retried run started. A step that is done again starts a run that goes on from the earlier one,
//! so that nothing in it is performed twice.

use std::collections::{BTreeMap, BTreeSet};

use signoff_api::{
    RunPhase,
    retry::EarlierChild,
    run::{StepPhase, StepStatus},
};

use super::{EarlierRun, RetryRefused, Selection, current, is_kept};
use crate::plan::{Plan, PlannedStep};

/// Most passes of a step whose runs are looked at.
const MAX_PASSES: i64 = 200;

/// What is known of a run that a step of an earlier run started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildFact {
    /// Uid of the run that has the step.
    pub parent: String,
    /// Its phase.
    pub phase: RunPhase,
    /// Whether it has anything to go on from. A run that was to retry another, and could not, has not.
    pub has_begun: bool,
    /// Name of the run that retries it.
    pub retried_by: Option<String>,
}

/// Those that are there, by name.
pub type ChildFacts = BTreeMap<String, ChildFact>;

/// Where it is known from that a run exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The state names it, or an earlier retry has seen it.
    Named,
    /// A step that has begun may have started it.
    Perhaps,
}

/// The names of the runs to look at before a run is retried.
pub(super) fn to_read(plan: &Plan, earlier: &EarlierRun, selection: &Selection) -> Vec<String> {
    let all = started(plan, earlier).into_iter();
    let wanted = all.filter(|(step, known, _)| *known == Known::Perhaps || selection.repeats(*step));
    let names: BTreeSet<String> = wanted.map(|(.., child)| child.name()).collect();
    names.into_iter().collect()
}

/// The runs on which the runs go on that a retry starts.
pub(super) fn taken_over(
    plan: &Plan,
    earlier: &EarlierRun,
    selection: &Selection,
) -> Result<Vec<EarlierChild>, RetryRefused> {
    if let Some((step, run)) = detached(plan, earlier, selection) {
        return Err(RetryRefused::RanFlow {
            run: earlier.name.clone(),
            step,
            child: run,
        });
    }
    let mut kept: Vec<EarlierChild> = vec![];
    for (index, known, child) in started(plan, earlier) {
        let is_same = |other: &EarlierChild| other.step == child.step && other.iteration == child.iteration;
        if kept.iter().any(is_same) {
            continue;
        }
        let is_repeated = selection.repeats(index);
        if is_repeated && child.iteration > MAX_PASSES {
            return Err(RetryRefused::TooManyPasses {
                run: earlier.name.clone(),
                step: child.step,
            });
        }
        let name = child.name();
        let fact = earlier
            .children
            .get(&name)
            .filter(|fact| fact.parent == child.uid);
        let goes_on = match fact {
            None if known == Known::Named && is_repeated => {
                return Err(RetryRefused::ChildGone {
                    step: child.step,
                    child: name,
                });
            }
            None => known == Known::Named,
            Some(fact) => fact.has_begun && (!is_repeated || may_go_on(&child.step, &name, fact)?),
        };
        if goes_on {
            kept.push(child);
        }
    }
    Ok(kept)
}

/// Whether a run that has begun can be gone on from.
fn may_go_on(step: &str, child: &str, fact: &ChildFact) -> Result<bool, RetryRefused> {
    let (step, child) = (step.to_owned(), child.to_owned());
    if !fact.phase.is_finished() {
        return Err(RetryRefused::ChildNotEnded { step, child });
    }
    match &fact.retried_by {
        // what came of it is taken over as it is
        Some(_) if fact.phase == RunPhase::Succeeded => Ok(true),
        Some(by) => Err(RetryRefused::ChildRetried {
            step,
            child,
            by: by.clone(),
        }),
        None => Ok(true),
    }
}

/// The first step that would start a run a second time that nobody waits for, and the run.
fn detached(plan: &Plan, earlier: &EarlierRun, selection: &Selection) -> Option<(String, String)> {
    earlier.status.steps.iter().find_map(|entry| {
        let child = entry.run.as_ref()?;
        let index = plan.index_of(&entry.name).filter(|index| *index < plan.main)?;
        let kind = &plan.steps[index].kind;
        // the same key is the same run
        let is_new = !kind.starts_child() && !kind.is_idempotent();
        (is_new && selection.repeats(index)).then(|| (entry.name.clone(), child.clone()))
    })
}

/// All runs that steps may have started and wait for, those of the last run first.
fn started(plan: &Plan, earlier: &EarlierRun) -> Vec<(usize, Known, EarlierChild)> {
    let main = plan.steps[..plan.main].iter().enumerate();
    let steps = main.filter(|(_, step)| step.kind.starts_child());
    let own = steps.flat_map(|(index, step)| {
        let of_step = own(earlier, step);
        of_step
            .into_iter()
            .map(move |(known, child)| (index, known, child))
    });
    let before = earlier.status.retry.iter().flat_map(|retry| &retry.children);
    let before = before.filter_map(|child| {
        let index = plan.index_of(&child.step).filter(|index| *index < plan.main)?;
        Some((index, Known::Named, child.clone()))
    });
    own.chain(before).collect()
}

/// The runs that a step of the last run may have started.
fn own(earlier: &EarlierRun, step: &PlannedStep) -> Vec<(Known, EarlierChild)> {
    let entries: BTreeMap<i64, &StepStatus> = earlier
        .status
        .steps
        .iter()
        .filter(|entry| entry.name == step.name && entry.item.is_none())
        .map(|entry| (entry.iteration, entry))
        .collect();
    let newest = entries.last_key_value().map_or(0, |(newest, _)| *newest);
    // one pass more than may be looked at is one too many
    let passes = 1..=newest.min(MAX_PASSES + 1);
    let passes = passes.filter_map(|iteration| {
        let known = match entries.get(&iteration) {
            Some(entry) if entry.taken_over == Some(true) || is_without_run(entry) => return None,
            Some(entry) if entry.run.is_some() => Known::Named,
            Some(_) | None => Known::Perhaps,
        };
        let child = EarlierChild {
            step: step.name.clone(),
            iteration,
            run: earlier.name.clone(),
            uid: earlier.uid.clone(),
        };
        Some((known, child))
    });
    passes.collect()
}

/// Whether a step was passed over.
fn is_without_run(entry: &StepStatus) -> bool {
    matches!(entry.phase, StepPhase::Skipped | StepPhase::Omitted)
}

impl Selection {
    /// The steps from the first one on, and those that did not end well.
    pub(super) fn new(plan: &Plan, again: &BTreeSet<usize>, earlier: &EarlierRun) -> Self {
        let main = plan.steps[..plan.main].iter().enumerate();
        let repeated = main.filter(|(index, step)| {
            let entry = current(&earlier.status, step);
            again.contains(index) || !entry.is_some_and(|entry| is_kept(step, entry))
        });
        Self(repeated.map(|(index, _)| index).collect())
    }

    fn repeats(&self, step: usize) -> bool {
        self.0.contains(&step)
    }
}
