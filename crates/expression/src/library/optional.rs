//! Optional values.

use std::sync::Arc;

use super::{Function, function, method, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated},
    types::Type::{Bool, Dyn, List, Optional},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("optional.of", &[Dyn], Optional, of),
    function("optional.ofNonZeroValue", &[Dyn], Optional, of_non_zero),
    function("optional.none", &[], Optional, |_, _| Ok(Value::Optional(None))),
    function("optional.unwrap", &[List], List, unwrap),
    method("unwrapOpt", &[List], List, unwrap),
    method("hasValue", &[Optional], Bool, |_, a| match a {
        [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
        _ => unfit(a),
    }),
    method("value", &[Optional], Dyn, value),
    method("or", &[Optional, Optional], Optional, |_, a| match a {
        [Value::Optional(None), other] => Ok(other.clone()),
        [first, _] => Ok(first.clone()),
        _ => unfit(a),
    }),
    method("orValue", &[Optional, Dyn], Dyn, |_, a| match a {
        [Value::Optional(None), other] => Ok(other.clone()),
        [Value::Optional(Some(value)), _] => Ok((**value).clone()),
        _ => unfit(a),
    }),
];

fn of<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [value] => Ok(Value::some(value.clone())),
        _ => unfit(arguments),
    }
}

fn of_non_zero<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [value] = arguments else {
        return unfit(arguments);
    };
    let is_zero = match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Int(int) => *int == 0,
        Value::Uint(uint) => *uint == 0,
        Value::Double(double) => *double == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Duration(nanos) => *nanos == 0,
        Value::Optional(value) => value.is_none(),
        _ => false,
    };
    Ok(if is_zero {
        Value::Optional(None)
    } else {
        Value::some(value.clone())
    })
}

fn value<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Optional(Some(value))] => Ok((**value).clone()),
        [Value::Optional(None)] => Err(Error::failed("optional.none() dereference")),
        _ => unfit(arguments),
    }
}

fn unwrap<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(list)] = arguments else {
        return unfit(arguments);
    };
    let mut values = Vec::new();
    for item in list.iter() {
        call.budget.step(1)?;
        call.budget.allocate(size_of::<Value<'_>>())?;
        match item {
            Value::Optional(Some(value)) => values.push(Arc::unwrap_or_clone(value)),
            Value::Optional(None) => {}
            other => return unfit(&[other]),
        }
    }
    Ok(Value::List(values.into()))
}
