//! The order of steps: each after the one before it, or as `needs` says.

use std::collections::BTreeSet;

use super::{Problem, Unread};
use signoff_api::{Step, run::StepOutcome, step::Need};

/// A step that must be over first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    /// Its index.
    pub(crate) step: usize,
    /// The outcomes that will do; without them, all with which the run goes on, but not `Omitted`.
    pub(crate) outcomes: Option<Vec<StepOutcome>>,
}

impl Needed {
    /// Whether this outcome will do.
    pub(crate) fn takes(&self, outcome: StepOutcome) -> bool {
        match &self.outcomes {
            Some(outcomes) => outcomes.contains(&outcome),
            None => outcome != StepOutcome::Omitted,
        }
    }
}

/// For each step what it needs and everything that comes before it.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) needs: Vec<Vec<Needed>>,
    pub(super) ancestors: Vec<BTreeSet<usize>>,
    /// How many steps there are before those of `finally`.
    main: usize,
    /// Whether steps need each other in a circle, so that there is no order.
    pub(super) has_circle: bool,
}

impl Graph {
    /// Resolves names and refuses cycles.
    pub(super) fn of(steps: &[Step], unread: &Unread, problems: &mut Vec<Problem>) -> Self {
        let needs = resolve(steps, unread, problems);
        if let Some(cycle) = cycle(&needs) {
            let names: Vec<&str> = cycle.iter().map(|step| steps[*step].name.as_str()).collect();
            let message = format!("the steps need each other in a circle: {}", names.join(" needs "));
            problems.push(Problem {
                field: format!("steps[{}].needs", cycle[0]),
                offset: None,
                message,
            });
            return Self {
                ancestors: vec![(0..steps.len()).collect(); steps.len()],
                needs: vec![vec![]; steps.len()],
                main: steps.len(),
                has_circle: true,
            };
        }
        let ancestors = (0..steps.len()).map(|step| ancestors(step, &needs)).collect();
        Self {
            needs,
            ancestors,
            main: steps.len(),
            has_circle: false,
        }
    }

    /// The same with this many steps of `finally`, each of which comes after all others.
    pub(super) fn with_finally(mut self, count: usize) -> Self {
        for step in self.main..self.main + count {
            self.needs.push(vec![]);
            self.ancestors.push((0..step).collect());
        }
        self
    }

    /// The steps of a loop from one step to another: what comes after the first, but not after the last.
    pub(super) fn between(&self, first: usize, last: usize) -> BTreeSet<usize> {
        let mut steps = self.from(first);
        steps.retain(|step| *step == last || !self.ancestors[*step].contains(&last));
        steps
    }

    /// All steps but those of `finally`, each after those that come before it.
    pub(super) fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.main).collect();
        // what comes before a step has fewer before itself
        order.sort_by_key(|step| self.ancestors[*step].len());
        order
    }

    /// The step itself and every step that comes after it, but for those of `finally`, which come in every case.
    pub(super) fn from(&self, step: usize) -> BTreeSet<usize> {
        (0..self.main)
            .filter(|other| *other == step || self.ancestors[*other].contains(&step))
            .collect()
    }
}

fn resolve(steps: &[Step], unread: &Unread, problems: &mut Vec<Problem>) -> Vec<Vec<Needed>> {
    if steps.iter().all(|step| step.needs.is_none()) {
        let plain = |step| Needed { step, outcomes: None };
        return (0..steps.len())
            .map(|step: usize| step.checked_sub(1).map(plain).into_iter().collect())
            .collect();
    }
    let mut problem = |field: String, message: String| {
        problems.push(Problem {
            field,
            offset: None,
            message,
        });
    };
    let mut resolved = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        if step.needs.is_none() {
            let message = "this step has no `needs`, but another has: give every step `needs`; `needs: []` starts at once";
            problem(format!("steps[{i}]"), message.to_owned());
        }
        let mut needs = Vec::new();
        for (n, text) in step.needs.iter().flatten().enumerate() {
            match needed(steps, unread, text) {
                Ok(needed) => needs.extend(needed),
                Err(message) => problem(format!("steps[{i}].needs[{n}]"), message),
            }
        }
        resolved.push(needs);
    }
    resolved
}

/// The step that an entry of `needs` names, if it is there and can end as asked for; none if it may be one that could not
/// be read.
fn needed(steps: &[Step], unread: &Unread, text: &str) -> Result<Option<Needed>, String> {
    let name = Need::step_of(text);
    let Some(step) = steps.iter().position(|step| step.name == name) else {
        return if unread.others {
            Ok(None)
        } else {
            Err(format!("there is no step {name}"))
        };
    };
    let possible = steps[step].outcomes();
    let listed = |outcomes: &[StepOutcome]| {
        let words: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
        words.join(", ")
    };
    let need = Need::parse(text)
        .map_err(|error| format!("{error}; step {name} goes on with {}", listed(&possible)))?;
    for outcome in need.outcomes.iter().flatten() {
        if unread.knows(step) && !possible.contains(outcome) {
            return Err(format!(
                "the run never goes on after step {name} is {outcome}; it does with {}",
                listed(&possible)
            ));
        }
    }
    Ok(Some(Needed {
        step,
        outcomes: need.outcomes,
    }))
}

/// A cycle, starting and ending with the same step, if there is one.
fn cycle(needs: &[Vec<Needed>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Unseen,
        Open,
        Done,
    }
    fn visit(step: usize, needs: &[Vec<Needed>], marks: &mut [Mark], path: &mut Vec<usize>) -> bool {
        match marks[step] {
            Mark::Done => return false,
            Mark::Open => {
                let start = path.iter().position(|seen| *seen == step).unwrap_or(0);
                path.drain(..start);
                path.push(step);
                return true;
            }
            Mark::Unseen => {}
        }
        marks[step] = Mark::Open;
        path.push(step);
        if needs[step]
            .iter()
            .any(|next| visit(next.step, needs, marks, path))
        {
            return true;
        }
        path.pop();
        marks[step] = Mark::Done;
        false
    }
    let mut marks = vec![Mark::Unseen; needs.len()];
    (0..needs.len()).find_map(|step| {
        let mut path = Vec::new();
        visit(step, needs, &mut marks, &mut path).then_some(path)
    })
}

fn ancestors(step: usize, needs: &[Vec<Needed>]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let before = |step: usize| needs[step].iter().map(|needed| needed.step);
    let mut open: Vec<usize> = before(step).collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(before(next));
        }
    }
    found
}
