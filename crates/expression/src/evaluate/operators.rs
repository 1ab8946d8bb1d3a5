//! Order and arithmetic.

use std::cmp::Ordering;

use super::{Evaluated, no_overload};
use crate::{
    ast::Binary,
    budget::Budget,
    error::Error,
    value::{Text, Value, number},
};

/// How two numbers compare; none with NaN.
pub(crate) fn compare_numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(int) => Some(i128::from(*int)),
        Value::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    };
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Double(left), right) => {
            number::compare_int_double(whole(right)?, *left).map(Ordering::reverse)
        }
        (left, Value::Double(right)) => number::compare_int_double(whole(left)?, *right),
        (left, right) => Some(whole(left)?.cmp(&whole(right)?)),
    }
}

/// How two values compare that have an order.
pub(crate) fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, Error> {
    match (left, right) {
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => compare_numbers(left, right).ok_or_else(|| Error::failed("NaN values cannot be ordered")),
        (Value::Bool(left), Value::Bool(right)) => Ok(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Bytes(left), Value::Bytes(right)) => Ok(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Ok(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Ok(left.cmp(right)),
        _ => Err(no_overload("<", &[left.clone(), right.clone()])),
    }
}

pub(super) fn ordered(operator: Binary, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Error> {
    let order = compare(left, right)?;
    Ok(match operator {
        Binary::Less => order.is_lt(),
        Binary::LessOrEqual => order.is_le(),
        Binary::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}

pub(super) fn negate(value: Value<'_>) -> Evaluated<'_> {
    match value {
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Double(double) => Ok(Value::Double(-double)),
        other => Err(no_overload("-", &[other])),
    }
}

pub(crate) fn add<'a>(left: Value<'a>, right: Value<'a>, budget: &mut Budget) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.checked_add(right).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(left), Value::Uint(right)) => {
            left.checked_add(right).map(Value::Uint).ok_or_else(unsigned)
        }
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left + right)),
        (Value::String(left), Value::String(right)) => {
            if right.is_empty() {
                return Ok(Value::String(left));
            }
            if left.is_empty() {
                return Ok(Value::String(right));
            }
            budget.allocate(left.len() + right.len())?;
            Ok(Value::String(Text::Shared([&*left, &*right].concat().into())))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.allocate(left.len() + right.len())?;
            Ok(Value::Bytes([&*left, &*right].concat().into()))
        }
        (Value::List(left), Value::List(right)) => {
            let len = left.len() + right.len();
            budget.allocate(len * size_of::<Value<'_>>())?;
            budget.step(len as u64 / 4)?;
            let mut items = Vec::with_capacity(len);
            items.extend(left.iter());
            items.extend(right.iter());
            Ok(Value::List(items.into()))
        }
        (Value::Duration(left), Value::Duration(right)) => {
            left.checked_add(right).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Timestamp(at), Value::Duration(nanos)) | (Value::Duration(nanos), Value::Timestamp(at)) => {
            at.later(i128::from(nanos)).map(Value::Timestamp)
        }
        (left, right) => Err(no_overload("+", &[left, right])),
    }
}

pub(super) fn arithmetic<'a>(operator: Binary, left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => {
            let (left, right) = (*left, *right);
            let result = match operator {
                Binary::Subtract => left.checked_sub(right),
                Binary::Multiply => left.checked_mul(right),
                Binary::Divide if right == 0 => return Err(Error::failed("division by zero")),
                Binary::Divide => left.checked_div(right),
                _ if right == 0 => return Err(Error::failed("modulus by zero")),
                _ => left.checked_rem(right),
            };
            result.map(Value::Int).ok_or_else(overflow)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            let (left, right) = (*left, *right);
            let result = match operator {
                Binary::Subtract => left.checked_sub(right),
                Binary::Multiply => left.checked_mul(right),
                Binary::Divide if right == 0 => return Err(Error::failed("division by zero")),
                Binary::Divide => left.checked_div(right),
                _ if right == 0 => return Err(Error::failed("modulus by zero")),
                _ => left.checked_rem(right),
            };
            result.map(Value::Uint).ok_or_else(unsigned)
        }
        (Value::Double(left), Value::Double(right)) if operator != Binary::Modulo => {
            Ok(Value::Double(match operator {
                Binary::Subtract => left - right,
                Binary::Multiply => left * right,
                _ => left / right,
            }))
        }
        (Value::Duration(left), Value::Duration(right)) if operator == Binary::Subtract => {
            left.checked_sub(*right).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Timestamp(at), Value::Duration(nanos)) if operator == Binary::Subtract => {
            at.later(-i128::from(*nanos)).map(Value::Timestamp)
        }
        (Value::Timestamp(left), Value::Timestamp(right)) if operator == Binary::Subtract => {
            left.since(*right).map(Value::Duration).ok_or_else(overflow)
        }
        _ => Err(no_overload(operator.symbol(), &[left.clone(), right.clone()])),
    }
}

fn overflow() -> Error {
    Error::failed("integer overflow")
}

fn unsigned() -> Error {
    Error::failed("unsigned integer overflow")
}
