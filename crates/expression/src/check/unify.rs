//! Which type may stand for which, as in the checker of cel-go.

use std::cell::Cell;

use super::types::StaticType;
use crate::types::Type;

/// Most parts of types that one question looks at. Unknown types may refer to each other twice each, so there is no other bound.
const MAX_VISITED: usize = 10_000;

/// What is known by now of the types that were not known when they were met.
#[derive(Debug, Default)]
pub(super) struct Substitution {
    bound: Vec<Option<StaticType>>,
    /// What each change replaced, to take it back.
    changes: Vec<(usize, Option<StaticType>)>,
    /// How many parts the question may still look at.
    left: Cell<usize>,
}

impl Substitution {
    /// A type of which nothing is known yet.
    pub(super) fn fresh(&mut self) -> StaticType {
        self.bound.push(None);
        StaticType::Unresolved(self.bound.len() - 1)
    }

    fn get(&self, variable: usize) -> Option<&StaticType> {
        self.bound.get(variable).and_then(Option::as_ref)
    }

    fn bind(&mut self, variable: usize, type_: StaticType) {
        if let Some(place) = self.bound.get_mut(variable) {
            let before = place.replace(type_.widened());
            self.changes.push((variable, before));
        }
    }

    /// The type with everything that is known of it by now.
    pub(super) fn resolve(&self, type_: &StaticType) -> StaticType {
        self.left.set(MAX_VISITED);
        self.substituted(type_, false)
    }

    /// The type at the end: what is not known then can be anything.
    pub(super) fn finish(&self, type_: &StaticType) -> StaticType {
        self.left.set(MAX_VISITED);
        self.substituted(type_, true)
    }

    /// Whether one part more may be looked at.
    fn visit(&self) -> bool {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    fn substituted(&self, type_: &StaticType, is_end: bool) -> StaticType {
        if !self.visit() {
            return StaticType::Dyn;
        }
        match type_ {
            StaticType::Dyn | StaticType::Scalar(_) | StaticType::OneOf(_) | StaticType::Object(_) => {
                type_.clone()
            }
            StaticType::List(item) => StaticType::list(self.substituted(item, is_end)),
            StaticType::Map(parts) => StaticType::map(
                self.substituted(&parts.0, is_end),
                self.substituted(&parts.1, is_end),
            ),
            StaticType::Optional(value) => StaticType::optional(self.substituted(value, is_end)),
            StaticType::TypeOf(inner) => StaticType::type_of(self.substituted(inner, is_end)),
            StaticType::Unresolved(variable) => match self.get(*variable) {
                Some(known) => self.substituted(known, is_end),
                None if is_end => StaticType::Dyn,
                None => type_.clone(),
            },
        }
    }

    /// Whether values of the first type may be where the second is wanted; if so, what follows for unknown types is kept.
    pub(super) fn assign(&mut self, from: &StaticType, to: &StaticType) -> bool {
        self.assign_all(std::slice::from_ref(from), std::slice::from_ref(to))
    }

    /// The same of several at once: all or none.
    pub(super) fn assign_all(&mut self, from: &[StaticType], to: &[StaticType]) -> bool {
        self.left.set(MAX_VISITED);
        let before = self.changes.len();
        let fits =
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.is_assignable(from, to));
        while !fits && self.changes.len() > before {
            if let Some((variable, known)) = self.changes.pop()
                && let Some(place) = self.bound.get_mut(variable)
            {
                *place = known;
            }
        }
        fits
    }

    fn is_assignable(&mut self, from: &StaticType, to: &StaticType) -> bool {
        use StaticType::{Dyn, List, Map, Object, OneOf, Optional, Scalar, TypeOf, Unresolved};
        if !self.visit() {
            return false;
        }
        if let Unresolved(variable) = to {
            let (is_valid, was_known) = self.may_stand_for(from, *variable);
            if is_valid || was_known {
                return is_valid;
            }
        }
        match (from, to) {
            (Unresolved(variable), to) => self.may_stand_for(to, *variable).0,
            (Dyn, _) | (_, Dyn) => true,
            (Scalar(Type::Null), other) | (other, Scalar(Type::Null)) => is_nullable(other),
            (OneOf(_) | Scalar(Type::String), OneOf(_) | Scalar(Type::String)) | (TypeOf(_), TypeOf(_)) => {
                true
            }
            (Scalar(from), Scalar(to)) => from == to,
            (List(from), List(to)) | (Optional(from), Optional(to)) => self.is_assignable(from, to),
            (Map(from), Map(to)) => self.is_assignable(&from.0, &to.0) && self.is_assignable(&from.1, &to.1),
            (Object(from), Map(to)) => {
                self.is_assignable(&StaticType::STRING, &to.0) && self.is_assignable(from.values(), &to.1)
            }
            (Map(from), Object(to)) => {
                self.is_assignable(&from.0, &StaticType::STRING) && self.is_assignable(&from.1, to.values())
            }
            // they may have the same fields
            (Object(_), Object(_)) => true,
            (
                Scalar(_) | OneOf(_) | List(_) | Map(_) | Optional(_) | TypeOf(_) | Object(_),
                Scalar(_) | OneOf(_) | List(_) | Map(_) | Optional(_) | TypeOf(_) | Object(_) | Unresolved(_),
            ) => false,
        }
    }

    /// Whether a type may be what an unknown one is, and whether something was known of that.
    fn may_stand_for(&mut self, type_: &StaticType, variable: usize) -> (bool, bool) {
        if matches!(type_, StaticType::Unresolved(other) if *other == variable) {
            return (true, true);
        }
        if let Some(known) = self.get(variable).cloned() {
            if *type_ == known {
                return (true, true);
            }
            let fits = self.is_assignable(type_, &known);
            if fits {
                let general = most_general(type_, &known);
                if !self.occurs(variable, &general) {
                    self.bind(variable, general);
                }
            }
            return (fits, true);
        }
        if self.occurs(variable, type_) {
            return (false, false);
        }
        self.bind(variable, type_.clone());
        (true, false)
    }

    fn occurs(&self, variable: usize, within: &StaticType) -> bool {
        if !self.visit() {
            return true;
        }
        match within {
            StaticType::Unresolved(other) => {
                *other == variable || self.get(*other).is_some_and(|known| self.occurs(variable, known))
            }
            StaticType::List(inner) | StaticType::Optional(inner) | StaticType::TypeOf(inner) => {
                self.occurs(variable, inner)
            }
            StaticType::Map(parts) => self.occurs(variable, &parts.0) || self.occurs(variable, &parts.1),
            StaticType::Dyn | StaticType::Scalar(_) | StaticType::OneOf(_) | StaticType::Object(_) => false,
        }
    }
}

/// Whether `null` may be compared with such a value, as cel-go has it.
fn is_nullable(type_: &StaticType) -> bool {
    match type_ {
        StaticType::Scalar(scalar) => !matches!(
            scalar,
            Type::Bool | Type::Int | Type::Uint | Type::Double | Type::String | Type::Bytes
        ),
        StaticType::Dyn | StaticType::Optional(_) | StaticType::Unresolved(_) => true,
        StaticType::OneOf(_)
        | StaticType::List(_)
        | StaticType::Map(_)
        | StaticType::TypeOf(_)
        | StaticType::Object(_) => false,
    }
}

/// Of two types, one of which may stand for the other, the one that says less.
pub(super) fn most_general(left: &StaticType, right: &StaticType) -> StaticType {
    use StaticType::{Dyn, List, Map, Object, OneOf, Optional, Unresolved};
    match (left, right) {
        (Dyn | Unresolved(_), _) => left.clone(),
        (_, Dyn | Unresolved(_)) => right.clone(),
        (OneOf(_), _) | (_, OneOf(_)) if left != right => StaticType::STRING,
        (List(left), List(right)) => StaticType::list(most_general(left, right)),
        (Optional(left), Optional(right)) => StaticType::optional(most_general(left, right)),
        (Map(left), Map(right)) => {
            StaticType::map(most_general(&left.0, &right.0), most_general(&left.1, &right.1))
        }
        (Object(object), Map(map)) | (Map(map), Object(object)) => {
            StaticType::map(map.0.clone(), most_general(object.values(), &map.1))
        }
        (Object(_), Object(_)) if left != right => StaticType::map(StaticType::STRING, StaticType::Dyn),
        (StaticType::Scalar(Type::Null), _) => right.clone(),
        _ => left.clone(),
    }
}
