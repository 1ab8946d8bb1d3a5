//! Fields and elements.

use super::{
    Checker,
    facts::{path_of, text_of},
    maybe, signatures,
    suggest::did_you_mean,
    types::{ObjectType, StaticType},
};
use crate::ast::Expr;

impl Checker<'_> {
    /// The type of a field. `may_be_absent`: it is asked for in a way that bears its absence.
    pub(super) fn field(
        &mut self,
        offset: usize,
        operand: &Expr,
        of: &StaticType,
        field: &str,
        may_be_absent: bool,
    ) -> StaticType {
        match self.substitution.resolve(of) {
            StaticType::Optional(inner) => {
                let found = self.field_of(offset, operand, &inner, field, true);
                StaticType::optional(found)
            }
            other => self.field_of(offset, operand, &other, field, may_be_absent),
        }
    }

    fn field_of(
        &mut self,
        offset: usize,
        operand: &Expr,
        of: &StaticType,
        field: &str,
        may_be_absent: bool,
    ) -> StaticType {
        match of {
            StaticType::Dyn => StaticType::Dyn,
            StaticType::Map(parts) => parts.1.clone(),
            StaticType::Object(object) => self.field_of_object(offset, operand, object, field, may_be_absent),
            StaticType::Unresolved(_) => {
                self.substitution.assign(&StaticType::Dyn, of);
                StaticType::Dyn
            }
            StaticType::Scalar(_)
            | StaticType::OneOf(_)
            | StaticType::List(_)
            | StaticType::Optional(_)
            | StaticType::TypeOf(_) => {
                self.error(offset, format!("{of} has no fields, so no {field}"));
                StaticType::Dyn
            }
        }
    }

    fn field_of_object(
        &mut self,
        offset: usize,
        operand: &Expr,
        object: &ObjectType,
        field: &str,
        may_be_absent: bool,
    ) -> StaticType {
        let (type_, is_required) = match (object.fields().get(field), object.rest()) {
            (Some(known), _) => (known.type_.clone(), known.is_required),
            (None, Some(rest)) => (rest.clone(), false),
            (None, None) => {
                let message = object.explained(field).map_or_else(
                    || {
                        let meant = did_you_mean(field, object.fields().keys().map(String::as_str));
                        format!("there is no {} {field}{meant}", object.noun())
                    },
                    str::to_owned,
                );
                self.error(offset, message);
                return StaticType::Dyn;
            }
        };
        if !is_required && !may_be_absent && !self.is_guarded(operand, field) {
            self.unguarded.extend(path_of(operand).map(|mut path| {
                path.push(field.to_owned());
                path
            }));
            let place = spelled(operand);
            let (has, optional) = match &place {
                Some(place) => (
                    format!("has({place}.{field})"),
                    format!("{place}.?{field}.orValue(…)"),
                ),
                None => (format!("has(….{field})"), format!("….?{field}.orValue(…)")),
            };
            self.error(
                offset,
                format!("{field} may be absent: write {optional}, or guard it with {has}"),
            );
        }
        type_
    }

    pub(super) fn index(
        &mut self,
        offset: usize,
        operand: &Expr,
        index: &Expr,
        is_optional: bool,
    ) -> StaticType {
        let of = self.check(operand);
        let key = self.check(index);
        let of = self.substitution.resolve(&of);
        let object = match &of {
            StaticType::Object(object) => Some((object, false)),
            StaticType::Optional(inner) => match &**inner {
                StaticType::Object(object) => Some((object, true)),
                _ => None,
            },
            _ => None,
        };
        let Some((object, is_of_optional)) = object else {
            let symbol = if is_optional { "[?]" } else { "[]" };
            let signatures = signatures::of_index(is_optional);
            return self.resolved(offset, symbol, &signatures, &[of, key], false);
        };
        let found = if let Some(field) = text_of(index) {
            self.field_of_object(
                index.offset,
                operand,
                object,
                field,
                is_optional || is_of_optional,
            )
        } else {
            if !self.substitution.assign(&key, &StaticType::STRING) {
                let key = self.substitution.finish(&key);
                self.error(
                    index.offset,
                    format!("the keys of an object are strings, not {key}"),
                );
            }
            object.values().clone()
        };
        if is_optional || is_of_optional {
            maybe(found)
        } else {
            found
        }
    }
}

/// How an expression of names is written.
fn spelled(expr: &Expr) -> Option<String> {
    use crate::ast::Node;
    match &expr.node {
        Node::Variable(name) | Node::Local { name, .. } => Some(name.clone()),
        Node::Select {
            operand,
            field,
            optional,
        } => Some(format!(
            "{}.{}{field}",
            spelled(operand)?,
            if *optional { "?" } else { "" }
        )),
        Node::Index {
            operand,
            index,
            optional: false,
        } => Some(format!("{}['{}']", spelled(operand)?, text_of(index)?)),
        _ => None,
    }
}
