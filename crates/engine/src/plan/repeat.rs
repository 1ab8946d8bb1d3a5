//! Loops: what `repeat` says, and whether loops lie within or beside each other.

use std::{collections::BTreeSet, time::Duration};

use super::{AtLeast, DurationPlan, PlannedStep, Problem, Unusable, place::Place};
use crate::expression::{EvaluationError, Expression, Scope};
use signoff_api::{HumanDuration, Step, step::Repeat};

const DEFAULT_MAX: i64 = 100;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// A `repeat` with its expressions parsed.
#[derive(Clone, Debug)]
pub(crate) struct RepeatPlan {
    /// The first step of the loop.
    pub(crate) first: usize,
    /// Every step of the loop.
    pub(crate) again: BTreeSet<usize>,
    condition: Condition,
    every: Option<DurationPlan>,
    pub(crate) max: i64,
}

#[derive(Clone, Debug)]
enum Condition {
    Until(Expression),
    While(Expression),
}

impl RepeatPlan {
    /// Parses and resolves it; the place is that of the step.
    pub(super) fn compile(
        repeat: &Repeat,
        steps: &[Step],
        i: usize,
        place: &mut Place<'_, '_>,
    ) -> Option<Self> {
        let Repeat {
            from,
            until,
            while_,
            every,
            max,
        } = repeat;
        let first = match from {
            None => i,
            Some(name) => {
                let Some(first) = place.step_named(name) else {
                    if place.knows_all_names() {
                        place.problem("repeat.from", format!("there is no step {name}"));
                    }
                    return None;
                };
                if !place.has_begun(first) {
                    place.problem(
                        "repeat.from",
                        format!("step {name} does not come before this one"),
                    );
                    return None;
                }
                first
            }
        };
        let again = place.loop_from(first);
        for step in &again {
            if steps[*step].kind.rules().has_effect && !place.has_begun(*step) {
                let message = format!(
                    "step {} depends on {} and has an effect, so it must come before this step",
                    steps[*step].name, steps[first].name
                );
                place.problem("repeat.from", message);
            }
        }
        let condition = match (until, while_) {
            (Some(until), None) => place.condition("repeat.until", until, &[]).map(Condition::Until),
            (None, Some(holds)) => place.condition("repeat.while", holds, &[]).map(Condition::While),
            (None, None) | (Some(_), Some(_)) => {
                place.problem("repeat", "repeat has either until or while");
                None
            }
        };
        let every = every.as_ref().and_then(|every| {
            let field = "repeat.every";
            DurationPlan::compile(place, field, field, every, AtLeast::both(SHORTEST_PAUSE))
        });
        Some(Self {
            first,
            again,
            condition: condition?,
            every,
            max: max.unwrap_or(DEFAULT_MAX),
        })
    }

    /// Whether the loop is over after a pass.
    pub(crate) fn is_over(&self, scope: &Scope) -> Result<bool, Unusable> {
        let of = |field: &str, error: &EvaluationError| Unusable {
            reason: error.reason(),
            message: format!("repeat.{field}: {error}"),
        };
        match &self.condition {
            Condition::Until(until) => until.holds(scope).map_err(|error| of("until", &error)),
            Condition::While(holds) => {
                let holds = holds.holds(scope).map_err(|error| of("while", &error))?;
                Ok(!holds)
            }
        }
    }

    /// How long to pause before the next pass.
    pub(crate) fn pause(&self, scope: &Scope) -> Result<Option<Duration>, Unusable> {
        let every = self.every.as_ref().map(|every| every.value(scope)).transpose()?;
        Ok(every.as_ref().map(HumanDuration::duration))
    }
}

/// Loops that lie across each other, so that it cannot be said what belongs to a pass.
pub(super) fn across(steps: &[PlannedStep]) -> Vec<Problem> {
    let loops: Vec<(usize, &str, &BTreeSet<usize>)> = steps
        .iter()
        .enumerate()
        .flat_map(|(i, step)| step.loops().map(move |(field, again)| (i, field, again)))
        .collect();
    let mut problems = Vec::new();
    for (n, (last, field, again)) in loops.iter().enumerate() {
        let crosses = loops[..n].iter().find(|(_, _, other)| {
            !again.is_disjoint(other) && !again.is_subset(other) && !other.is_subset(again)
        });
        if let Some((other, ..)) = crosses {
            problems.push(Problem {
                field: format!("steps[{last}].{field}"),
                offset: None,
                message: format!(
                    "this loop and that of step {} lie across each other: one must lie within the other, or beside it",
                    steps[*other].name
                ),
            });
        }
    }
    problems
}

/// Lets every step know the innermost loop that it is in.
pub(super) fn innermost(steps: &mut [PlannedStep]) {
    let loops: Vec<(usize, BTreeSet<usize>)> = steps
        .iter()
        .enumerate()
        .flat_map(|(last, step)| step.loops().map(move |(_, again)| (last, again.clone())))
        .collect();
    for (i, step) in steps.iter_mut().enumerate() {
        let around = loops.iter().filter(|(_, again)| again.contains(&i));
        step.loop_end = around.min_by_key(|(_, again)| again.len()).map(|(last, _)| *last);
    }
}
