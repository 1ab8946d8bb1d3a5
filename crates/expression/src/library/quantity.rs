//! Quantities as Kubernetes has them: a number with a suffix, exact to a billionth.

use std::{cmp::Ordering, fmt, sync::Arc};

use super::{Function, function, method, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated},
    types::Type::{Bool, Double, Int, Quantity as Amount, String},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("quantity", &[String], Amount, |_, a| match a {
        [Value::String(text)] => match parse(text) {
            Some(quantity) => Ok(Value::Quantity(Arc::new(quantity))),
            None => Err(Error::failed(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            )),
        },
        _ => unfit(a),
    }),
    function("isQuantity", &[String], Bool, |_, a| match a {
        [Value::String(text)] => Ok(Value::Bool(parse(text).is_some())),
        _ => unfit(a),
    }),
    function("sign", &[Amount], Int, |_, a| match a {
        [Value::Quantity(quantity)] => Ok(Value::Int(i64::try_from(quantity.nanos.signum()).unwrap_or(0))),
        _ => unfit(a),
    }),
    method("isGreaterThan", &[Amount, Amount], Bool, |_, a| {
        compared(a, |order| Value::Bool(order.is_gt()))
    }),
    method("isLessThan", &[Amount, Amount], Bool, |_, a| {
        compared(a, |order| Value::Bool(order.is_lt()))
    }),
    method("compareTo", &[Amount, Amount], Int, |_, a| {
        compared(a, |order| Value::Int(order as i64))
    }),
    method("asApproximateFloat", &[Amount], Double, approximate),
    method("asInteger", &[Amount], Int, |_, a| match a {
        [Value::Quantity(quantity)] => match quantity.integer() {
            Some(int) => Ok(Value::Int(int)),
            None => Err(Error::failed("cannot convert value to integer")),
        },
        _ => unfit(a),
    }),
    method("isInteger", &[Amount], Bool, |_, a| match a {
        [Value::Quantity(quantity)] => Ok(Value::Bool(quantity.integer().is_some())),
        _ => unfit(a),
    }),
    method("add", &[Amount, Amount], Amount, |_, a| sum(a, 1)),
    method("add", &[Amount, Int], Amount, |_, a| sum(a, 1)),
    method("sub", &[Amount, Amount], Amount, |_, a| sum(a, -1)),
    method("sub", &[Amount, Int], Amount, |_, a| sum(a, -1)),
];

const NANOS: i128 = 1_000_000_000;

/// A quantity.
#[derive(Clone, Debug)]
pub struct Quantity {
    nanos: i128,
    /// Whether Kubernetes holds it as an integer times a power of ten that is none of a fraction: only then it is taken for an integer.
    is_integer: bool,
    text: Option<std::string::String>,
}

impl Quantity {
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }

    fn integer(&self) -> Option<i64> {
        i64::try_from(self.nanos / NANOS).ok().filter(|_| self.is_integer)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.nanos % NANOS == 0 {
            return write!(f, "{}", self.nanos / NANOS);
        }
        for (unit, suffix) in [(1_000_000, "m"), (1_000, "u")] {
            if self.nanos % unit == 0 {
                return write!(f, "{}{suffix}", self.nanos / unit);
            }
        }
        write!(f, "{}n", self.nanos)
    }
}

fn compared<'a>(arguments: &[Value<'a>], result: impl Fn(Ordering) -> Value<'a>) -> Evaluated<'a> {
    match arguments {
        [Value::Quantity(left), Value::Quantity(right)] => Ok(result(left.compare(right))),
        _ => unfit(arguments),
    }
}

#[expect(clippy::cast_precision_loss, reason = "so it is named")]
fn approximate<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Quantity(quantity)] if quantity.nanos % NANOS == 0 => {
            Ok(Value::Double((quantity.nanos / NANOS) as f64))
        }
        [Value::Quantity(quantity)] => Ok(Value::Double(quantity.nanos as f64 / 1e9)),
        _ => unfit(arguments),
    }
}

fn sum<'a>(arguments: &[Value<'a>], sign: i128) -> Evaluated<'a> {
    let (left, right, is_integer) = match arguments {
        [Value::Quantity(left), Value::Quantity(right)] => (left, right.nanos, right.is_integer),
        [Value::Quantity(left), Value::Int(int)] => (left, i128::from(*int) * NANOS, true),
        _ => return unfit(arguments),
    };
    Ok(Value::Quantity(Arc::new(Quantity {
        nanos: left.nanos.saturating_add(sign * right),
        is_integer: left.is_integer && is_integer,
        text: None,
    })))
}

fn parse(text: &str) -> Option<Quantity> {
    if text.len() > 64 {
        return None;
    }
    let (is_negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (base, exponent): (i128, i32) = scale(suffix)?;
    // digits without the point, and where it stands
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant: i128 = if digits.is_empty() {
        0
    } else {
        digits.get(..digits.len().min(30))?.parse().ok()?
    };
    let dropped = i32::try_from(digits.len().saturating_sub(30)).ok()?;
    let point = dropped - i32::try_from(fraction.len()).ok()?;
    let largest = i128::from(i64::MAX) * NANOS;
    let is_integer = is_integer(whole.trim_start_matches('0'), fraction, base, exponent);
    let (mut nanos, rounded) = if base == 10 {
        scaled(significant, point + exponent + 9)
    } else {
        let factor = 2_i128.checked_pow(u32::try_from(exponent).ok()?)?;
        match significant.checked_mul(factor) {
            Some(product) => scaled(product, point + 9),
            None => (largest, false),
        }
    };
    // parts below a billionth count as one
    if rounded {
        nanos += 1;
    }
    let nanos = nanos.min(largest);
    Some(Quantity {
        nanos: if is_negative { -nanos } else { nanos },
        is_integer,
        text: Some(text.to_owned()),
    })
}

/// Whether `ParseQuantity` takes its quick way, and comes to an integer by it.
fn is_integer(whole: &str, fraction: &str, base: i128, exponent: i32) -> bool {
    let count = whole.len() + fraction.len();
    let (digits, factor, power) = if base == 10 {
        let Ok(places) = i32::try_from(fraction.len()) else {
            return false;
        };
        (count <= 18, 1, exponent - places)
    } else {
        let taken = usize::try_from(exponent * 3 / 10).unwrap_or(usize::MAX);
        let is_short = fraction.is_empty() && whole.len().saturating_add(taken) < 15;
        (is_short, 1_i128 << exponent.clamp(0, 62), 0)
    };
    let value: i128 = format!("0{whole}{fraction}").parse().unwrap_or(i128::MAX);
    let scaled = u32::try_from(power)
        .ok()
        .and_then(|power| 10_i128.checked_pow(power));
    let value = value
        .checked_mul(factor)
        .and_then(|value| value.checked_mul(scaled?));
    digits && value.is_some_and(|value| i64::try_from(value).is_ok())
}

/// A number times a power of ten, and whether something was lost.
fn scaled(number: i128, power: i32) -> (i128, bool) {
    if number == 0 {
        return (0, false);
    }
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    match (power >= 0, factor) {
        (true, Some(factor)) => (number.checked_mul(factor).unwrap_or(i128::MAX / 2), false),
        (true, None) => (i128::MAX / 2, false),
        (false, Some(factor)) => (number / factor, number % factor != 0),
        (false, None) => (0, true),
    }
}

fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (10, 0),
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (10, exponent.parse::<i32>().ok()?.clamp(-60, 60))
        }
    })
}
