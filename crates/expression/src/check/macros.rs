//! Macros that bind names.

use super::{Checker, signatures, types::StaticType};
use crate::ast::{Comprehension, Expr, MacroKind};

impl Checker<'_> {
    pub(super) fn comprehension(&mut self, comprehension: &Comprehension) -> StaticType {
        let range = self.check(&comprehension.range);
        let range = self.substitution.resolve(&range);
        let bound = match comprehension.kind {
            MacroKind::OptMap | MacroKind::OptFlatMap => self.opened(&comprehension.range, &range),
            MacroKind::All
            | MacroKind::Exists
            | MacroKind::ExistsOne
            | MacroKind::Map
            | MacroKind::TransformMap
            | MacroKind::TransformMapEntry
            | MacroKind::SortBy => self.elements(&comprehension.range, &range, comprehension.names.len()),
        };
        let key = bound.first().cloned().unwrap_or(StaticType::Dyn);
        let before = self.locals.len();
        self.locals.extend(bound);
        let body = match &comprehension.filter {
            Some(filter) => {
                self.condition(filter, "elements are chosen by a condition");
                let facts = self.proven(filter, true);
                self.knowing(facts, |this| this.body(comprehension))
            }
            None => self.body(comprehension),
        };
        self.locals.truncate(before);
        self.result(comprehension, &range, key, body)
    }

    fn body(&mut self, comprehension: &Comprehension) -> StaticType {
        self.check(&comprehension.body)
    }

    fn result(
        &mut self,
        comprehension: &Comprehension,
        range: &StaticType,
        key: StaticType,
        body: StaticType,
    ) -> StaticType {
        let offset = comprehension.body.offset;
        match comprehension.kind {
            MacroKind::All | MacroKind::Exists | MacroKind::ExistsOne => {
                self.is_bool(offset, &body, "the last argument is a condition");
                StaticType::BOOL
            }
            MacroKind::Map => StaticType::list(body),
            MacroKind::TransformMap => StaticType::map(key, body),
            MacroKind::TransformMapEntry => self.entries(offset, &body),
            MacroKind::SortBy => {
                let keys = StaticType::list(body);
                self.resolved(
                    offset,
                    "sortBy",
                    &signatures::of_sorting(),
                    &[range.clone(), keys],
                    true,
                )
            }
            MacroKind::OptMap => StaticType::optional(body),
            MacroKind::OptFlatMap => {
                let inner = self.substitution.fresh();
                let wanted = StaticType::optional(inner);
                if !self.substitution.assign(&body, &wanted) {
                    let body = self.substitution.finish(&body);
                    self.error(offset, format!("optFlatMap makes an optional value, not {body}"));
                }
                self.substitution.resolve(&wanted)
            }
        }
    }

    fn entries(&mut self, offset: usize, body: &StaticType) -> StaticType {
        match self.substitution.resolve(body) {
            map @ StaticType::Map(_) => map,
            StaticType::Object(object) => StaticType::map(StaticType::STRING, object.values().clone()),
            StaticType::Dyn => StaticType::map(StaticType::Dyn, StaticType::Dyn),
            other => {
                self.error(offset, format!("transformMapEntry makes a map, not {other}"));
                StaticType::map(StaticType::Dyn, StaticType::Dyn)
            }
        }
    }

    /// The types of the names that a macro binds for each element.
    fn elements(&mut self, range: &Expr, type_: &StaticType, names: usize) -> Vec<StaticType> {
        let (key, value) = match type_ {
            StaticType::List(item) if names == 1 => return vec![(**item).clone()],
            StaticType::List(item) => (StaticType::INT, (**item).clone()),
            StaticType::Map(parts) => (parts.0.clone(), parts.1.clone()),
            StaticType::Object(object) => (StaticType::STRING, object.values().clone()),
            StaticType::Dyn => (StaticType::Dyn, StaticType::Dyn),
            StaticType::Unresolved(_) => {
                self.substitution.assign(&StaticType::Dyn, type_);
                (StaticType::Dyn, StaticType::Dyn)
            }
            StaticType::Scalar(_)
            | StaticType::OneOf(_)
            | StaticType::Optional(_)
            | StaticType::TypeOf(_) => {
                self.error(
                    range.offset,
                    format!("{type_} has no elements; a list or a map has"),
                );
                (StaticType::Dyn, StaticType::Dyn)
            }
        };
        if names == 1 { vec![key] } else { vec![key, value] }
    }

    /// What `optMap` binds.
    fn opened(&mut self, range: &Expr, type_: &StaticType) -> Vec<StaticType> {
        let inner = self.substitution.fresh();
        if !self
            .substitution
            .assign(type_, &StaticType::optional(inner.clone()))
        {
            self.error(
                range.offset,
                format!("optMap is for optional values, not {type_}"),
            );
        }
        vec![self.substitution.resolve(&inner)]
    }
}
