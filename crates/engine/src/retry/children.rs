//! Runs that the steps of a retried run started. A step that is done again starts a run that goes on from the earlier one,
//! so that nothing in it is performed twice.

use std::collections::{BTreeMap, BTreeSet};

use signoff_api::{
    RunPhase,
    items::ItemRanges,
    names,
    retry::EarlierChild,
    run::{StepOutcome, StepPhase, StepStatus},
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

/// What shows that a run exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It is one of an item that succeeded.
    Done,
    /// The state names it, or an earlier retry has seen it.
    Named,
    /// A step that has begun may have started it.
    Perhaps,
    /// What the step started in a pass is not known any more.
    Forgotten,
}

/// A run that a step may have started.
struct Started {
    /// The step.
    index: usize,
    known: Known,
    item: Option<i64>,
    /// The runs of the step in that pass.
    of: EarlierChild,
}

impl Started {
    fn name(&self) -> String {
        self.of.name(self.item)
    }

    /// Whether it has to be looked at.
    fn is_read(&self, selection: &Selection) -> bool {
        match self.known {
            Known::Done | Known::Forgotten => false,
            Known::Named => selection.repeats(self.index),
            Known::Perhaps => true,
        }
    }
}

/// The names of the runs to look at before a run is retried.
pub(super) fn to_read(plan: &Plan, earlier: &EarlierRun, selection: &Selection) -> Vec<String> {
    let all = started(plan, earlier).into_iter();
    let names: BTreeSet<String> = all
        .filter(|run| run.is_read(selection))
        .map(|run| run.name())
        .collect();
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
    for run in started(plan, earlier) {
        let is_same = |other: &EarlierChild| {
            other.step == run.of.step && other.iteration == run.of.iteration && other.is_of(run.item)
        };
        if !kept.iter().any(is_same) && goes_on(earlier, &run, selection)? {
            keep(&mut kept, run);
        }
    }
    Ok(kept)
}

/// Whether the next run of a step goes on from this one.
fn goes_on(earlier: &EarlierRun, run: &Started, selection: &Selection) -> Result<bool, RetryRefused> {
    let is_repeated = selection.repeats(run.index);
    let step = || run.of.step.clone();
    if is_repeated && (run.of.iteration > MAX_PASSES || run.known == Known::Forgotten) {
        let run = earlier.name.clone();
        return Err(RetryRefused::TooManyPasses { run, step: step() });
    }
    if !run.is_read(selection) {
        return Ok(run.known != Known::Forgotten);
    }
    let name = run.name();
    let fact = earlier
        .children
        .get(&name)
        .filter(|fact| fact.parent == run.of.uid);
    match (fact, run.known) {
        (None, Known::Named) => Err(RetryRefused::ChildGone {
            step: step(),
            child: name,
        }),
        (None, Known::Done | Known::Perhaps | Known::Forgotten) => Ok(false),
        (Some(fact), _) if fact.has_begun && is_repeated => may_go_on(&run.of.step, &name, fact),
        (Some(fact), _) => Ok(fact.has_begun),
    }
}

/// Adds a run to those of the same step, pass and origin.
fn keep(kept: &mut Vec<EarlierChild>, run: Started) {
    let Started { item, of, .. } = run;
    let same = kept
        .iter_mut()
        .find(|other| other.step == of.step && other.iteration == of.iteration && other.uid == of.uid);
    match (same.and_then(|same| same.items.as_mut()), item) {
        (Some(items), Some(item)) => items.insert(item),
        (_, item) => kept.push(EarlierChild {
            items: item.map(ItemRanges::of),
            ..of
        }),
    }
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
        let started = entry.items.iter().flat_map(|items| &items.started);
        let item = started.flat_map(ItemRanges::iter).next();
        let of_item = item.map(|item| {
            let (run, uid) = (&earlier.name, &earlier.uid);
            names::item_child_run_name(run, uid, &entry.name, entry.iteration, item)
        });
        let child = entry.run.clone().or(of_item)?;
        let index = plan.index_of(&entry.name).filter(|index| *index < plan.main)?;
        let kind = &plan.steps[index].kind;
        // the same key is the same run
        let is_new = !kind.starts_child() && !kind.is_idempotent();
        (is_new && selection.repeats(index)).then(|| (entry.name.clone(), child))
    })
}

/// All runs that steps may have started and wait for, those of the last run first.
fn started(plan: &Plan, earlier: &EarlierRun) -> Vec<Started> {
    let main = plan.steps[..plan.main].iter().enumerate();
    let steps = main.filter(|(_, step)| step.kind.starts_child());
    let own = steps.flat_map(|(index, step)| own(earlier, index, step));
    let before = earlier.status.retry.iter().flat_map(|retry| &retry.children);
    let before = before.filter_map(|of| {
        let index = plan.index_of(&of.step).filter(|index| *index < plan.main)?;
        let items: Vec<Option<i64>> = match &of.items {
            None => vec![None],
            Some(items) => items.iter().map(Some).collect(),
        };
        Some(items.into_iter().map(move |item| Started {
            index,
            known: if is_done(earlier, of, item) {
                Known::Done
            } else {
                Known::Named
            },
            item,
            of: of.clone(),
        }))
    });
    own.chain(before.flatten()).collect()
}

/// Whether an item went well, though an earlier run did it.
fn is_done(earlier: &EarlierRun, of: &EarlierChild, item: Option<i64>) -> bool {
    let mut entries = earlier.status.steps.iter();
    let entry = entries
        .find(|entry| entry.name == of.step && entry.iteration == of.iteration && entry.item.is_none());
    let items = entry.and_then(|entry| entry.items.as_ref());
    let outcome = items.and_then(|items| items.outcome(item?));
    outcome == Some(StepOutcome::Succeeded)
}

/// The runs that a step of the last run may have started.
fn own(earlier: &EarlierRun, index: usize, step: &PlannedStep) -> Vec<Started> {
    let of_step = || {
        earlier
            .status
            .steps
            .iter()
            .filter(|entry| entry.name == step.name)
    };
    let entries: BTreeMap<i64, &StepStatus> = of_step()
        .filter(|entry| entry.item.is_none())
        .map(|entry| (entry.iteration, entry))
        .collect();
    let newest = entries.last_key_value().map_or(0, |(newest, _)| *newest);
    // one pass more than may be looked at is one too many
    let passes = 1..=newest.min(MAX_PASSES + 1);
    let passes = passes.flat_map(|iteration| {
        let runs = match (entries.get(&iteration), &step.for_each) {
            (Some(entry), _) if entry.taken_over == Some(true) || is_without_run(entry) => vec![],
            (Some(entry), None) if entry.run.is_some() => vec![(None, Known::Named)],
            (Some(_) | None, None) => vec![(None, Known::Perhaps)],
            (Some(entry), Some(for_each)) => {
                let open = of_step().filter(|item| item.iteration == iteration && item.item.is_some());
                of_items(entry, &open.collect::<Vec<_>>(), for_each.parallel)
            }
            (None, Some(_)) => vec![(None, Known::Forgotten)],
        };
        let runs = runs.into_iter().map(move |(item, known)| Started {
            index,
            known,
            item,
            of: EarlierChild {
                step: step.name.clone(),
                iteration,
                items: None,
                run: earlier.name.clone(),
                uid: earlier.uid.clone(),
            },
        });
        runs.collect::<Vec<_>>()
    });
    passes.collect()
}

/// The items of a step that may have started a run: those that did, those that were under way, and those that were next.
fn of_items(of_step: &StepStatus, open: &[&StepStatus], parallel: usize) -> Vec<(Option<i64>, Known)> {
    let Some(items) = &of_step.items else {
        return vec![];
    };
    let mut next = 0;
    let all = (0..items.count).filter_map(|item| {
        let entry = open.iter().find(|entry| entry.item == Some(item));
        let known = match (entry, items.outcome(item)) {
            (Some(entry), None) if entry.run.is_some() => Known::Named,
            (Some(_), None) => Known::Perhaps,
            (_, Some(outcome)) => {
                let is_done = outcome == StepOutcome::Succeeded;
                items
                    .has_started(item)
                    .then_some(if is_done { Known::Done } else { Known::Named })?
            }
            (None, None) => {
                next += 1;
                (next <= parallel).then_some(Known::Perhaps)?
            }
        };
        Some((Some(item), known))
    });
    all.collect()
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
