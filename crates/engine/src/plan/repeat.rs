//! Loops: what `repeat` says, and whether loops lie within or beside each other.

use std::{collections::BTreeSet, time::Duration};

use signoff_expression::StaticType;

use super::{PlannedStep, Problem, place::Place};
use crate::expression::{EvaluationError, Expression, Scope, Template};
use signoff_api::{HumanDuration, Step, reason::StepReason, step::Repeat};

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
    every: Option<Template>,
    pub(crate) max: i64,
}

#[derive(Clone, Debug)]
enum Condition {
    Until(Expression),
    While(Expression),
}

/// Why it cannot be said how a loop goes on.
#[derive(Debug)]
pub(crate) struct RepeatFailure {
    pub(crate) reason: StepReason,
    pub(crate) message: String,
}

impl RepeatFailure {
    fn of(field: &str, error: &EvaluationError) -> Self {
        Self {
            reason: error.reason(),
            message: format!("repeat.{field}: {error}"),
        }
    }
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
                    place.problem("repeat.from", format!("there is no step {name}"));
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
        let every = every.as_ref().and_then(|every| pause(place, every));
        Some(Self {
            first,
            again,
            condition: condition?,
            every,
            max: max.unwrap_or(DEFAULT_MAX),
        })
    }

    /// Whether the loop is over after a pass.
    pub(crate) fn is_over(&self, scope: &Scope) -> Result<bool, RepeatFailure> {
        match &self.condition {
            Condition::Until(until) => until
                .holds(scope)
                .map_err(|error| RepeatFailure::of("until", &error)),
            Condition::While(holds) => holds
                .holds(scope)
                .map(|holds| !holds)
                .map_err(|error| RepeatFailure::of("while", &error)),
        }
    }

    /// How long to pause before the next pass.
    pub(crate) fn pause(&self, scope: &Scope) -> Result<Option<Duration>, RepeatFailure> {
        let Some(every) = &self.every else {
            return Ok(None);
        };
        let text = every
            .text(scope)
            .map_err(|error| RepeatFailure::of("every", &error))?;
        parsed(&text).map(Some).map_err(|message| RepeatFailure {
            reason: StepReason::InvalidTime,
            message: format!("repeat.every: {message}"),
        })
    }
}

fn pause(place: &mut Place<'_, '_>, every: &str) -> Option<Template> {
    let template = place.template("repeat.every", every)?;
    if let Some(literal) = template.as_literal() {
        if let Err(message) = parsed(literal) {
            place.problem("repeat.every", message);
        }
    } else if let Some(expression) = template.as_expression() {
        let type_ = place.type_of(expression);
        if !matches!(type_, StaticType::Dyn | StaticType::STRING | StaticType::OneOf(_)) {
            let message = format!("a duration is a text such as 30s, not {type_}");
            place.mistyped("repeat.every", message);
        }
    } else {
        place.problem(
            "repeat.every",
            "it is a duration, or one ${…} expression that gives one",
        );
    }
    Some(template)
}

fn parsed(text: &str) -> Result<Duration, String> {
    let duration: HumanDuration = text.parse().map_err(|error| format!("{error}"))?;
    if duration.duration() < SHORTEST_PAUSE {
        return Err(format!("{text:?} is shorter than 1s"));
    }
    Ok(duration.duration())
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
