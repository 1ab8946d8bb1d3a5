//! Numbers of three types, compared by what they are worth, and written as Go writes them.

use std::cmp::Ordering;

/// The integer that a floating-point number is exactly.
#[expect(clippy::cast_possible_truncation, reason = "it lies within the range")]
pub(crate) fn exact_int(double: f64) -> Option<i64> {
    let within = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&double);
    (within && double.fract() == 0.0).then_some(double as i64)
}

/// How an integer compares with a floating-point number, as cel-go does it: by the nearest such number. None with NaN.
#[expect(clippy::cast_precision_loss, reason = "so it is done")]
pub(crate) fn compare_int_double(int: i128, double: f64) -> Option<Ordering> {
    (int as f64).partial_cmp(&double)
}

/// As Go's `%g`.
pub(crate) fn general(double: f64) -> String {
    if let Some(special) = special(double) {
        return special.to_owned();
    }
    if double == 0.0 {
        return if double.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{double:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return double.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Infinity and NaN as Go writes them.
pub(crate) fn special(double: f64) -> Option<&'static str> {
    if double.is_nan() {
        Some("NaN")
    } else if double == f64::INFINITY {
        Some("+Inf")
    } else if double == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}
