//! The guard rule: an approval that lets the run go on after a "no", or no answer, is answered for by every later step
//! with an effect.
//!
//! Such a step looks at the outcome of the approval itself, in `when` or by `needs` with outcomes, or does so at a step
//! that does. A step that needs a step of a branch is omitted with it, so it is answered for as well.
//!
//! Within a loop, the steps before the approval come after it as well: in the next pass. They look at its outcome in the pass before,
//! unless the loop is over with such an outcome.

mod next_pass;

use std::collections::BTreeSet;

use signoff_expression::{Expr, Literal, Node};

use super::{
    Problem, Unread,
    graph::{Graph, Needed},
};
use crate::expression::{Expression, Template};
use signoff_api::{Step, run::StepOutcome};

/// Steps with an effect that would act whatever comes of an approval before them. Those of a next pass are looked for only where the
/// definition is new.
pub(super) fn not_guarded(steps: &[Step], graph: &Graph, is_new: bool, unread: &Unread) -> Vec<Problem> {
    let condition = |(step, said): (usize, &Step)| {
        if unread.knows(step) {
            Condition::of(said)
        } else {
            Condition::Broken
        }
    };
    let conditions: Vec<Condition> = steps.iter().enumerate().map(condition).collect();
    let reads: Vec<Reads> = conditions.iter().map(Reads::of).collect();
    let mut problems = Vec::new();
    for (approval, step) in steps.iter().enumerate() {
        let continuing = step.continues_without_approval();
        if continuing.is_empty() {
            continue;
        }
        let answered = answered(&BTreeSet::from([approval]), steps, graph, &reads);
        let later = graph
            .from(approval)
            .into_iter()
            .filter(|later| *later != approval);
        let not_guarded =
            later.filter(|later| steps[*later].kind.rules().has_effect && !answered.contains(later));
        problems.extend(not_guarded.map(|later| problem(later, message(step, &continuing))));
        if is_new {
            let found = next_pass::not_guarded(approval, &continuing, steps, graph, &conditions, &reads);
            problems.extend(found);
        }
    }
    problems
}

fn problem(step: usize, message: String) -> Problem {
    Problem {
        field: format!("steps[{step}]"),
        offset: None,
        message,
    }
}

/// How expressions name a step.
fn reference(step: &Step) -> String {
    let name = &step.name;
    if name.contains('-') {
        format!("steps['{name}']")
    } else {
        format!("steps.{name}")
    }
}

fn words(outcomes: &[StepOutcome]) -> String {
    let words: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
    words.join(" or ")
}

fn message(approval: &Step, continuing: &[StepOutcome]) -> String {
    let (name, words, reference) = (&approval.name, words(continuing), reference(approval));
    format!(
        "NotGuarded: the run goes on when approval {name} is {words}, and this step does not look at that: write `when: \
         ${{{reference}.outcome == 'Approved'}}`, or `needs: [{name}.Approved]`; to act in every case, list all outcomes"
    )
}

/// The steps that answer for an approval: these, and those that look at one that does.
fn answered(first: &BTreeSet<usize>, steps: &[Step], graph: &Graph, reads: &[Reads]) -> BTreeSet<usize> {
    let mut answered = first.clone();
    // steps that are omitted on some outcome of the approval, so that a plain `needs` of them is a branch too
    let mut branches = BTreeSet::new();
    loop {
        let before = (answered.len(), branches.len());
        for (i, read) in reads.iter().enumerate() {
            if graph.ancestors[i].is_disjoint(first) {
                continue;
            }
            let of_branch = graph.needs[i].iter().any(|needed| {
                is_narrower(needed, steps) && answered.contains(&needed.step)
                    || needed.outcomes.is_none() && branches.contains(&needed.step)
            });
            let listed = graph.needs[i]
                .iter()
                .any(|needed| needed.outcomes.is_some() && answered.contains(&needed.step));
            let reads = answered.iter().any(|other| read.outcome(&steps[*other].name));
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
        Reads::of(self).outcome(step)
    }
}

/// The steps whose outcome a condition reads.
#[derive(Default)]
struct Reads {
    /// It may be meant to read anything.
    everything: bool,
    outcomes: BTreeSet<String>,
    /// Those of which it reads the outcome in the pass before.
    previous: BTreeSet<String>,
}

impl Reads {
    fn of(condition: &Condition) -> Self {
        let mut reads = Self::default();
        match condition {
            Condition::Always => {}
            Condition::Broken => reads.everything = true,
            Condition::When(expression) => reads.add(expression.tree()),
        }
        reads
    }

    fn outcome(&self, step: &str) -> bool {
        self.everything || self.outcomes.contains(step)
    }

    fn previous_outcome(&self, step: &str) -> bool {
        self.everything || self.previous.contains(step)
    }

    fn add(&mut self, expr: &Expr) {
        let tells = |field: &str| matches!(field, "outcome" | "items");
        let of = match &expr.node {
            Node::Select { operand, field, .. } if tells(field) => path_of(operand),
            Node::Index { operand, index, .. } => match &index.node {
                Node::Literal(Literal::String(field)) if tells(field) => path_of(operand),
                _ => None,
            },
            _ => None,
        };
        match of.as_deref() {
            Some([root, step]) if root == "steps" => {
                self.outcomes.insert(step.clone());
            }
            Some([root, step, previous]) if root == "steps" && previous == "previous" => {
                self.previous.insert(step.clone());
            }
            Some(_) | None => {}
        }
        for child in expr.children() {
            self.add(child);
        }
    }
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
