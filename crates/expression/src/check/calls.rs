//! Functions and operators.

use std::collections::BTreeSet;

use super::{
    Checker, constants,
    facts::{text_of, texts_of},
    signatures::{self, Signature},
    suggest::did_you_mean,
    types::StaticType,
};
use crate::{
    ast::{Binary, Expr},
    library::Function,
    types::Type,
};

impl Checker<'_> {
    pub(super) fn call(&mut self, offset: usize, overloads: &[Function], arguments: &[Expr]) -> StaticType {
        let Some(first) = overloads.first() else {
            return StaticType::Dyn;
        };
        let is_in_format = self.is_in_format;
        self.is_in_format |= first.name == "format";
        let types: Vec<StaticType> = arguments.iter().map(|argument| self.check(argument)).collect();
        self.is_in_format = is_in_format;
        let errors = self.errors.len();
        let signatures = signatures::of_function(overloads);
        let result = self.resolved(offset, &first.name, &signatures, &types, first.is_method);
        if self.errors.len() == errors
            && let Some(message) = constants::failure(overloads, arguments)
        {
            self.error(offset, message);
        }
        result
    }

    pub(super) fn binary(
        &mut self,
        offset: usize,
        operator: Binary,
        left: &Expr,
        right: &Expr,
    ) -> StaticType {
        let types = [self.check(left), self.check(right)];
        let errors = self.errors.len();
        let signatures = signatures::of_operator(operator);
        let result = self.resolved(offset, operator.symbol(), &signatures, &types, false);
        if self.errors.len() == errors {
            match operator {
                Binary::Equal | Binary::NotEqual => self.can_be_equal([left, right], &types),
                Binary::In => self.can_be_in(left, right, &types),
                Binary::Add
                | Binary::Subtract
                | Binary::Multiply
                | Binary::Divide
                | Binary::Modulo
                | Binary::Less
                | Binary::LessOrEqual
                | Binary::Greater
                | Binary::GreaterOrEqual => {}
            }
        }
        result
    }

    /// What a function or operator gives; an error if it does not take these.
    pub(super) fn resolved(
        &mut self,
        offset: usize,
        name: &str,
        signatures: &[Signature],
        arguments: &[StaticType],
        is_method: bool,
    ) -> StaticType {
        if let Some(result) = signatures::resolve(signatures, arguments, &mut self.substitution) {
            return result;
        }
        let types: Vec<StaticType> = arguments
            .iter()
            .map(|type_| self.substitution.finish(type_))
            .collect();
        self.error(offset, no_overload(name, &types, is_method));
        StaticType::Dyn
    }

    /// Two strings with known values are equal only if they have one in common.
    fn can_be_equal(&mut self, [left, right]: [&Expr; 2], types: &[StaticType; 2]) {
        let [known, other] = types.each_ref().map(|type_| self.substitution.resolve(type_));
        match (&known, &other, text_of(left), text_of(right)) {
            (StaticType::OneOf(values), _, _, Some(text)) => self.is_one_of(right.offset, text, values),
            (_, StaticType::OneOf(values), Some(text), _) => self.is_one_of(left.offset, text, values),
            (StaticType::OneOf(values), StaticType::OneOf(others), _, _) if values.is_disjoint(others) => {
                let message = format!(
                    "these are never equal: one is {}, the other {}",
                    listed(values),
                    listed(others)
                );
                self.error(right.offset, message);
            }
            _ => {}
        }
    }

    fn can_be_in(&mut self, left: &Expr, right: &Expr, types: &[StaticType; 2]) {
        if let (StaticType::OneOf(values), Some(texts)) = (&types[0], texts_of(right)) {
            for (offset, text) in texts {
                self.is_one_of(offset, text, values);
            }
        }
        if let (StaticType::List(items), Some(text)) = (&types[1], text_of(left))
            && let StaticType::OneOf(values) = &**items
        {
            self.is_one_of(left.offset, text, values);
        }
    }

    fn is_one_of(&mut self, offset: usize, text: &str, values: &BTreeSet<String>) {
        if !values.contains(text) {
            let meant = did_you_mean(text, values.iter().map(String::as_str));
            self.error(
                offset,
                format!("it is never '{text}', but {}{meant}", listed(values)),
            );
        }
    }
}

fn listed(values: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

fn no_overload(name: &str, types: &[StaticType], is_method: bool) -> String {
    let is_int = |type_: &StaticType| *type_ == StaticType::INT;
    let is_double = |type_: &StaticType| *type_ == StaticType::DOUBLE;
    match (name, types) {
        ("==" | "!=", [left, right]) => {
            format!("{left} and {right} are never equal{}", in_one_type(left, right))
        }
        ("in", [left, right]) => {
            format!("in looks for a value in a list or a key in a map, not for {left} in {right}")
        }
        ("-", [of]) => format!("- negates a number, not {of}"),
        ("[]" | "[?]", [of, index]) => format!("{of} has no element at {index}"),
        ("+" | "-" | "*" | "/" | "%" | "<" | "<=" | ">" | ">=", [left, right]) => {
            let hint = if name == "%" && (is_double(left) || is_double(right)) {
                "; % is for integers".to_owned()
            } else if name == "+" && [left, right].iter().any(|type_| is_text(type_)) {
                "; string(…) makes text of a value".to_owned()
            } else if is_int(left) && is_double(right) || is_double(left) && is_int(right) {
                in_one_type(left, right)
            } else {
                String::new()
            };
            format!("{name} does not take {left} and {right}{hint}")
        }
        (_, [of, others @ ..]) if is_method => {
            format!("{of} has no method {name}({})", types_listed(others))
        }
        _ => format!("{name} does not take ({})", types_listed(types)),
    }
}

fn is_text(type_: &StaticType) -> bool {
    matches!(type_, StaticType::Scalar(Type::String) | StaticType::OneOf(_))
}

/// What to write where an integer meets a floating-point number.
fn in_one_type(left: &StaticType, right: &StaticType) -> String {
    let numbers = [left, right].map(|type_| match type_ {
        StaticType::Scalar(Type::Int | Type::Uint) => Some(false),
        StaticType::Scalar(Type::Double) => Some(true),
        _ => None,
    });
    match numbers {
        [Some(left), Some(right)] if left != right => {
            "; write a whole number with .0, such as 100.0, or convert with double(…)".to_owned()
        }
        _ => String::new(),
    }
}

fn types_listed(types: &[StaticType]) -> String {
    let names: Vec<String> = types.iter().map(ToString::to_string).collect();
    names.join(", ")
}
