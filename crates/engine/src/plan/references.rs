//! What an expression refers to, and whether it is there.

use std::collections::BTreeSet;

use signoff_expression::{Expr, Literal, Node};

use super::types::InputTypes;
use crate::expression::{CALLBACKS, Expression};

/// What expressions in one place may refer to.
pub(super) struct Visible<'a> {
    /// Variables beside the common ones, such as `response`.
    pub(super) extra: &'a [&'a str],
    /// Names of all steps of the flow.
    pub(super) all_steps: &'a [&'a str],
    /// Names of the steps whose results are known here.
    pub(super) known_steps: &'a BTreeSet<&'a str>,
    /// Names of the steps of which the previous pass is known.
    pub(super) looped_steps: &'a BTreeSet<&'a str>,
    /// Names of the steps that wait for a callback.
    pub(super) callback_steps: &'a BTreeSet<&'a str>,
    /// The inputs.
    pub(super) inputs: &'a InputTypes,
    /// Whether it is known how the run will end.
    pub(super) in_finally: bool,
}

const COMMON: [&str; 5] = ["inputs", "steps", "run", "release", CALLBACKS];
const RUN: [&str; 4] = ["name", "namespace", "uid", "requestedBy"];
/// What is known of the run in `finally` beside.
const ENDING: [&str; 3] = ["outcome", "error", "failedStep"];
const RELEASE: [&str; 4] = ["name", "digest", "commit", "flow"];
const STEP: [&str; 6] = ["output", "outcome", "decision", "error", "pass", "previous"];

/// Everything in an expression that refers to something that is not there.
pub(super) fn unknown(expression: &Expression, visible: &Visible<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    walk(expression.tree(), visible, &mut problems);
    problems
}

fn walk(expr: &Expr, visible: &Visible<'_>, problems: &mut Vec<String>) {
    if let Some(path) = path_of(expr) {
        check_path(&path, visible, problems);
        // an index that is no literal may itself refer to something
        walk_indices(expr, visible, problems);
        return;
    }
    for child in expr.children() {
        walk(child, visible, problems);
    }
}

fn walk_indices(expr: &Expr, visible: &Visible<'_>, problems: &mut Vec<String>) {
    match &expr.node {
        Node::Select { operand, .. } | Node::Has { operand, .. } => walk_indices(operand, visible, problems),
        Node::Index { operand, index, .. } => {
            walk_indices(operand, visible, problems);
            walk(index, visible, problems);
        }
        _ => {}
    }
}

/// `steps['a'].output.b` as its segments; an index that is no string literal ends the path.
pub(super) fn path_of(expr: &Expr) -> Option<Vec<String>> {
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

fn check_path(path: &[String], visible: &Visible<'_>, problems: &mut Vec<String>) {
    let root = path[0].as_str();
    if !COMMON.contains(&root) && !visible.extra.contains(&root) {
        let mut names: Vec<&str> = COMMON.iter().copied().filter(|name| *name != CALLBACKS).collect();
        names.extend(visible.extra);
        problems.push(format!(
            "there is no variable {root}; there are {}",
            names.join(", ")
        ));
        return;
    }
    let Some(second) = path.get(1).map(String::as_str) else {
        return;
    };
    match root {
        "steps" => check_step(second, path.get(2).map(String::as_str), visible, problems),
        CALLBACKS if second != "*" && !visible.callback_steps.contains(second) => {
            problems.push(format!(
                "callback('{second}'): there is no wait step {second} with a callback"
            ));
        }
        "inputs" if !visible.inputs.may_have(second) => problems.push(format!("there is no input {second}")),
        "run" if ENDING.contains(&second) && !visible.in_finally => {
            problems.push(format!("run.{second} is known only in finally"));
        }
        "run" if !RUN.contains(&second) && !ENDING.contains(&second) => {
            problems.push(format!("run has no {second}; it has {}", RUN.join(", ")));
        }
        "release" if !RELEASE.contains(&second) => {
            problems.push(format!("release has no {second}; it has {}", RELEASE.join(", ")));
        }
        _ => {}
    }
}

fn check_step(step: &str, field: Option<&str>, visible: &Visible<'_>, problems: &mut Vec<String>) {
    if step == "*" {
        return;
    }
    if !visible.all_steps.contains(&step) {
        problems.push(format!("there is no step {step}"));
    } else if visible.looped_steps.contains(step) && !visible.known_steps.contains(step) {
        if !matches!(field, Some("previous" | "pass")) {
            problems.push(format!(
                "step {step} is not done before this one in a pass; of the pass before, `steps.{step}.?previous` is known"
            ));
        }
    } else if !visible.known_steps.contains(step) {
        problems.push(format!("step {step} is not done before this one"));
    }
    if let Some(field) = field
        && field != "*"
        && !STEP.contains(&field)
    {
        problems.push(format!("a step has no {field}; it has {}", STEP.join(", ")));
    }
}
