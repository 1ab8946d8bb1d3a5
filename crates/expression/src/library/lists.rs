//! Lists.

use std::cmp::Ordering;

use super::{Function, function, method, unfit};
use crate::{
    budget::Budget,
    error::Error,
    evaluate::{Call, Evaluated, add, compare, equal, order},
    types::Type::{Bool, Dyn, Int, List},
    value::{self, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    method("isSorted", &[List], Bool, is_sorted),
    method("sum", &[List], Dyn, sum),
    method("min", &[List], Dyn, |call, a| {
        extreme(call, a, "min", Ordering::Less)
    }),
    method("max", &[List], Dyn, |call, a| {
        extreme(call, a, "max", Ordering::Greater)
    }),
    method("indexOf", &[List, Dyn], Int, index_of),
    method("lastIndexOf", &[List, Dyn], Int, last_index_of),
    method("includes", &[Dyn, Dyn], Bool, includes),
    method("slice", &[List, Int, Int], List, slice),
    method("flatten", &[List], List, flatten),
    method("flatten", &[List, Int], List, flatten),
    method("sort", &[List], List, sort),
    method("reverse", &[List], List, reverse),
    method("distinct", &[List], List, distinct),
    function("lists.range", &[Int], List, range),
];

/// Takes what so many references to values take.
fn room(budget: &mut Budget, count: usize) -> Result<(), Error> {
    budget.step(1 + count as u64 / 4)?;
    budget.allocate(count.saturating_mul(size_of::<Value<'_>>()))
}

fn is_sorted<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    let mut before: Option<Value<'a>> = None;
    for item in list.iter() {
        charge(call.budget, &item)?;
        if let Some(before) = &before
            && compare(before, &item)?.is_gt()
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

/// What one comparison takes.
fn charge(budget: &mut Budget, item: &Value<'_>) -> Result<(), Error> {
    budget.scan(match item {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    })
}

fn sum<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    let mut total: Option<Value<'a>> = None;
    for item in list.iter() {
        call.budget.step(1)?;
        if !matches!(
            item,
            Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_)
        ) {
            return unfit(&[item]);
        }
        total = Some(match total {
            Some(total) => add(total, item, call.budget)?,
            None => item,
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(call: &mut Call<'_>, arguments: &[Value<'a>], name: &str, wanted: Ordering) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        charge(call.budget, &item)?;
        match &best {
            Some(known) if compare(&item, known)? != wanted => {}
            _ => best = Some(item),
        }
    }
    best.ok_or_else(|| Error::failed(format!("{name} called on empty list")))
}

fn place(index: usize) -> Value<'static> {
    Value::Int(i64::try_from(index).unwrap_or(i64::MAX))
}

fn index_of<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list), wanted] = arguments else {
        return unfit(arguments);
    };
    for (index, item) in list.iter().enumerate() {
        if equal(&item, wanted, call.budget)? {
            return Ok(place(index));
        }
    }
    Ok(Value::Int(-1))
}

fn last_index_of<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list), wanted] = arguments else {
        return unfit(arguments);
    };
    for (back, item) in list.iter().rev().enumerate() {
        if equal(&item, wanted, call.budget)? {
            return Ok(place(list.len() - 1 - back));
        }
    }
    Ok(Value::Int(-1))
}

fn includes<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [list @ Value::List(_), wanted] => {
            crate::evaluate::contains(list, wanted, call.budget).map(Value::Bool)
        }
        [value, wanted] => equal(value, wanted, call.budget).map(Value::Bool),
        _ => unfit(arguments),
    }
}

fn slice<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = arguments else {
        return unfit(arguments);
    };
    let refused = |why: &str| Error::failed(format!("cannot slice({start}, {end}), {why}"));
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return Err(refused("negative indexes not supported"));
    };
    if from > to {
        return Err(refused("start index must be less than or equal to end index"));
    }
    if list.len() < to {
        return Err(refused(&format!("list is length {}", list.len())));
    }
    if let value::List::Json(items) = list {
        return Ok(Value::List(value::List::Json(&items[from..to])));
    }
    room(call.budget, to - from)?;
    let items: Vec<_> = (from..to).filter_map(|index| list.get(index)).collect();
    Ok(Value::List(items.into()))
}

fn flatten<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (list, depth) = match arguments {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        _ => return unfit(arguments),
    };
    if depth < 0 {
        return Err(Error::failed("level must be non-negative"));
    }
    let mut items = Vec::new();
    flatten_into(list, depth, &mut items, call.budget)?;
    Ok(Value::List(items.into()))
}

fn flatten_into<'a>(
    list: &value::List<'a>,
    depth: i64,
    items: &mut Vec<Value<'a>>,
    budget: &mut Budget,
) -> Result<(), Error> {
    for item in list.iter() {
        budget.step(1)?;
        match &item {
            Value::List(inner) if depth > 0 => {
                stacker::maybe_grow(64 << 10, 1 << 20, || {
                    flatten_into(inner, depth - 1, items, budget)
                })?;
            }
            _ => {
                budget.allocate(size_of::<Value<'_>>())?;
                items.push(item);
            }
        }
    }
    Ok(())
}

fn sort<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    room(call.budget, 2 * list.len())?;
    let keyed = list.iter().map(|item| (item.clone(), item)).collect();
    sorted(keyed, call.budget).map(|items| Value::List(items.into()))
}

/// Values in the order of their keys, which are of one type.
pub(crate) fn sorted<'a>(
    mut keyed: Vec<(Value<'a>, Value<'a>)>,
    budget: &mut Budget,
) -> Result<Vec<Value<'a>>, Error> {
    let Some((first, _)) = keyed.first() else {
        return Ok(Vec::new());
    };
    let type_ = first.type_of();
    if keyed.len() > 1 && keyed.iter().any(|(key, _)| key.type_of() != type_) {
        return Err(Error::failed("list elements must have the same type"));
    }
    if compare(first, first).is_err_and(|error| matches!(error, Error::NoSuchOverload(_))) {
        return Err(Error::failed("list elements must be comparable"));
    }
    let rounds = u64::from(usize::BITS - keyed.len().leading_zeros());
    for (key, _) in &keyed {
        budget.step(rounds)?;
        if let Value::String(text) = key {
            budget.step(rounds * (text.len() as u64 / 64))?;
        }
    }
    let mut failed = None;
    keyed.sort_by(|(left, _), (right, _)| order(left, right, &mut failed));
    match failed {
        Some(error) => Err(error),
        None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}

fn reverse<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    room(call.budget, list.len())?;
    let items: Vec<_> = list.iter().rev().collect();
    Ok(Value::List(items.into()))
}

fn distinct<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    let mut items: Vec<Value<'a>> = Vec::new();
    'next: for item in list.iter() {
        for known in &items {
            if equal(known, &item, call.budget)? {
                continue 'next;
            }
        }
        room(call.budget, 1)?;
        items.push(item);
    }
    Ok(Value::List(items.into()))
}

fn range<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::Int(count)] = arguments else {
        return unfit(arguments);
    };
    let Ok(len) = usize::try_from(*count) else {
        return Err(Error::failed(format!(
            "lists.range: size must be non-negative, got {count}"
        )));
    };
    if len > 1_000_000 {
        return Err(Error::failed(format!(
            "lists.range: size {len} exceeds maximum allowed (1000000)"
        )));
    }
    room(call.budget, len)?;
    Ok(Value::List(
        (0..*count).map(Value::Int).collect::<Vec<_>>().into(),
    ))
}
