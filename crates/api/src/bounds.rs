//! Bounds that hold at every door: whatever somebody else writes is refused above them, by the API server, the gateway, git and the command line
//! alike, and is smaller than what any reader bears.

use std::{borrow::Cow, ops::Range};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// Deepest nesting of a value that somebody writes: lists and objects within each other.
pub const MAX_NESTING: usize = 32;
/// Deepest nesting of a whole object. A value that somebody writes lies less deep than this is more than [`MAX_NESTING`].
pub const MAX_OBJECT_NESTING: usize = 64;
/// Deepest nesting of a request body. The API server's record of who manages which field lies deeper than the fields.
pub const MAX_BODY_NESTING: usize = MAX_OBJECT_NESTING + 8;
/// Longest title of a question, in characters; a longer one is cut.
pub const MAX_TITLE: usize = 1_024;
/// Largest shown item, in bytes.
pub const MAX_SHOWN: usize = 64 * 1024;
/// Most that all shown items of a question have together, in bytes. An object has room for it.
pub const MAX_SHOWN_TOGETHER: usize = 256 * 1024;
/// Largest inputs of a run, in bytes of JSON.
pub const MAX_INPUTS: usize = 256 * 1024;
/// Largest JSON Schema, in bytes of JSON.
pub const MAX_SCHEMA: usize = 32 * 1024;
/// Deepest JSON Schema: schemas within each other.
pub const MAX_SCHEMA_NESTING: usize = 8;
/// Largest callback, in bytes, compressed or not.
pub const MAX_CALLBACK: usize = 16 * 1024;
/// Largest event that a wait takes, in bytes of JSON.
pub const MAX_EVENT: usize = 64 * 1024;
/// Largest value of a `store` step, as JSON, in bytes. With its version it is an output of a step.
pub const MAX_VALUE: usize = 60 * 1024;
/// Most values of a flow.
pub const MAX_VALUES: usize = 100;
/// Largest status of a run, in bytes of JSON.
pub const MAX_RUN_STATUS: usize = 512 * 1024;
/// Most events of a trigger that are kept for later waits.
pub const MAX_KEPT_EVENTS: usize = 200;
/// Most that they have together, in bytes.
pub const MAX_KEPT_EVENTS_TOGETHER: usize = 1024 * 1024;
/// Earliest time that a field takes, as its schema says: `0000-01-01T00:00:00Z`.
pub const EARLIEST_TIME: Timestamp = Timestamp::constant(-62_167_219_200, 0);
/// Latest time that a field takes, as its schema says: `9998-12-31T23:59:59Z`.
pub const LATEST_TIME: Timestamp = Timestamp::constant(253_370_764_799, 0);

/// A value has more lists and objects within each other than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is nested more than {0} levels deep")]
pub struct TooDeep(pub usize);

/// Refuses a value that is nested too deeply. Does not recurse.
///
/// # Errors
/// When it is nested more than `most` levels deep.
pub fn nesting(value: &Value, most: usize) -> Result<(), TooDeep> {
    let mut left = vec![(value, 0_usize)];
    while let Some((value, around)) = left.pop() {
        let depth = around + 1;
        match value {
            Value::Array(_) | Value::Object(_) if depth > most => return Err(TooDeep(most)),
            Value::Array(items) => left.extend(items.iter().map(|item| (item, depth))),
            Value::Object(fields) => left.extend(fields.values().map(|field| (field, depth))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}

/// The same of a JSON text, before it is parsed. What is not JSON may pass; the parser refuses it.
///
/// # Errors
/// When it is nested more than `most` levels deep.
pub fn nesting_of_json(text: &[u8], most: usize) -> Result<(), TooDeep> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' if depth == most => return Err(TooDeep(most)),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// An integer that no reader keeps as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the integer {0} does not fit into 64 bits with a sign; send it as a string")]
pub struct InexactInteger(pub String);

/// Refuses a JSON text with an integer beyond 64 bits with a sign, before it is parsed: the parser here, or the API
/// server's, would round it. What is not JSON may pass.
///
/// # Errors
/// With the first such integer.
pub fn exact_integers_of_json(text: &[u8]) -> Result<(), InexactInteger> {
    match InexactIntegers::of(text).next() {
        None => Ok(()),
        Some(place) => {
            let digits = String::from_utf8_lossy(&text[place]);
            Err(InexactInteger(digits.chars().take(40).collect()))
        }
    }
}

/// The JSON text with each integer beyond 64 bits with a sign as a string of its digits, so that none is rounded.
pub fn with_inexact_integers_as_strings(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut at = 0;
    for place in InexactIntegers::of(text.as_bytes()) {
        kept.push_str(&text[at..place.start]);
        kept.push('"');
        kept.push_str(&text[place.clone()]);
        kept.push('"');
        at = place.end;
    }
    if at == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[at..]);
    Cow::Owned(kept)
}

/// The places of integers beyond 64 bits with a sign in a JSON text.
struct InexactIntegers<'a> {
    text: &'a [u8],
    at: usize,
    in_string: bool,
}

impl<'a> InexactIntegers<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            in_string: false,
        }
    }
}

impl Iterator for InexactIntegers<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while let Some(byte) = self.text.get(self.at) {
            let start = self.at;
            self.at += 1;
            match byte {
                b'\\' if self.in_string => self.at += 1,
                b'"' => self.in_string = !self.in_string,
                b'-' | b'0'..=b'9' if !self.in_string => {
                    let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    let length = self.text[start..].iter().take_while(|byte| is_part(byte)).count();
                    self.at = start + length;
                    if is_inexact(&self.text[start..self.at]) {
                        return Some(start..self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether a number in a JSON text is an integer that does not fit. What is no number does not count.
fn is_inexact(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    let is_integer = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let fits = || std::str::from_utf8(token).is_ok_and(|token| token.parse::<i64>().is_ok());
    is_integer && digits.len() > 18 && !fits()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_and_the_last_time_are_those_that_the_schema_of_times_takes() {
        // its pattern has the years 0000 to 9998
        assert!(
            crate::schema::TIMESTAMP.starts_with("^([0-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-")
        );
        assert_eq!(EARLIEST_TIME.to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(LATEST_TIME.to_string(), "9998-12-31T23:59:59Z");
    }

    #[test]
    fn integers_beyond_64_bits_with_a_sign_are_refused_and_all_else_passes() {
        for good in [
            "9223372036854775807",
            "-9223372036854775808",
            "1e400",
            "1.00000000000000000000001",
            r#"["123456789012345678901234567890", "\\", 1]"#,
            r#"{"123456789012345678901234567890": 2}"#,
        ] {
            assert_eq!(exact_integers_of_json(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "9223372036854775808",
            "18446744073709551615",
            "-9223372036854775809",
            "[1, 123456789012345678901234567890]",
        ] {
            assert!(exact_integers_of_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn integers_beyond_64_bits_become_strings_and_all_else_stays() {
        let kept = |text| with_inexact_integers_as_strings(text).into_owned();
        let good = r#"{"a": [1, 9223372036854775807, 1.5e300], "b": "99999999999999999999 \" 1"}"#;
        assert_eq!(kept(good), good);
        assert_eq!(
            kept(r#"{"id": 12345678901234567890123, "x": [-99999999999999999999,1]}"#),
            r#"{"id": "12345678901234567890123", "x": ["-99999999999999999999",1]}"#
        );
        assert_eq!(
            kept("123456789012345678901234567890"),
            r#""123456789012345678901234567890""#
        );
    }

    fn lists(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn as_many_levels_as_allowed_pass_and_one_more_does_not() {
        for levels in [0, 1, MAX_NESTING, MAX_NESTING + 1, 100] {
            let fits = levels <= MAX_NESTING;
            let text = if levels == 0 {
                "1".to_owned()
            } else {
                lists(levels)
            };
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(nesting(&value, MAX_NESTING).is_ok(), fits, "{levels}");
            assert_eq!(
                nesting_of_json(text.as_bytes(), MAX_NESTING).is_ok(),
                fits,
                "{levels}"
            );
        }
    }

    #[test]
    fn ten_thousand_levels_are_told_before_they_are_parsed() {
        for text in [lists(10_000), "{\"a\":".repeat(10_000), "[".repeat(10_000)] {
            assert_eq!(
                nesting_of_json(text.as_bytes(), MAX_NESTING),
                Err(TooDeep(MAX_NESTING))
            );
        }
    }

    #[test]
    fn brackets_in_texts_are_no_levels() {
        let text = r#"{"a": "[[[[\"[[[[\\", "b": ["{{{{"]}"#;
        assert!(nesting_of_json(text.as_bytes(), 2).is_ok());
        assert!(nesting_of_json(text.as_bytes(), 1).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_and_its_value_are_equally_deep(value in value(), most in 0_usize..6) {
            let text = value.to_string();
            prop_assert_eq!(nesting(&value, most), nesting_of_json(text.as_bytes(), most));
        }
    }
}
