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
            StaticType::Object(object) => {
                let segment = Segment::field(field, false);
                self.field_of_object(offset, operand, object, &segment, may_be_absent)
            }
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
        segment: &Segment,
        may_be_absent: bool,
    ) -> StaticType {
        let field = segment.name.as_str();
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
            let message = self.proposal(operand, segment, &type_);
            self.error(offset, message);
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
        let segment = text_of(index).map(|key| Segment::key(key, is_optional));
        let of = match &segment {
            Some(segment) => self.operand(operand, segment.clone()),
            None => self.check(operand),
        };
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
        let found = if let Some(segment) = segment {
            let may_be_absent = is_optional || is_of_optional;
            self.field_of_object(index.offset, operand, object, &segment, may_be_absent)
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

/// One step from a value to one of its fields, as it is written.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    name: String,
    /// Whether it is written in brackets.
    is_key: bool,
    is_optional: bool,
}

impl Segment {
    pub(super) fn field(name: &str, is_optional: bool) -> Self {
        Self {
            name: name.to_owned(),
            is_key: false,
            is_optional,
        }
    }

    pub(super) fn key(name: &str, is_optional: bool) -> Self {
        Self {
            is_key: true,
            ..Self::field(name, is_optional)
        }
    }

    fn written(&self, is_optional: bool) -> String {
        let mark = if is_optional { "?" } else { "" };
        if self.is_key {
            let name = self.name.replace('\\', "\\\\").replace('\'', "\\'");
            format!("[{mark}'{name}']")
        } else {
            format!(".{mark}{}", self.name)
        }
    }

    /// A condition under which it is there.
    fn is_there(&self, place: &str) -> String {
        if self.is_key {
            format!("{place}{}.hasValue()", self.written(true))
        } else {
            format!("has({place}{})", self.written(false))
        }
    }
}

impl Checker<'_> {
    /// What to write instead of a field that may be absent, with all that is read below it.
    fn proposal(&self, operand: &Expr, segment: &Segment, type_: &StaticType) -> String {
        let place = spelled(operand).unwrap_or_else(|| "…".to_owned());
        let mut guards = vec![segment.is_there(&place)];
        let mut optional = format!("{place}{}", segment.written(true));
        let mut plain = format!("{place}{}", segment.written(false));
        let mut type_ = Some(type_.clone());
        let mut is_guarded = true;
        for below in self.above.iter().rev() {
            let known = match type_.as_ref().map(|type_| self.substitution.resolve(type_)) {
                Some(StaticType::Object(object)) => match (object.fields().get(&below.name), object.rest()) {
                    (Some(field), _) => Some((field.type_.clone(), field.is_required)),
                    (None, Some(rest)) => Some((rest.clone(), false)),
                    (None, None) => None,
                },
                Some(_) | None => None,
            };
            // from here on, what is written bears that it is absent
            is_guarded &= !below.is_optional;
            if is_guarded && known.as_ref().is_some_and(|(_, is_required)| !is_required) {
                guards.push(below.is_there(&plain));
            }
            optional.push_str(&below.written(false));
            plain.push_str(&below.written(false));
            type_ = known.map(|(type_, _)| type_);
        }
        let name = &segment.name;
        let write = format!("{name} may be absent: write {optional}.orValue(…)");
        // of what has no path, a condition proves nothing
        if path_of(operand).is_none() {
            return write;
        }
        format!("{write}, or guard it with {}", guards.join(" && "))
    }
}

/// How an expression of names is written.
fn spelled(expr: &Expr) -> Option<String> {
    use crate::ast::{Literal, Node};
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
        } => {
            let of = spelled(operand)?;
            match &index.node {
                Node::Literal(Literal::Int(at)) => Some(format!("{of}[{at}]")),
                _ => Some(of + &Segment::key(text_of(index)?, false).written(false)),
            }
        }
        _ => None,
    }
}
