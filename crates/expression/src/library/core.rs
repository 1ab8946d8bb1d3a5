//! Size, types, conversions, and what the standard knows of strings.

use std::sync::Arc;

use super::{Function, function, method, patterns, time, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated},
    types::Type::{
        self, Bool, Bytes, Cidr, Double, Duration, Dyn, Int, Ip, List, Map, String, Timestamp, Uint,
    },
    value::{Text, Value, number},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("size", &[String], Int, size),
    function("size", &[Bytes], Int, size),
    function("size", &[List], Int, size),
    function("size", &[Map], Int, size),
    method("size", &[String], Int, size),
    method("size", &[Bytes], Int, size),
    method("size", &[List], Int, size),
    method("size", &[Map], Int, size),
    function("type", &[Dyn], Type::Type, type_of),
    function("dyn", &[Dyn], Dyn, same),
    function("bool", &[Bool], Bool, same),
    function("bool", &[String], Bool, to_bool),
    function("int", &[Int], Int, same),
    function("int", &[Uint], Int, to_int),
    function("int", &[Double], Int, to_int),
    function("int", &[String], Int, to_int),
    function("int", &[Timestamp], Int, to_int),
    function("int", &[Duration], Int, to_int),
    function("uint", &[Uint], Uint, same),
    function("uint", &[Int], Uint, to_uint),
    function("uint", &[Double], Uint, to_uint),
    function("uint", &[String], Uint, to_uint),
    function("double", &[Double], Double, same),
    function("double", &[Int], Double, to_double),
    function("double", &[Uint], Double, to_double),
    function("double", &[String], Double, to_double),
    function("bytes", &[Bytes], Bytes, same),
    function("bytes", &[String], Bytes, to_bytes),
    function("string", &[String], String, same),
    function("string", &[Bool], String, to_string),
    function("string", &[Int], String, to_string),
    function("string", &[Uint], String, to_string),
    function("string", &[Double], String, to_string),
    function("string", &[Bytes], String, to_string),
    function("string", &[Timestamp], String, to_string),
    function("string", &[Duration], String, to_string),
    function("string", &[Ip], String, to_string),
    function("string", &[Cidr], String, to_string),
    method("contains", &[String, String], Bool, contains),
    method("startsWith", &[String, String], Bool, starts_with),
    method("endsWith", &[String, String], Bool, ends_with),
    method("matches", &[String, String], Bool, matches),
    function("matches", &[String, String], Bool, matches),
];

fn count(count: usize) -> Value<'static> {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn size<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::String(text)] => {
            call.budget.scan(text.len())?;
            Ok(count(text.chars().count()))
        }
        [Value::Bytes(bytes)] => Ok(count(bytes.len())),
        [Value::List(list)] => Ok(count(list.len())),
        [Value::Map(map)] => Ok(count(map.len())),
        _ => unfit(arguments),
    }
}

fn type_of<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [value] => Ok(Value::Type(value.type_of())),
        _ => unfit(arguments),
    }
}

fn same<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [value] => Ok(value.clone()),
        _ => unfit(arguments),
    }
}

fn conversion(from: &Value<'_>, to: Type) -> Error {
    Error::failed(format!(
        "type conversion error from '{}' to '{}'",
        from.type_of().name(),
        to.name()
    ))
}

fn out_of_range() -> Error {
    Error::failed("integer overflow")
}

fn to_bool<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [value @ Value::String(text)] => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(conversion(value, Bool)),
        },
        _ => unfit(arguments),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it lies within the range")]
fn to_int<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Uint(uint)] => i64::try_from(*uint).map(Value::Int).map_err(|_| out_of_range()),
        [Value::Double(double)] => {
            let within = *double > -9_223_372_036_854_775_808.0 && *double < 9_223_372_036_854_775_807.0;
            if within {
                Ok(Value::Int(*double as i64))
            } else {
                Err(out_of_range())
            }
        }
        [value @ Value::String(text)] => text.parse().map(Value::Int).map_err(|_| conversion(value, Int)),
        [Value::Timestamp(at)] => Ok(Value::Int(at.seconds())),
        [Value::Duration(nanos)] => Ok(Value::Int(*nanos)),
        _ => unfit(arguments),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies within the range"
)]
fn to_uint<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Int(int)] => u64::try_from(*int).map(Value::Uint).map_err(|_| out_of_range()),
        [Value::Double(double)] => {
            if *double >= 0.0 && *double < 18_446_744_073_709_551_615.0 {
                Ok(Value::Uint(*double as u64))
            } else {
                Err(out_of_range())
            }
        }
        [value @ Value::String(text)] if text.starts_with('+') => Err(conversion(value, Uint)),
        [value @ Value::String(text)] => text.parse().map(Value::Uint).map_err(|_| conversion(value, Uint)),
        _ => unfit(arguments),
    }
}

#[expect(clippy::cast_precision_loss, reason = "so it is defined")]
fn to_double<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Int(int)] => Ok(Value::Double(*int as f64)),
        [Value::Uint(uint)] => Ok(Value::Double(*uint as f64)),
        [value @ Value::String(text)] => {
            call.budget.scan(text.len())?;
            let parsed: Result<f64, _> = text.parse();
            match parsed {
                // what is too large is refused, unless it says so itself
                Ok(double) if double.is_infinite() && !text.to_ascii_lowercase().contains("inf") => {
                    Err(conversion(value, Double))
                }
                Ok(double) => Ok(Value::Double(double)),
                Err(_) => Err(conversion(value, Double)),
            }
        }
        _ => unfit(arguments),
    }
}

fn to_bytes<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::String(text)] => {
            call.budget.allocate(text.len())?;
            Ok(Value::Bytes(Arc::from(text.as_bytes())))
        }
        _ => unfit(arguments),
    }
}

fn to_string<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    let [value] = arguments else {
        return unfit(arguments);
    };
    call.budget.allocate(match value {
        Value::Bytes(bytes) => bytes.len(),
        _ => 32,
    })?;
    text_of(value)
        .map(Value::String)
        .ok_or_else(|| conversion(value, String))
}

/// A value as `string` makes it.
pub(super) fn text_of<'a>(value: &Value<'a>) -> Option<Text<'a>> {
    Some(match value {
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string().into(),
        Value::Int(int) => int.to_string().into(),
        Value::Uint(uint) => uint.to_string().into(),
        Value::Double(double) => number::general(*double).into(),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.to_owned().into(),
        Value::Timestamp(at) => at.to_string().into(),
        Value::Duration(nanos) => time::duration_text(*nanos).into(),
        Value::Ip(address) => address.to_string().into(),
        Value::Cidr(range) => range.to_string().into(),
        Value::Type(type_) => Text::Borrowed(type_.name()),
        _ => return None,
    })
}

fn contains<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => {
            call.budget.scan(text.len() + part.len())?;
            Ok(Value::Bool(text.contains(&**part)))
        }
        _ => unfit(arguments),
    }
}

fn starts_with<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => {
            call.budget.scan(text.len().min(part.len()))?;
            Ok(Value::Bool(text.starts_with(&**part)))
        }
        _ => unfit(arguments),
    }
}

fn ends_with<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => {
            call.budget.scan(text.len().min(part.len()))?;
            Ok(Value::Bool(text.ends_with(&**part)))
        }
        _ => unfit(arguments),
    }
}

fn matches<'a>(call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::String(text), Value::String(pattern)] => {
            let pattern = patterns::get(call, pattern, text.len())?;
            Ok(Value::Bool(pattern.is_match(text)))
        }
        _ => unfit(arguments),
    }
}
