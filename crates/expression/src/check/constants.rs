//! Calls of constants, which are tried out at once.

use crate::{
    ast::{Expr, Literal, Node},
    budget::Budget,
    evaluate::{Scope, evaluate},
    library::Function,
};

/// The functions whose failures Kubernetes finds when it compiles an expression: conversions and patterns.
const TRIED: [&str; 8] = [
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "duration",
    "timestamp",
    "format",
];

/// How a call of constants fails. Only the result matters, so the call is made anew.
pub(super) fn failure(overloads: &[Function], arguments: &[Expr]) -> Option<String> {
    let first = overloads.first()?;
    let is_tried = match &*first.name {
        // the text may be anything
        "matches" => is_constant(arguments.last()?),
        name => TRIED.contains(&name) && arguments.iter().all(is_constant),
    };
    if !is_tried {
        return None;
    }
    let mut arguments = arguments.to_vec();
    if first.name == "matches"
        && let Some(text) = arguments.first_mut()
    {
        text.node = Node::Literal(Literal::String(String::new()));
    }
    let call = Expr {
        node: Node::Call {
            overloads: overloads.into(),
            arguments,
        },
        offset: 0,
    };
    let scope = Scope::default();
    let failed = evaluate(&call, &scope, &mut Budget::default()).err()?;
    (!failed.is_budget_exceeded()).then(|| failed.to_string())
}

/// Whether the value is known where it is written.
fn is_constant(expr: &Expr) -> bool {
    match &expr.node {
        Node::Literal(_) | Node::Type(_) => true,
        Node::Negate(operand) => matches!(operand.node, Node::Literal(_)),
        Node::List(items) => items
            .iter()
            .all(|(item, is_optional)| !is_optional && is_constant(item)),
        _ => false,
    }
}
