//! The types of an expression, known before it is evaluated: as Kubernetes has them, and stricter where more is known. A field that may be
//! absent is read only where a condition has proven that it is there, and a string with known values is compared with those only.

mod calls;
mod constants;
mod facts;
mod fields;
mod macros;
mod signatures;
pub(crate) mod suggest;
mod types;
mod unify;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use facts::{Facts, Implication, Path};
pub use types::{Field, ObjectType, StaticType};

use self::{
    facts::{Closure, path_of, proven},
    fields::Segment,
    suggest::did_you_mean,
    unify::{Substitution, most_general},
};
use crate::{
    ast::{Entry, Expr, Literal, Node},
    types::Type,
};

/// Stack that one node may need; beyond it a new piece is taken.
const RED_ZONE: usize = 128 << 10;
const PIECE: usize = 1 << 20;

/// What an expression may refer to.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    /// The variables.
    pub variables: BTreeMap<String, StaticType>,
    /// What is known from the beginning.
    pub facts: Facts,
    /// What follows from what strings are.
    pub implications: Vec<Arc<Implication>>,
}

impl Declarations {
    /// The same, with all that follows from what is known, so that no expression has to find it out again.
    #[must_use]
    pub fn closed(mut self) -> Self {
        let Closure { facts, followed, .. } = Closure::of(self.facts, &self.implications);
        self.facts = facts;
        let mut followed = followed.into_iter();
        self.implications.retain(|_| !followed.next().unwrap_or_default());
        self
    }
}

/// Something that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CheckError {
    /// Where, in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong, and where that is known, what to write.
    pub message: String,
}

/// The type of an expression.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub(crate) fn check(root: &Expr, declarations: &Declarations) -> Result<StaticType, Vec<CheckError>> {
    let mut checker = Checker::new(declarations);
    let type_ = checker.check(root);
    let type_ = checker.substitution.finish(&type_);
    checker.check_aggregates();
    let mut errors = checker.errors;
    errors.sort_by_key(|error| error.offset);
    errors.dedup();
    if errors.is_empty() { Ok(type_) } else { Err(errors) }
}

/// What a condition proves where it has been found true, without what follows from that.
pub(crate) fn proven_by(condition: &Expr, declarations: &Declarations) -> Facts {
    Checker::new(declarations).proven(condition, true)
}

struct Checker<'a> {
    declarations: &'a Declarations,
    /// What macros bind here.
    locals: Vec<StaticType>,
    /// What is known here.
    facts: Facts,
    substitution: Substitution,
    /// The parts of each list, and the keys and values of each map, that are to have one type; with where they stand.
    aggregates: Vec<Vec<(usize, StaticType)>>,
    /// What was found to be read although it may be absent: nothing below it is told of.
    unguarded: Vec<Path>,
    /// The fields that are read of what is looked at, the innermost last.
    above: Vec<Segment>,
    /// Whether this is an argument of `format`, which takes lists of anything.
    is_in_format: bool,
    errors: Vec<CheckError>,
}

impl<'a> Checker<'a> {
    fn new(declarations: &'a Declarations) -> Self {
        Self {
            declarations,
            locals: Vec::new(),
            facts: declarations.facts.clone().closed(&declarations.implications),
            substitution: Substitution::default(),
            aggregates: Vec::new(),
            unguarded: Vec::new(),
            above: Vec::new(),
            is_in_format: false,
            errors: Vec::new(),
        }
    }

    fn error(&mut self, offset: usize, message: impl Into<String>) {
        self.errors.push(CheckError {
            offset,
            message: message.into(),
        });
    }

    fn check(&mut self, expr: &Expr) -> StaticType {
        let above = std::mem::take(&mut self.above);
        let type_ = self.check_below(expr);
        self.above = above;
        type_
    }

    /// Checks what a field is read of.
    fn operand(&mut self, operand: &Expr, segment: Segment) -> StaticType {
        self.above.push(segment);
        let type_ = self.check_below(operand);
        self.above.pop();
        type_
    }

    fn check_below(&mut self, expr: &Expr) -> StaticType {
        stacker::maybe_grow(RED_ZONE, PIECE, || self.node(expr))
    }

    fn node(&mut self, expr: &Expr) -> StaticType {
        match &expr.node {
            Node::Literal(literal) => literal_type(literal),
            Node::Type(type_) => StaticType::type_of((*type_).into()),
            Node::Variable(name) => self.variable(expr.offset, name),
            Node::Local { slot, .. } => self.locals.get(*slot).cloned().unwrap_or(StaticType::Dyn),
            Node::Select {
                operand,
                field,
                optional,
            } => {
                let of = self.operand(operand, Segment::field(field, *optional));
                let found = self.field(expr.offset, operand, &of, field, *optional);
                if *optional { maybe(found) } else { found }
            }
            Node::Has { operand, field } => {
                let of = self.check(operand);
                self.field(expr.offset, operand, &of, field, true);
                StaticType::BOOL
            }
            Node::Index {
                operand,
                index,
                optional,
            } => self.index(expr.offset, operand, index, *optional),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Message(entries) => {
                for entry in entries {
                    self.entry_value(entry);
                }
                StaticType::map(StaticType::STRING, StaticType::Dyn)
            }
            Node::And(left, right) => self.logic("&&", left, right, true),
            Node::Or(left, right) => self.logic("||", left, right, false),
            Node::Not(operand) => {
                self.condition(operand, "! negates a condition");
                StaticType::BOOL
            }
            Node::Negate(operand) => {
                let of = self.check(operand);
                self.resolved(expr.offset, "-", &signatures::of_negation(), &[of], false)
            }
            Node::Conditional(parts) => self.conditional(expr.offset, parts),
            Node::Binary(operator, left, right) => self.binary(expr.offset, *operator, left, right),
            Node::Call { overloads, arguments } => self.call(expr.offset, overloads, arguments),
            Node::Macro(comprehension) => self.comprehension(comprehension),
        }
    }

    fn variable(&mut self, offset: usize, name: &str) -> StaticType {
        if let Some(type_) = self.declarations.variables.get(name) {
            return type_.clone();
        }
        // names that nobody can write are not told
        let known = self.declarations.variables.keys().map(String::as_str);
        let known: Vec<&str> = known.filter(|name| !name.starts_with("__")).collect();
        let meant = did_you_mean(name, known.iter().copied());
        let others = if known.is_empty() || !meant.is_empty() {
            String::new()
        } else {
            format!("; there are {}", known.join(", "))
        };
        self.error(offset, format!("there is no variable {name}{others}{meant}"));
        StaticType::Dyn
    }

    /// Checks a part that is to be true or false.
    fn condition(&mut self, expr: &Expr, what: &str) {
        let type_ = self.check(expr);
        self.is_bool(expr.offset, &type_, what);
    }

    fn is_bool(&mut self, offset: usize, type_: &StaticType, what: &str) {
        if !self.substitution.assign(type_, &StaticType::BOOL) {
            let type_ = self.substitution.finish(type_);
            self.error(offset, format!("{what}, which is true or false, not {type_}"));
        }
    }

    fn logic(&mut self, symbol: &str, left: &Expr, right: &Expr, decided_by: bool) -> StaticType {
        let what = format!("{symbol} joins conditions");
        self.condition(left, &what);
        let facts = self.proven(left, decided_by);
        self.knowing(facts, |this| this.condition(right, &what));
        StaticType::BOOL
    }

    /// Checks something where more is known.
    fn knowing<T>(&mut self, more: Facts, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.facts.clone();
        self.facts = before.clone().and(more).closed(&self.declarations.implications);
        let checked = check(self);
        self.facts = before;
        checked
    }

    fn proven(&self, condition: &Expr, truth: bool) -> Facts {
        proven(condition, truth, &|path| match self.facts.among.get(path) {
            Some(values) => Some(values.clone()),
            None => self.values_at(path),
        })
    }

    fn conditional(&mut self, offset: usize, [condition, yes, no]: &[Expr; 3]) -> StaticType {
        self.condition(condition, "?: needs a condition");
        let facts = self.proven(condition, true);
        let yes = self.knowing(facts, |this| this.check(yes));
        let facts = self.proven(condition, false);
        let no = self.knowing(facts, |this| this.check(no));
        let result = self.substitution.fresh();
        if self
            .substitution
            .assign_all(&[yes.clone(), no.clone()], &[result.clone(), result.clone()])
        {
            return self.substitution.resolve(&result);
        }
        let (yes, no) = (self.substitution.finish(&yes), self.substitution.finish(&no));
        self.error(
            offset,
            format!("both results of ?: have one type, not {yes} and {no}; dyn(…) allows both"),
        );
        StaticType::Dyn
    }

    fn list(&mut self, items: &[(Expr, bool)]) -> StaticType {
        let mut parts = Vec::with_capacity(items.len());
        for (item, is_optional) in items {
            let type_ = self.check(item);
            parts.push((item.offset, self.entry_type(item.offset, type_, *is_optional)));
        }
        let joined = self.joined(parts.iter().map(|(_, type_)| type_));
        self.aggregate(parts);
        StaticType::list(joined)
    }

    fn map(&mut self, entries: &[Entry]) -> StaticType {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for entry in entries {
            keys.push((entry.key.offset, self.check(&entry.key)));
            values.push((entry.value.offset, self.entry_value(entry)));
        }
        let key = self.joined(keys.iter().map(|(_, type_)| type_));
        let value = self.joined(values.iter().map(|(_, type_)| type_));
        self.aggregate(keys);
        self.aggregate(values);
        StaticType::map(key, value)
    }

    fn entry_value(&mut self, entry: &Entry) -> StaticType {
        let type_ = self.check(&entry.value);
        self.entry_type(entry.value.offset, type_, entry.optional)
    }

    /// The type of what becomes part of a list or map.
    fn entry_type(&mut self, offset: usize, type_: StaticType, is_optional: bool) -> StaticType {
        if !is_optional {
            return type_;
        }
        match self.substitution.resolve(&type_) {
            StaticType::Optional(value) => (*value).clone(),
            StaticType::Dyn => StaticType::Dyn,
            other => {
                self.error(offset, format!("? takes an optional value, not {other}"));
                StaticType::Dyn
            }
        }
    }

    /// The type that all of these have; any, if they have none in common.
    fn joined<'t>(&mut self, types: impl Iterator<Item = &'t StaticType>) -> StaticType {
        let mut joined: Option<StaticType> = None;
        for type_ in types {
            joined = Some(match joined {
                None => type_.clone(),
                Some(before) if self.substitution.assign(&before, type_) => most_general(&before, type_),
                Some(_) => StaticType::Dyn,
            });
        }
        joined.unwrap_or_else(|| self.substitution.fresh())
    }

    fn aggregate(&mut self, parts: Vec<(usize, StaticType)>) {
        if !self.is_in_format && parts.len() > 1 {
            self.aggregates.push(parts);
        }
    }

    /// What is written in one list or map has one type, as Kubernetes wants it. That is known when everything has been checked.
    fn check_aggregates(&mut self) {
        for parts in std::mem::take(&mut self.aggregates) {
            let mut types = parts.iter().map(|(offset, type_)| {
                let type_ = self.substitution.finish(type_).widened();
                (*offset, type_)
            });
            let Some((_, first)) = types.next() else {
                continue;
            };
            let other = types.find(|(_, type_)| *type_ != first);
            if let Some((offset, other)) = other {
                self.error(
                    offset,
                    format!("the values of a list or map have one type, not {first} and {other}; dyn(…) around each allows both"),
                );
            }
        }
    }

    /// The values that the string at a path can have.
    fn values_at(&self, path: &Path) -> Option<BTreeSet<String>> {
        let (root, fields) = path.split_first()?;
        let mut type_ = match root.strip_prefix('#') {
            Some(slot) => self.locals.get(slot.parse::<usize>().ok()?)?,
            None => self.declarations.variables.get(root)?,
        };
        for field in fields {
            let StaticType::Object(object) = type_ else {
                return None;
            };
            type_ = object
                .fields()
                .get(field)
                .map(|field| &field.type_)
                .or(object.rest())?;
        }
        match type_ {
            StaticType::OneOf(values) => Some((**values).clone()),
            _ => None,
        }
    }

    /// Whether a field is known to be there, or was told of with what it is a field of.
    fn is_guarded(&self, operand: &Expr, field: &str) -> bool {
        path_of(operand).is_some_and(|mut path| {
            let is_told = self.unguarded.iter().any(|told| path.starts_with(told));
            path.push(field.to_owned());
            is_told || self.facts.present.contains(&path)
        })
    }
}

fn literal_type(literal: &Literal) -> StaticType {
    StaticType::Scalar(match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    })
}

/// What `.?` and `[?]` give: one optional, however deep they reach.
fn maybe(type_: StaticType) -> StaticType {
    match type_ {
        StaticType::Optional(_) => type_,
        other => StaticType::optional(other),
    }
}
