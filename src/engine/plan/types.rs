//! Types that are known before anything runs: those of literals, operators and declared inputs.

use std::collections::BTreeMap;

use kube_cel::cel::common::ast::{Expr, LiteralValue};
use serde_json::Value;

use crate::engine::expression::children;

/// A type as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Boolean,
    Number,
    Text,
    List,
    Object,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// The inputs as their schema declares them.
#[derive(Clone, Debug, Default)]
pub(super) struct InputTypes {
    types: BTreeMap<String, Option<Type>>,
    open: bool,
}

impl InputTypes {
    /// Reads the schema of an object. Inputs beyond the listed ones exist only where the schema says so.
    pub(super) fn of(schema: Option<&Value>) -> Self {
        let Some(schema) = schema else {
            return Self::default();
        };
        let listed = schema["properties"].as_object();
        let types = listed
            .into_iter()
            .flatten()
            .map(|(name, property)| (name.clone(), property["type"].as_str().and_then(declared)))
            .collect();
        let additional = &schema["additionalProperties"];
        let open = additional.is_object() || additional == &Value::Bool(true) || listed.is_none();
        Self { types, open }
    }

    pub(super) fn may_have(&self, name: &str) -> bool {
        self.open || name == "*" || self.types.contains_key(name)
    }
}

fn declared(name: &str) -> Option<Type> {
    match name {
        "boolean" => Some(Type::Boolean),
        "integer" | "number" => Some(Type::Number),
        "string" => Some(Type::Text),
        "array" => Some(Type::List),
        "object" => Some(Type::Object),
        _ => None,
    }
}

/// The type of an expression, with every clash that is certain.
pub(super) fn infer(expr: &Expr, inputs: &InputTypes, clashes: &mut Vec<String>) -> Option<Type> {
    match expr {
        Expr::Literal(literal) => literal_type(literal),
        Expr::List(_) => visit_children(expr, inputs, clashes, Some(Type::List)),
        Expr::Map(_) => visit_children(expr, inputs, clashes, Some(Type::Object)),
        Expr::Select(select) if select.test => Some(Type::Boolean),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(root) if root == "inputs" => inputs.types.get(&select.field).copied().flatten(),
            _ => visit_children(expr, inputs, clashes, None),
        },
        Expr::Call(call) => {
            let types: Vec<Option<Type>> = call
                .args
                .iter()
                .map(|argument| infer(&argument.expr, inputs, clashes))
                .collect();
            if let Some(target) = &call.target {
                infer(&target.expr, inputs, clashes);
            }
            operator(&call.func_name, &types, clashes)
        }
        _ => visit_children(expr, inputs, clashes, None),
    }
}

fn visit_children(
    expr: &Expr,
    inputs: &InputTypes,
    clashes: &mut Vec<String>,
    type_: Option<Type>,
) -> Option<Type> {
    for child in children(expr) {
        infer(&child.expr, inputs, clashes);
    }
    type_
}

fn literal_type(literal: &LiteralValue) -> Option<Type> {
    match literal {
        LiteralValue::Boolean(_) => Some(Type::Boolean),
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Some(Type::Number),
        LiteralValue::String(_) => Some(Type::Text),
        LiteralValue::Bytes(_) | LiteralValue::Null => None,
    }
}

fn operator(name: &str, types: &[Option<Type>], clashes: &mut Vec<String>) -> Option<Type> {
    let symbol = name.trim_matches('_');
    match (name, types) {
        ("_&&_" | "_||_", [left, right]) => {
            for type_ in [left, right]
                .into_iter()
                .flatten()
                .filter(|type_| **type_ != Type::Boolean)
            {
                clashes.push(format!("{symbol} joins booleans, not {}", type_.name()));
            }
            Some(Type::Boolean)
        }
        ("!_", [operand]) => {
            if let Some(type_) = operand.filter(|type_| *type_ != Type::Boolean) {
                clashes.push(format!("! negates a boolean, not {}", type_.name()));
            }
            Some(Type::Boolean)
        }
        ("_==_" | "_!=_", [Some(left), Some(right)]) if left != right => {
            clashes.push(format!("{} and {} are never equal", left.name(), right.name()));
            Some(Type::Boolean)
        }
        ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => {
            let ordered = |type_: &Type| matches!(type_, Type::Number | Type::Text);
            match (left, right) {
                (Some(left), Some(right)) if left != right => {
                    clashes.push(format!(
                        "{} cannot be compared with {}",
                        left.name(),
                        right.name()
                    ));
                }
                _ => {
                    for type_ in [left, right]
                        .into_iter()
                        .flatten()
                        .filter(|type_| !ordered(type_))
                    {
                        clashes.push(format!("{} has no order for {symbol}", type_.name()));
                    }
                }
            }
            Some(Type::Boolean)
        }
        ("_==_" | "_!=_" | "@in", _) => Some(Type::Boolean),
        ("_+_", [Some(left), Some(right)]) if left != right => {
            clashes.push(format!(
                "{} and {} cannot be added; string(…) makes text of a number",
                left.name(),
                right.name()
            ));
            None
        }
        ("_+_", [Some(type_), _] | [_, Some(type_)]) => match type_ {
            Type::Boolean | Type::Object => {
                clashes.push(format!("{} cannot be added", type_.name()));
                None
            }
            other => Some(*other),
        },
        ("_-_" | "_*_" | "_/_" | "_%_", [left, right]) => {
            for type_ in [left, right]
                .into_iter()
                .flatten()
                .filter(|type_| **type_ != Type::Number)
            {
                clashes.push(format!("{symbol} is for numbers, not {}", type_.name()));
            }
            Some(Type::Number)
        }
        ("_?_:_", [condition, left, right]) => {
            if let Some(type_) = condition.filter(|type_| *type_ != Type::Boolean) {
                clashes.push(format!("the condition of ?: is a boolean, not {}", type_.name()));
            }
            if left == right { *left } else { None }
        }
        ("size", _) => Some(Type::Number),
        ("string", _) => Some(Type::Text),
        _ => None,
    }
}

/// What a `when` must not be.
pub(super) fn not_boolean(expr: &Expr, inputs: &InputTypes) -> Option<String> {
    let type_ = infer(expr, inputs, &mut Vec::new()).filter(|type_| *type_ != Type::Boolean)?;
    Some(format!("a condition is true or false, not {}", type_.name()))
}
