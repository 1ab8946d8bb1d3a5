//! Finding what a pattern matches.

use super::{Function, method, patterns, unfit};
use crate::{
    evaluate::{Call, Evaluated, texts},
    types::Type::{Int, List, String},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    method("find", &[String, String], String, find),
    method("findAll", &[String, String], List, find_all),
    method("findAll", &[String, String, Int], List, find_all),
];

fn find<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(pattern)] => {
            let pattern = patterns::get(call, pattern, text.len())?;
            let found = pattern.find(text).map_or("", |found| found.as_str());
            call.budget.allocate(found.len())?;
            Ok(Value::text(found.to_owned()))
        }
        _ => unfit(arguments),
    }
}

fn find_all<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let (text, pattern, most) = match arguments {
        [Value::String(text), Value::String(pattern)] => (text, pattern, -1),
        [Value::String(text), Value::String(pattern), Value::Int(most)] => (text, pattern, *most),
        _ => return unfit(arguments),
    };
    let pattern = patterns::get(call, pattern, text.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let found = pattern.find_iter(text).take(most);
    texts(found.map(|found| found.as_str().to_owned()), call.budget)
}
