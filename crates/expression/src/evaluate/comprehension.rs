//! Macros that bind names.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::{Evaluated, Evaluator, compare, insert, no_overload};
use crate::{
    ast::{Comprehension, MacroKind},
    error::Error,
    value::Value,
};

impl<'a> Evaluator<'a, '_> {
    pub(super) fn comprehension(&mut self, comprehension: &'a Comprehension) -> Evaluated<'a> {
        let range = self.value(&comprehension.range)?;
        match comprehension.kind {
            MacroKind::All => self.quantified(comprehension, range, false),
            MacroKind::Exists => self.quantified(comprehension, range, true),
            MacroKind::ExistsOne => {
                let mut count = 0_u64;
                self.each(comprehension, range, |this, _| {
                    if this.truth(&comprehension.body)? {
                        count += 1;
                    }
                    Ok(true)
                })?;
                Ok(Value::Bool(count == 1))
            }
            MacroKind::Map => {
                let mut made = Vec::new();
                self.each(comprehension, range, |this, _| {
                    let value = this.value(&comprehension.body)?;
                    this.call.budget.allocate(size_of::<Value<'a>>())?;
                    made.push(value);
                    Ok(true)
                })?;
                Ok(Value::List(made.into()))
            }
            MacroKind::TransformMap => {
                let mut made = BTreeMap::new();
                self.each(comprehension, range, |this, key| {
                    let value = this.value(&comprehension.body)?;
                    insert(&mut made, key, value, this.call.budget)?;
                    Ok(true)
                })?;
                Ok(Value::Map(made.into()))
            }
            MacroKind::TransformMapEntry => {
                let mut made = BTreeMap::new();
                self.each(comprehension, range, |this, _| {
                    let Value::Map(entries) = this.value(&comprehension.body)? else {
                        return Err(Error::failed("transformMapEntry makes maps"));
                    };
                    for (key, value) in entries.entries() {
                        insert(&mut made, &key.into(), value, this.call.budget)?;
                    }
                    Ok(true)
                })?;
                Ok(Value::Map(made.into()))
            }
            MacroKind::SortBy => self.sort_by(comprehension, range),
            MacroKind::OptMap => match self.opened(comprehension, range)? {
                Some(value) => Ok(Value::some(value)),
                None => Ok(Value::Optional(None)),
            },
            MacroKind::OptFlatMap => match self.opened(comprehension, range)? {
                Some(value @ Value::Optional(_)) => Ok(value),
                Some(other) => Err(no_overload("optFlatMap", &[other])),
                None => Ok(Value::Optional(None)),
            },
        }
    }

    /// Does something for each element that counts, until it says that this is enough. It is told the element's first name.
    fn each(
        &mut self,
        comprehension: &'a Comprehension,
        range: Value<'a>,
        mut body: impl FnMut(&mut Self, &Value<'a>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let depth = self.locals.len();
        let has_two = comprehension.names.len() == 2;
        let mut one = |this: &mut Self, first: Value<'a>, second: Option<Value<'a>>| {
            this.call.budget.step(1)?;
            let key = first.clone();
            this.locals.push(first);
            this.locals.extend(second);
            let counts = match &comprehension.filter {
                Some(filter) => this.truth(filter),
                None => Ok(true),
            };
            let go_on = match counts {
                Ok(true) => body(this, &key),
                Ok(false) => Ok(true),
                Err(error) => Err(error),
            };
            this.locals.truncate(depth);
            go_on
        };
        match range {
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    let go_on = if has_two {
                        let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                        one(self, index, Some(item))?
                    } else {
                        one(self, item, None)?
                    };
                    if !go_on {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.entries() {
                    if !one(self, key.into(), has_two.then_some(value))? {
                        break;
                    }
                }
            }
            other => return Err(no_overload("a macro", &[other])),
        }
        Ok(())
    }

    /// `all` and `exists`: an element may decide although others have no value.
    fn quantified(
        &mut self,
        comprehension: &'a Comprehension,
        range: Value<'a>,
        decisive: bool,
    ) -> Evaluated<'a> {
        let mut outcome = Ok(Value::Bool(!decisive));
        self.each(comprehension, range, |this, _| {
            match this.truth(&comprehension.body) {
                Ok(truth) if truth == decisive => {
                    outcome = Ok(Value::Bool(decisive));
                    Ok(false)
                }
                Ok(_) => Ok(true),
                Err(error) if error.is_budget_exceeded() => Err(error),
                Err(error) => {
                    outcome = Err(error);
                    Ok(true)
                }
            }
        })?;
        outcome
    }

    /// The body for what an optional has.
    fn opened(
        &mut self,
        comprehension: &'a Comprehension,
        range: Value<'a>,
    ) -> Result<Option<Value<'a>>, Error> {
        match range {
            Value::Optional(None) => Ok(None),
            Value::Optional(Some(value)) => {
                self.locals.push(Arc::unwrap_or_clone(value));
                let body = self.value(&comprehension.body);
                self.locals.pop();
                body.map(Some)
            }
            other => Err(no_overload("optMap", &[other])),
        }
    }

    fn sort_by(&mut self, comprehension: &'a Comprehension, range: Value<'a>) -> Evaluated<'a> {
        if !matches!(range, Value::List(_)) {
            return Err(no_overload("sortBy", &[range]));
        }
        let mut keyed: Vec<(Value<'a>, Value<'a>)> = Vec::new();
        self.each(comprehension, range, |this, item| {
            let key = this.value(&comprehension.body)?;
            this.call.budget.allocate(2 * size_of::<Value<'a>>())?;
            keyed.push((key, item.clone()));
            Ok(true)
        })?;
        let sorted = crate::library::lists::sorted(keyed, self.call.budget)?;
        Ok(Value::List(sorted.into()))
    }
}

/// Sorting cannot end early, so the first error is kept.
pub(crate) fn order(left: &Value<'_>, right: &Value<'_>, failed: &mut Option<Error>) -> Ordering {
    compare(left, right).unwrap_or_else(|error| {
        failed.get_or_insert(error);
        Ordering::Equal
    })
}
