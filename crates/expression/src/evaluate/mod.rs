//! Evaluation. Every node takes a step, and whatever takes longer takes more.

mod comprehension;
mod equality;
mod operators;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    ast::{Binary, Entry, Expr, Literal, Node},
    budget::Budget,
    error::Error,
    library::patterns::Patterns,
    program::Program,
    types::Type,
    value::{Key, List, Text, Value},
};

/// The variables that an expression can read.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    variables: Vec<(&'a str, Variable<'a>)>,
}

#[derive(Clone, Debug)]
enum Variable<'a> {
    Known(Value<'a>),
    /// Evaluated when it is first read, at the cost of the expression that reads it; clones of the scope share the result.
    Defined(&'a Program, Arc<OnceLock<Evaluated<'a>>>),
}

impl<'a> Scope<'a> {
    /// Adds a variable.
    pub fn set(&mut self, name: &'a str, value: impl Into<Value<'a>>) -> &mut Self {
        self.variables.push((name, Variable::Known(value.into())));
        self
    }

    /// Adds a variable with the value of an expression, which can read the variables that were added before. It is evaluated at most once,
    /// when another expression first reads the variable.
    pub fn define(&mut self, name: &'a str, program: &'a Program) -> &mut Self {
        self.variables
            .push((name, Variable::Defined(program, Arc::default())));
        self
    }

    /// The newest variable of that name among the first `visible` ones, with its place.
    fn get(&self, name: &str, visible: usize) -> Option<(usize, &Variable<'a>)> {
        let among = self.variables.iter().enumerate().take(visible).rev();
        let mut named = among.filter(|(_, (known, _))| *known == name);
        named.next().map(|(place, (_, variable))| (place, variable))
    }
}

/// What a function may use while it is called.
pub struct Call<'b> {
    /// What it takes its steps and bytes from.
    pub budget: &'b mut Budget,
    pub(crate) patterns: &'b mut Patterns,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// Value or error of a part.
pub(crate) type Evaluated<'a> = Result<Value<'a>, Error>;

/// Stack that one node may need; beyond it a new piece is taken.
const RED_ZONE: usize = 128 << 10;
const PIECE: usize = 1 << 20;

pub(crate) fn evaluate<'a>(root: &'a Expr, scope: &Scope<'a>, budget: &mut Budget) -> Evaluated<'a> {
    let mut patterns = Patterns::default();
    let mut evaluator = Evaluator {
        scope,
        visible: scope.variables.len(),
        locals: Vec::new(),
        call: Call {
            budget,
            patterns: &mut patterns,
        },
    };
    evaluator.value(root)
}

struct Evaluator<'a, 'b> {
    scope: &'b Scope<'a>,
    /// How many variables of the scope can be read.
    visible: usize,
    locals: Vec<Value<'a>>,
    call: Call<'b>,
}

impl<'a> Evaluator<'a, '_> {
    fn value(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        self.call.budget.step(1)?;
        match &expr.node {
            Node::Literal(literal) => Ok(constant(literal)),
            Node::Type(type_) => Ok(Value::Type(*type_)),
            Node::Variable(name) => self.variable(name),
            Node::Local { slot, .. } => Ok(self.locals.get(*slot).cloned().unwrap_or(Value::Null)),
            _ => stacker::maybe_grow(RED_ZONE, PIECE, || self.composed(expr)),
        }
    }

    fn composed(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        match &expr.node {
            Node::Literal(_) | Node::Type(_) | Node::Variable(_) | Node::Local { .. } => self.value(expr),
            Node::Select {
                operand,
                field,
                optional,
            } => {
                let operand = self.value(operand)?;
                select(&operand, field, *optional)
            }
            Node::Has { operand, field } => {
                let operand = self.value(operand)?;
                has(&operand, field).map(Value::Bool)
            }
            Node::Index {
                operand,
                index,
                optional,
            } => {
                let operand = self.value(operand)?;
                let index = self.value(index)?;
                self.call.budget.scan(key_length(&index))?;
                self::index(&operand, &index, *optional)
            }
            Node::List(items) => self.list(items),
            Node::Map(entries) | Node::Message(entries) => self.map(entries),
            Node::And(left, right) => self.logic(left, right, false),
            Node::Or(left, right) => self.logic(left, right, true),
            Node::Not(operand) => match self.value(operand)? {
                Value::Bool(truth) => Ok(Value::Bool(!truth)),
                other => Err(no_overload("!", &[other])),
            },
            Node::Negate(operand) => operators::negate(self.value(operand)?),
            Node::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                match self.value(condition)? {
                    Value::Bool(true) => self.value(yes),
                    Value::Bool(false) => self.value(no),
                    other => Err(no_overload("?:", &[other])),
                }
            }
            Node::Binary(operator, left, right) => {
                let left = self.value(left)?;
                let right = self.value(right)?;
                self.binary(*operator, left, right)
            }
            Node::Call { overloads, arguments } => {
                let arguments = arguments
                    .iter()
                    .map(|argument| self.value(argument))
                    .collect::<Result<Vec<_>, _>>()?;
                let fitting = overloads.iter().find(|function| function.takes(&arguments));
                match fitting {
                    Some(function) => function.call(&mut self.call, &arguments),
                    None => Err(no_overload(
                        overloads.first().map_or("", |function| &function.name),
                        &arguments,
                    )),
                }
            }
            Node::Macro(comprehension) => self.comprehension(comprehension),
        }
    }

    fn variable(&mut self, name: &'a str) -> Evaluated<'a> {
        let scope = self.scope;
        let (place, variable) = scope
            .get(name, self.visible)
            .ok_or_else(|| Error::UnknownVariable(name.to_owned()))?;
        match variable {
            Variable::Known(value) => Ok(value.clone()),
            Variable::Defined(program, result) => {
                if let Some(result) = result.get() {
                    return result.clone();
                }
                let visible = std::mem::replace(&mut self.visible, place);
                let locals = std::mem::take(&mut self.locals);
                let evaluated = self.value(program.tree());
                self.locals = locals;
                self.visible = visible;
                result.get_or_init(|| evaluated).clone()
            }
        }
    }

    fn binary(&mut self, operator: Binary, left: Value<'a>, right: Value<'a>) -> Evaluated<'a> {
        let budget = &mut *self.call.budget;
        match operator {
            Binary::Equal => equality::equal(&left, &right, budget).map(Value::Bool),
            Binary::NotEqual => equality::equal(&left, &right, budget).map(|equal| Value::Bool(!equal)),
            Binary::In => equality::contains(&right, &left, budget).map(Value::Bool),
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                budget.scan(key_length(&left).min(key_length(&right)))?;
                operators::ordered(operator, &left, &right).map(Value::Bool)
            }
            Binary::Add => operators::add(left, right, budget),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
                operators::arithmetic(operator, &left, &right)
            }
        }
    }

    /// `&&` and `||`: one side may decide although the other has no value.
    fn logic(&mut self, left: &'a Expr, right: &'a Expr, decisive: bool) -> Evaluated<'a> {
        let left = self.truth(left);
        if left == Ok(decisive) {
            return Ok(Value::Bool(decisive));
        }
        if let Err(error) = &left
            && error.is_budget_exceeded()
        {
            return Err(error.clone());
        }
        let right = self.truth(right)?;
        if right == decisive {
            return Ok(Value::Bool(decisive));
        }
        left.map(Value::Bool)
    }

    fn truth(&mut self, expr: &'a Expr) -> Result<bool, Error> {
        match self.value(expr)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(no_overload("a condition", &[other])),
        }
    }

    fn list(&mut self, items: &'a [(Expr, bool)]) -> Evaluated<'a> {
        self.call.budget.allocate(items.len() * size_of::<Value<'a>>())?;
        let mut made = Vec::with_capacity(items.len());
        for (item, is_optional) in items {
            let value = self.value(item)?;
            if let Some(value) = entry_value(value, *is_optional)? {
                made.push(value);
            }
        }
        Ok(Value::List(made.into()))
    }

    fn map(&mut self, entries: &'a [Entry]) -> Evaluated<'a> {
        let mut made = BTreeMap::new();
        for entry in entries {
            let key = self.value(&entry.key)?;
            let value = self.value(&entry.value)?;
            let Some(value) = entry_value(value, entry.optional)? else {
                continue;
            };
            let key = new_key(&key, self.call.budget)?;
            // of a key that is there twice, the last counts
            made.insert(key, value);
        }
        Ok(Value::Map(made.into()))
    }
}

/// Adds an entry that is not there yet.
fn insert<'a>(
    map: &mut BTreeMap<Key<'a>, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
    budget: &mut Budget,
) -> Result<(), Error> {
    let key = new_key(key, budget)?;
    if map.contains_key(&key) {
        return Err(Error::failed("a key is there twice"));
    }
    map.insert(key, value);
    Ok(())
}

/// The key of an entry that is added, with what it takes.
fn new_key<'a>(key: &Value<'a>, budget: &mut Budget) -> Result<Key<'a>, Error> {
    budget.scan(16 + key_length(key))?;
    budget.allocate(size_of::<Key<'_>>() + size_of::<Value<'_>>() + 16)?;
    let made = match key {
        Value::Double(_) => None,
        key => Key::of(key),
    };
    made.ok_or_else(|| Error::failed(format!("unsupported key type: {}", key.type_of().name())))
}

/// The value of an entry; none if it is optional and absent.
fn entry_value(value: Value<'_>, is_optional: bool) -> Result<Option<Value<'_>>, Error> {
    if !is_optional {
        return Ok(Some(value));
    }
    match value {
        Value::Optional(value) => Ok(value.map(Arc::unwrap_or_clone)),
        other => Err(no_overload("?", &[other])),
    }
}

fn constant(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(truth) => Value::Bool(*truth),
        Literal::Int(int) => Value::Int(*int),
        Literal::Uint(uint) => Value::Uint(*uint),
        Literal::Double(double) => Value::Double(*double),
        Literal::String(text) => Value::String(Text::Borrowed(text)),
        Literal::Bytes(bytes) => Value::Bytes(Arc::clone(bytes)),
    }
}

fn select<'a>(operand: &Value<'a>, field: &'a str, optional: bool) -> Evaluated<'a> {
    match operand {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => select_optional(value, field),
        _ if optional => select_optional(operand, field),
        Value::Map(map) => map.field(field).ok_or_else(|| Error::NoSuchKey(field.to_owned())),
        other => Err(no_field(other, field)),
    }
}

fn select_optional<'a>(operand: &Value<'a>, field: &'a str) -> Evaluated<'a> {
    match operand {
        Value::Map(map) => Ok(Value::Optional(map.field(field).map(Arc::new))),
        value if has_no_parts(value) => Ok(Value::Optional(None)),
        other => Err(no_field(other, field)),
    }
}

fn has<'a>(operand: &Value<'a>, field: &'a str) -> Result<bool, Error> {
    match operand {
        Value::Map(map) => Ok(map.field(field).is_some()),
        Value::Optional(None) => Ok(false),
        Value::Optional(Some(value)) => has(value, field),
        value if has_no_parts(value) => Ok(false),
        other => Err(no_field(other, field)),
    }
}

fn index<'a>(operand: &Value<'a>, index: &Value<'a>, optional: bool) -> Evaluated<'a> {
    match operand {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => maybe(value, index),
        _ if optional => maybe(operand, index),
        _ => found(operand, index)?.ok_or_else(|| match (operand, index) {
            (Value::Map(_), Value::String(key)) => Error::NoSuchKey(key.to_string()),
            (Value::Map(_), key) => Error::NoSuchKey(key.shown()),
            (_, index) => Error::failed(format!("index out of bounds: {}", index.shown())),
        }),
    }
}

fn maybe<'a>(operand: &Value<'a>, index: &Value<'a>) -> Evaluated<'a> {
    if has_no_parts(operand) {
        return Ok(Value::Optional(None));
    }
    found(operand, index).map(|found| Value::Optional(found.map(Arc::new)))
}

fn no_field(value: &Value<'_>, field: &str) -> Error {
    let of = match value.type_of() {
        Type::Null => "null",
        type_ => type_.name(),
    };
    Error::NoSuchOverload(format!("{of} has no field {field}"))
}

/// Whether a value of JSON has no fields and elements: asked for one, it is absent.
fn has_no_parts(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_)
    )
}

/// What lies at a place or under a key.
fn found<'a>(operand: &Value<'a>, index: &Value<'a>) -> Result<Option<Value<'a>>, Error> {
    let no_index = || Err(no_overload("_[_]", &[operand.clone(), index.clone()]));
    match operand {
        Value::List(list) => {
            let place = match index {
                Value::Int(int) => usize::try_from(*int).ok(),
                Value::Uint(uint) => usize::try_from(*uint).ok(),
                Value::Double(double) => match crate::value::number::exact_int(*double) {
                    Some(int) => usize::try_from(int).ok(),
                    None => return no_index(),
                },
                _ => return no_index(),
            };
            Ok(place.and_then(|place| list.get(place)))
        }
        Value::Map(map) => match Key::of(index) {
            Some(key) => Ok(map.get(&key)),
            None if matches!(index, Value::Double(_)) => Ok(None),
            None => no_index(),
        },
        _ => no_index(),
    }
}

/// How much there is to compare.
fn key_length(value: &Value<'_>) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

pub(crate) fn no_overload(function: &str, arguments: &[Value<'_>]) -> Error {
    let types: Vec<&str> = arguments.iter().map(|value| value.type_of().name()).collect();
    Error::NoSuchOverload(format!("{function} applied to ({})", types.join(", ")))
}

pub(crate) use comprehension::order;
pub(crate) use equality::{contains, equal};
pub(crate) use operators::{add, compare};

/// A list of text.
pub(crate) fn texts<'a>(
    items: impl IntoIterator<Item = String>,
    budget: &mut Budget,
) -> Result<Value<'a>, Error> {
    let mut made = Vec::new();
    for item in items {
        budget.allocate(size_of::<Value<'_>>() + item.len())?;
        made.push(Value::text(item));
    }
    Ok(Value::List(List::from(made)))
}
