//! The guard rule from one pass of a loop to the next.

use std::collections::BTreeSet;

use signoff_expression::{Binary, Expr, Literal, Node};

use super::{Condition, Graph, Problem, Reads, answered, path_of, problem, reference, words};
use crate::expression::{Expression, Template};
use signoff_api::{Step, run::StepOutcome};

/// A loop: its last step, and all of its steps.
struct Loop {
    last: usize,
    again: BTreeSet<usize>,
    is_changes: bool,
}

/// Steps with an effect that would act in a next pass, whatever came of an approval in the pass before.
pub(super) fn not_guarded(
    approval: usize,
    continuing: &[StepOutcome],
    steps: &[Step],
    graph: &Graph,
    conditions: &[Condition],
    reads: &[Reads],
) -> Vec<Problem> {
    let name = &steps[approval].name;
    let loops = loops(steps, graph);
    let around = loops.iter().filter(|around| {
        // to go back from a question is what people ask for there
        around.again.contains(&approval) && !(around.is_changes && around.last == approval)
    });
    let mut found = BTreeSet::new();
    for around in around {
        let left: Vec<StepOutcome> = continuing
            .iter()
            .copied()
            .filter(|outcome| !is_over_with(*outcome, approval, around, steps, graph, conditions))
            .collect();
        if left.is_empty() {
            continue;
        }
        let looking = around.again.iter().copied();
        let looking = looking.filter(|step| reads[*step].previous_outcome(name));
        let answered = answered(&looking.collect(), steps, graph, reads);
        let after = graph.from(approval);
        let acting = around.again.iter().filter(|step| {
            steps[**step].kind.rules().has_effect && !after.contains(step) && !answered.contains(step)
        });
        found.extend(acting.map(|step| (*step, message(&steps[approval], &steps[around.last], &left))));
    }
    found
        .into_iter()
        .map(|(step, message)| problem(step, message))
        .collect()
}

fn message(approval: &Step, last: &Step, left: &[StepOutcome]) -> String {
    let (name, words_left, reference) = (&approval.name, words(left), reference(approval));
    let mut over = vec!["'Approved'".to_owned()];
    over.extend(left.iter().map(|outcome| format!("'{outcome}'")));
    let over = over.join(", ");
    format!(
        "NotGuarded: when approval {name} is {words_left}, the loop of step {} may begin another pass, in which this step does not look at that: \
         write `when: ${{{reference}.?previous.?outcome.orValue('Approved') == 'Approved'}}`, or end the loop, as with `until: \
         ${{{reference}.outcome in [{over}]}}`; to act in every case, list all outcomes",
        last.name
    )
}

/// The loops of a flow. What is wrong with one is told elsewhere.
fn loops(steps: &[Step], graph: &Graph) -> Vec<Loop> {
    let position = |name: &str| steps.iter().position(|step| step.name == name);
    let mut loops = Vec::new();
    for (last, step) in steps.iter().enumerate() {
        let question = step.kind.as_kind().question();
        let changes = question.and_then(|question| question.changes.as_ref());
        let changes = changes.and_then(|changes| Some((position(&changes.back_to)?, true)));
        let repeat = step.repeat.as_ref().and_then(|repeat| {
            let first = repeat.from.as_deref().map_or(Some(last), position)?;
            Some((first, false))
        });
        loops.extend(changes.into_iter().chain(repeat).map(|(first, is_changes)| Loop {
            last,
            again: graph.between(first, last),
            is_changes,
        }));
    }
    loops
}

/// Whether no pass follows one in which an approval had an outcome: its last step does not begin, or its condition says that it is over.
fn is_over_with(
    outcome: StepOutcome,
    approval: usize,
    around: &Loop,
    steps: &[Step],
    graph: &Graph,
    conditions: &[Condition],
) -> bool {
    let known = Known {
        step: &steps[approval].name,
        outcome: outcome.to_string(),
    };
    let omitted = graph.needs[around.last].iter().any(|needed| {
        needed.step == approval
            && needed
                .outcomes
                .as_ref()
                .is_some_and(|outcomes| !outcomes.contains(&outcome))
    });
    let skipped = match &conditions[around.last] {
        Condition::When(when) => known.truth(when.tree()) == Some(false),
        Condition::Always | Condition::Broken => false,
    };
    omitted || skipped || ends(&steps[around.last], &known)
}

/// Whether the condition of a loop says that it is over.
fn ends(last: &Step, known: &Known<'_>) -> bool {
    let Some(repeat) = &last.repeat else { return false };
    let says = |text: Option<&str>, over: bool| {
        let expression = text.and_then(expression);
        expression.is_some_and(|expression| known.truth(expression.tree()) == Some(over))
    };
    says(repeat.until.as_deref(), true) || says(repeat.while_.as_deref(), false)
}

fn expression(text: &str) -> Option<Expression> {
    Template::parse(text).ok()?.as_expression().cloned()
}

/// The outcome of a step, to reason with.
struct Known<'a> {
    step: &'a str,
    outcome: String,
}

impl Known<'_> {
    /// What a condition is where the step has the outcome, whatever else is; none if that depends on something else.
    fn truth(&self, expr: &Expr) -> Option<bool> {
        match &expr.node {
            Node::Literal(Literal::Bool(value)) => Some(*value),
            Node::Not(operand) => self.truth(operand).map(|value| !value),
            Node::And(left, right) => match (self.truth(left), self.truth(right)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Node::Or(left, right) => match (self.truth(left), self.truth(right)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Node::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                match self.truth(condition) {
                    Some(true) => self.truth(yes),
                    Some(false) => self.truth(no),
                    None => self.truth(yes).filter(|value| self.truth(no) == Some(*value)),
                }
            }
            Node::Binary(operator, left, right) => self.compared(*operator, left, right),
            _ => None,
        }
    }

    fn compared(&self, operator: Binary, left: &Expr, right: &Expr) -> Option<bool> {
        match operator {
            Binary::Equal => Some(self.text(left)? == self.text(right)?),
            Binary::NotEqual => Some(self.text(left)? != self.text(right)?),
            Binary::In => {
                let Node::List(items) = &right.node else {
                    return None;
                };
                let left = self.text(left)?;
                let items = items.iter().map(|(item, optional)| {
                    let text = self.text(item).filter(|_| !optional)?;
                    Some(text == left)
                });
                let items: Option<Vec<bool>> = items.collect();
                items.map(|items| items.contains(&true))
            }
            Binary::Add
            | Binary::Subtract
            | Binary::Multiply
            | Binary::Divide
            | Binary::Modulo
            | Binary::Less
            | Binary::LessOrEqual
            | Binary::Greater
            | Binary::GreaterOrEqual => None,
        }
    }

    /// The text that an operand is.
    fn text(&self, expr: &Expr) -> Option<String> {
        if let Node::Literal(Literal::String(text)) = &expr.node {
            return Some(text.clone());
        }
        let is_plain = matches!(
            &expr.node,
            Node::Select { optional: false, .. } | Node::Index { optional: false, .. }
        );
        let path = path_of(expr).filter(|_| is_plain)?;
        (path == ["steps", self.step, "outcome"]).then(|| self.outcome.clone())
    }
}
