//! The guard rule: an approval that lets the run go on after a "no", or no answer, is answered for by every later step
//! with an effect.
//!
//! Such a step looks at the outcome of the approval itself, in `when` or by `needs` with outcomes, or does so at a step
//! that does. A step that needs a step of a branch is omitted with it, so it is answered for as well.

use std::collections::BTreeSet;

use signoff_expression::{Expr, Literal, Node};

use super::{
    Problem,
    graph::{Graph, Needed},
};
use crate::expression::{Expression, Template};
use signoff_api::{Step, run::StepOutcome};

/// Steps with an effect that would act whatever comes of an approval before them.
pub(super) fn not_guarded(steps: &[Step], graph: &Graph) -> Vec<Problem> {
    let conditions: Vec<Condition> = steps.iter().map(Condition::of).collect();
    let mut problems = Vec::new();
    for (approval, step) in steps.iter().enumerate() {
        let continuing = step.continues_without_approval();
        if continuing.is_empty() {
            continue;
        }
        let answered = answered(approval, steps, graph, &conditions);
        let later = graph
            .from(approval)
            .into_iter()
            .filter(|later| *later != approval);
        for later in later.filter(|later| steps[*later].kind.rules().has_effect && !answered.contains(later))
        {
            problems.push(Problem {
                field: format!("steps[{later}]"),
                offset: None,
                message: message(step, &continuing),
            });
        }
    }
    problems
}

fn message(approval: &Step, continuing: &[StepOutcome]) -> String {
    let name = &approval.name;
    let words: Vec<String> = continuing.iter().map(ToString::to_string).collect();
    let words = words.join(" or ");
    let reference = if name.contains('-') {
        format!("steps['{name}']")
    } else {
        format!("steps.{name}")
    };
    format!(
        "NotGuarded: the run goes on when approval {name} is {words}, and this step does not look at that: write `when: \
         ${{{reference}.outcome == 'Approved'}}`, or `needs: [{name}.Approved]`; to act in every case, list all outcomes"
    )
}

/// The steps that answer for an approval.
fn answered(approval: usize, steps: &[Step], graph: &Graph, conditions: &[Condition]) -> BTreeSet<usize> {
    let mut answered = BTreeSet::from([approval]);
    // steps that are omitted on some outcome of the approval, so that a plain `needs` of them is a branch too
    let mut branches = BTreeSet::new();
    loop {
        let before = (answered.len(), branches.len());
        for (i, condition) in conditions.iter().enumerate() {
            if !graph.ancestors[i].contains(&approval) {
                continue;
            }
            let of_branch = graph.needs[i].iter().any(|needed| {
                is_narrower(needed, steps) && answered.contains(&needed.step)
                    || needed.outcomes.is_none() && branches.contains(&needed.step)
            });
            let listed = graph.needs[i]
                .iter()
                .any(|needed| needed.outcomes.is_some() && answered.contains(&needed.step));
            let reads = answered
                .iter()
                .any(|other| condition.reads_outcome(&steps[*other].name));
            if of_branch {
                branches.insert(i);
            }
            if of_branch || listed || reads {
                answered.insert(i);
            }
        }
        if before == (answered.len(), branches.len()) {
            return answered;
        }
    }
}

/// Whether an entry of `needs` leaves out an outcome with which the run goes on.
fn is_narrower(needed: &Needed, steps: &[Step]) -> bool {
    needed.outcomes.as_ref().is_some_and(|outcomes| {
        let possible = steps[needed.step].outcomes();
        possible
            .iter()
            .any(|outcome| *outcome != StepOutcome::Omitted && !outcomes.contains(outcome))
    })
}

/// What a step says in `when`.
pub(crate) enum Condition {
    Always,
    /// It is wrong elsewhere, and may be meant to read anything.
    Broken,
    When(Box<Expression>),
}

impl Condition {
    pub(crate) fn of(step: &Step) -> Self {
        let Some(when) = &step.when else {
            return Self::Always;
        };
        let parsed = Template::parse(when).ok();
        match parsed.as_ref().and_then(Template::as_expression) {
            Some(expression) => Self::When(Box::new(expression.clone())),
            None => Self::Broken,
        }
    }

    /// Whether it reads the outcome of a step, or those of its items. To test whether there is one says nothing of it.
    pub(crate) fn reads_outcome(&self, step: &str) -> bool {
        match self {
            Self::Always => false,
            Self::Broken => true,
            Self::When(expression) => reads(expression.tree(), step),
        }
    }
}

fn reads(expr: &Expr, step: &str) -> bool {
    let is_step = |operand: &Expr| {
        path_of(operand).is_some_and(|path| path.len() == 2 && path[0] == "steps" && path[1] == step)
    };
    let tells = |field: &str| matches!(field, "outcome" | "items");
    let found = match &expr.node {
        Node::Select { operand, field, .. } => tells(field) && is_step(operand),
        Node::Index { operand, index, .. } => match &index.node {
            Node::Literal(Literal::String(field)) => tells(field) && is_step(operand),
            _ => false,
        },
        _ => false,
    };
    found || expr.children().into_iter().any(|child| reads(child, step))
}

/// `steps['a'].output.b` as its segments; an index that is no string literal ends the path.
fn path_of(expr: &Expr) -> Option<Vec<String>> {
    match &expr.node {
        Node::Variable(name) => Some(vec![name.clone()]),
        Node::Select { operand, field, .. } | Node::Has { operand, field } => {
            let mut path = path_of(operand)?;
            path.push(field.clone());
            Some(path)
        }
        Node::Index { operand, index, .. } => {
            let mut path = path_of(operand)?;
            match &index.node {
                Node::Literal(Literal::String(key)) => path.push(key.clone()),
                _ => path.push("*".to_owned()),
            }
            Some(path)
        }
        _ => None,
    }
}
