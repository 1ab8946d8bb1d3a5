//! Types that are known before anything runs: those of literals, operators and declared inputs.

use std::collections::BTreeMap;

use serde_json::Value;
use signoff_expression::{Binary, Expr, Literal, Node};

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
    if let Node::Select { operand, field, .. } = &expr.node
        && matches!(&operand.node, Node::Variable(root) if root == "inputs")
    {
        return inputs
            .types
            .get(field)
            .copied()
            .flatten()
            .filter(|_| !is_optional(expr));
    }
    let below: Vec<Option<Type>> = expr
        .children()
        .into_iter()
        .map(|child| infer(child, inputs, clashes))
        .collect();
    match (&expr.node, below.as_slice()) {
        (Node::Literal(literal), _) => literal_type(literal),
        (Node::List(_), _) => Some(Type::List),
        (Node::Map(_), _) => Some(Type::Object),
        (Node::Has { .. }, _) => Some(Type::Boolean),
        (Node::And(..), types) => Some(logic("&&", types, clashes)),
        (Node::Or(..), types) => Some(logic("||", types, clashes)),
        (Node::Not(_), [operand]) => {
            if let Some(type_) = operand.filter(|type_| *type_ != Type::Boolean) {
                clashes.push(format!("! negates a boolean, not {}", type_.name()));
            }
            Some(Type::Boolean)
        }
        (Node::Conditional(_), [condition, left, right]) => {
            if let Some(type_) = condition.filter(|type_| *type_ != Type::Boolean) {
                clashes.push(format!("the condition of ?: is a boolean, not {}", type_.name()));
            }
            if left == right { *left } else { None }
        }
        (Node::Binary(operator, ..), [left, right]) => binary(*operator, *left, *right, clashes),
        (Node::Call { overloads, .. }, _) => {
            let mut results = overloads.iter().map(|function| result(function.result));
            let first = results.next().flatten();
            if results.all(|result| result == first) {
                first
            } else {
                None
            }
        }
        _ => None,
    }
}

fn is_optional(expr: &Expr) -> bool {
    matches!(&expr.node, Node::Select { optional: true, .. })
}

/// What a function gives, where JSON has a type for it.
fn result(type_: signoff_expression::Type) -> Option<Type> {
    use signoff_expression::Type as Cel;
    match type_ {
        Cel::Bool => Some(Type::Boolean),
        Cel::Int | Cel::Uint | Cel::Double => Some(Type::Number),
        Cel::String => Some(Type::Text),
        Cel::List => Some(Type::List),
        _ => None,
    }
}

fn literal_type(literal: &Literal) -> Option<Type> {
    match literal {
        Literal::Bool(_) => Some(Type::Boolean),
        Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => Some(Type::Number),
        Literal::String(_) => Some(Type::Text),
        Literal::Bytes(_) | Literal::Null => None,
    }
}

fn logic(symbol: &str, types: &[Option<Type>], clashes: &mut Vec<String>) -> Type {
    for type_ in types.iter().flatten().filter(|type_| **type_ != Type::Boolean) {
        clashes.push(format!("{symbol} joins booleans, not {}", type_.name()));
    }
    Type::Boolean
}

fn binary(
    operator: Binary,
    left: Option<Type>,
    right: Option<Type>,
    clashes: &mut Vec<String>,
) -> Option<Type> {
    let symbol = operator.symbol();
    match operator {
        Binary::Equal | Binary::NotEqual => {
            if let (Some(left), Some(right)) = (left, right)
                && left != right
            {
                clashes.push(format!("{} and {} are never equal", left.name(), right.name()));
            }
            Some(Type::Boolean)
        }
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            match (left, right) {
                (Some(left), Some(right)) if left != right => {
                    clashes.push(format!(
                        "{} cannot be compared with {}",
                        left.name(),
                        right.name()
                    ));
                }
                _ => {
                    let ordered = |type_: &Type| matches!(type_, Type::Number | Type::Text);
                    let unordered = [left, right]
                        .into_iter()
                        .flatten()
                        .filter(|type_| !ordered(type_));
                    for type_ in unordered {
                        clashes.push(format!("{} has no order for {symbol}", type_.name()));
                    }
                }
            }
            Some(Type::Boolean)
        }
        Binary::In => Some(Type::Boolean),
        Binary::Add => match (left, right) {
            (Some(left), Some(right)) if left != right => {
                clashes.push(format!(
                    "{} and {} cannot be added; string(…) makes text of a number",
                    left.name(),
                    right.name()
                ));
                None
            }
            (Some(type_ @ (Type::Boolean | Type::Object)), _)
            | (_, Some(type_ @ (Type::Boolean | Type::Object))) => {
                clashes.push(format!("{} cannot be added", type_.name()));
                None
            }
            (Some(type_), _) | (_, Some(type_)) => Some(type_),
            (None, None) => None,
        },
        // those of moments and lengths of time are of neither type
        Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
            let not_numbers = [left, right]
                .into_iter()
                .flatten()
                .filter(|type_| *type_ != Type::Number);
            for type_ in not_numbers {
                clashes.push(format!("{symbol} is for numbers, not {}", type_.name()));
            }
            (left.is_some() || right.is_some()).then_some(Type::Number)
        }
    }
}

/// What a `when` must not be.
pub(super) fn not_boolean(expr: &Expr, inputs: &InputTypes) -> Option<String> {
    let type_ = infer(expr, inputs, &mut Vec::new()).filter(|type_| *type_ != Type::Boolean)?;
    Some(format!("a condition is true or false, not {}", type_.name()))
}
