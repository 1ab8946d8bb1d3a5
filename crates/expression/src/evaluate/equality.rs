//! Equality: values of different types are not equal, but numbers are by what they are worth.

use crate::{
    budget::Budget,
    error::Error,
    evaluate::no_overload,
    value::{Key, List, Map, Value, number},
};

/// Whether two values are equal.
pub(crate) fn equal(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<bool, Error> {
    budget.step(1)?;
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => super::operators::compare_numbers(left, right).is_some_and(std::cmp::Ordering::is_eq),
        (Value::String(left), Value::String(right)) => {
            budget.scan(if left.len() == right.len() { left.len() } else { 0 })?;
            left == right
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.scan(left.len().min(right.len()))?;
            left == right
        }
        (Value::List(left), Value::List(right)) => deeper(|| lists(left, right, budget))?,
        (Value::Map(left), Value::Map(right)) => deeper(|| maps(left, right, budget))?,
        (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Type(left), Value::Type(right)) => left == right,
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(left)), Value::Optional(Some(right))) => deeper(|| equal(left, right, budget))?,
        (Value::Ip(left), Value::Ip(right)) => left == right,
        (Value::Cidr(left), Value::Cidr(right)) => left == right,
        (Value::Url(left), Value::Url(right)) => left.to_string() == right.to_string(),
        (Value::Quantity(left), Value::Quantity(right)) => left.compare(right).is_eq(),
        (Value::Semver(left), Value::Semver(right)) => left.compare(right).is_eq(),
        (Value::Format(left), Value::Format(right)) => left.name == right.name,
        (Value::Host(left), Value::Host(right)) => {
            left.type_name() == right.type_name() && left.is_equal(&**right)
        }
        _ => false,
    })
}

fn deeper(compare: impl FnOnce() -> Result<bool, Error>) -> Result<bool, Error> {
    stacker::maybe_grow(64 << 10, 1 << 20, compare)
}

fn lists(left: &List<'_>, right: &List<'_>, budget: &mut Budget) -> Result<bool, Error> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right.iter()) {
        if !equal(&left, &right, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(left: &Map<'_>, right: &Map<'_>, budget: &mut Budget) -> Result<bool, Error> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (key, left) in left.entries() {
        budget.scan(16)?;
        let Some(right) = get(right, &key) else {
            return Ok(false);
        };
        if !equal(&left, &right, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As [`Map::get`], for a key that lives elsewhere.
fn get<'b>(map: &Map<'b>, key: &Key<'_>) -> Option<Value<'b>> {
    let key: Key<'b> = match key {
        Key::Bool(truth) => Key::Bool(*truth),
        Key::Int(int) => Key::Int(*int),
        Key::Uint(uint) => Key::Uint(*uint),
        Key::String(text) => match map {
            Map::Json(object) => return object.get(&**text).map(Value::from),
            Map::Made(_) => Key::String(text.to_string().into()),
        },
    };
    map.get(&key)
}

/// Whether a list has an element, or a map a key.
pub(crate) fn contains(collection: &Value<'_>, item: &Value<'_>, budget: &mut Budget) -> Result<bool, Error> {
    match collection {
        Value::List(list) => {
            for element in list.iter() {
                if equal(&element, item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => {
            budget.scan(16)?;
            let key = match item {
                Value::Double(double) => number::exact_int(*double).map(Key::Int),
                item => Key::of(item),
            };
            Ok(key.is_some_and(|key| get(map, &key).is_some()))
        }
        other => Err(no_overload("in", &[item.clone(), other.clone()])),
    }
}
