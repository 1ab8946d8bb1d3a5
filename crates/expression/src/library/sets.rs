//! Lists as sets.

use super::{Function, function, unfit};
use crate::{
    budget::Budget,
    error::Error,
    evaluate::{Call, Evaluated, contains},
    types::Type::{Bool, List},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("sets.contains", &[List, List], Bool, |call, a| match a {
        [set, part] => all_in(part, set, call.budget).map(Value::Bool),
        _ => unfit(a),
    }),
    function("sets.equivalent", &[List, List], Bool, |call, a| match a {
        [left, right] => Ok(Value::Bool(
            all_in(left, right, call.budget)? && all_in(right, left, call.budget)?,
        )),
        _ => unfit(a),
    }),
    function("sets.intersects", &[List, List], Bool, intersects),
];

fn all_in(part: &Value<'_>, set: &Value<'_>, budget: &mut Budget) -> Result<bool, Error> {
    let Value::List(part) = part else {
        return unfit(&[]);
    };
    for item in part.iter() {
        if !contains(set, &item, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [Value::List(left), right] = arguments else {
        return unfit(arguments);
    };
    for item in left.iter() {
        if contains(right, &item, call.budget)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
