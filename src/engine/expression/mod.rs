//! CEL expressions and `${…}` templates.
//!
//! An expression is parsed once, when a release is checked, and evaluated against a [`Scope`] of JSON values. It can read only what is in
//! the scope; it has no clock, no randomness and no I/O.

mod bounds;
mod convert;
mod template;

use std::{cell::OnceCell, collections::BTreeMap};

use kube_cel::{
    KubeCelExt as _,
    cel::{
        Context, ExecutionError,
        common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue},
    },
};
use serde_json::Value;

pub use template::{JsonTemplate, Template};

/// Longest expression, in bytes.
pub const MAX_EXPRESSION: usize = 4_096;
/// Most comprehensions (`map`, `filter`, `all`, `exists`) that may be nested: each multiplies the cost by the size of a list.
const MAX_COMPREHENSION_DEPTH: usize = 2;
/// Name under which the callbacks lie in the scope; `callback('x')` reads them there.
pub(super) const CALLBACKS: &str = "__callbacks";

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression {
    source: String,
    tree: IdedExpr,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionProblem {
    /// Where, in bytes from the start of the string it stands in.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} in ${{{expression}}}")]
pub struct EvaluationError {
    /// What went wrong.
    pub message: String,
    /// The expression.
    pub expression: String,
}

/// The variables that an expression can read.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    variables: BTreeMap<String, Value>,
}

impl Scope {
    /// Adds or replaces a variable.
    pub fn set(&mut self, name: &str, value: Value) -> &mut Self {
        self.variables.insert(name.to_owned(), value);
        self
    }
}

impl Expression {
    /// Parses one expression; positions are relative to its own start.
    pub fn parse(source: &str) -> Result<Self, ExpressionProblem> {
        let problem = |message: String| ExpressionProblem { offset: 0, message };
        if source.len() > MAX_EXPRESSION {
            return Err(problem(format!(
                "an expression has at most {MAX_EXPRESSION} bytes"
            )));
        }
        if source.trim().is_empty() {
            return Err(problem("an expression is missing between ${ and }".to_owned()));
        }
        let mut tree = bounds::parse(source)?;
        rewrite_callbacks(&mut tree.expr).map_err(problem)?;
        if comprehension_depth(&tree.expr) > MAX_COMPREHENSION_DEPTH {
            return Err(problem(format!(
                "map, filter, all and exists may be nested {MAX_COMPREHENSION_DEPTH} deep at most"
            )));
        }
        Ok(Self {
            source: source.to_owned(),
            tree,
        })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn tree(&self) -> &Expr {
        &self.tree.expr
    }

    /// Its value.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        let fail = |message: String| EvaluationError {
            message,
            expression: self.source.clone(),
        };
        ROOT.with(|root| {
            let root = root.get_or_init(|| Context::default().with_all());
            let mut context = root.new_inner_scope();
            let references = self.tree.references();
            for (name, value) in &scope.variables {
                if references.has_variable(name) {
                    context.add_variable_from_value(name.as_str(), convert::to_cel(value));
                }
            }
            let value = context
                .resolve(&self.tree)
                .map_err(|error| fail(readable(&error)))?;
            convert::to_json(&value).map_err(fail)
        })
    }

    /// Its value as a condition.
    pub fn holds(&self, scope: &Scope) -> Result<bool, EvaluationError> {
        match self.evaluate(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(EvaluationError {
                message: format!("a condition is true or false, not {}", type_name(&other)),
                expression: self.source.clone(),
            }),
        }
    }
}

thread_local! {
    /// The functions are the same for every expression and costly to register, so each thread does it once.
    static ROOT: OnceCell<Context<'static>> = const { OnceCell::new() };
}

/// How people call the type of a JSON value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn readable(error: &ExecutionError) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// `callback('x')` becomes a look-up, so that evaluation needs no function of its own.
fn rewrite_callbacks(expr: &mut Expr) -> Result<(), String> {
    if let Expr::Call(call) = expr
        && call.func_name == "callback"
        && call.target.is_none()
    {
        let [argument] = call.args.as_slice() else {
            return Err("callback takes the name of one step".to_owned());
        };
        if !matches!(&argument.expr, Expr::Literal(LiteralValue::String(_))) {
            return Err("callback takes the name of a step as a literal string".to_owned());
        }
        let callbacks = IdedExpr {
            id: argument.id,
            expr: Expr::Ident(CALLBACKS.to_owned()),
        };
        *call = CallExpr {
            func_name: "_[_]".to_owned(),
            target: None,
            args: vec![callbacks, argument.clone()],
        };
        return Ok(());
    }
    for child in children_mut(expr) {
        rewrite_callbacks(&mut child.expr)?;
    }
    Ok(())
}

fn comprehension_depth(expr: &Expr) -> usize {
    let below = children(expr)
        .into_iter()
        .map(|child| comprehension_depth(&child.expr))
        .max()
        .unwrap_or(0);
    below + usize::from(matches!(expr, Expr::Comprehension(_)))
}

/// The direct sub-expressions.
pub(super) fn children(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .flat_map(|entry| entry_children(&entry.expr))
            .collect(),
        Expr::Struct(object) => object
            .entries
            .iter()
            .flat_map(|entry| entry_children(&entry.expr))
            .collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => vec![],
    }
}

fn entry_children(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

fn children_mut(expr: &mut Expr) -> Vec<&mut IdedExpr> {
    match expr {
        Expr::Call(call) => call
            .target
            .as_deref_mut()
            .into_iter()
            .chain(&mut call.args)
            .collect(),
        Expr::Comprehension(c) => {
            vec![
                &mut c.iter_range,
                &mut c.accu_init,
                &mut c.loop_cond,
                &mut c.loop_step,
                &mut c.result,
            ]
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Map(map) => map
            .entries
            .iter_mut()
            .flat_map(|entry| entry_children_mut(&mut entry.expr))
            .collect(),
        Expr::Struct(object) => object
            .entries
            .iter_mut()
            .flat_map(|entry| entry_children_mut(&mut entry.expr))
            .collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => vec![],
    }
}

fn entry_children_mut(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&mut field.value],
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
    }
}
