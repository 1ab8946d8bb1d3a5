//! Spans of time as people write them: `500ms`, `30s`, `4h`, `7d`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest span accepted: ten years, far below any overflow of a timestamp.
const MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// A span of time, from one millisecond to ten years. Keeps the text it was written as, so that a definition
/// round-trips byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: String,
    duration: Duration,
}

/// Why a text is not a span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Not digits each followed by a unit.
    #[error("{0:?} is not a duration; write for example 500ms, 30s, 5m, 4h, 7d or 1h30m")]
    Malformed(String),
    /// Zero, or above ten years.
    #[error("{0:?} is out of range; a duration is between 1ms and 3660d")]
    OutOfRange(String),
}

impl Span {
    /// The same span for a clock.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let malformed = || SpanError::Malformed(text.chars().take(40).collect());
        let out_of_range = || SpanError::OutOfRange(text.chars().take(40).collect());
        if text.is_empty() || text.len() > 32 {
            return Err(malformed());
        }
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
            if digits == 0 {
                return Err(malformed());
            }
            let amount: u64 = rest[..digits].parse().map_err(|_| out_of_range())?;
            rest = &rest[digits..];
            let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let millis: u64 = match &rest[..unit] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(malformed()),
            };
            rest = &rest[unit..];
            let part = amount
                .checked_mul(millis)
                .map(Duration::from_millis)
                .ok_or_else(out_of_range)?;
            total = total.checked_add(part).ok_or_else(out_of_range)?;
        }
        if total.is_zero() || total > MAX {
            return Err(out_of_range());
        }
        Ok(Self {
            text: text.to_owned(),
            duration: total,
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$", "maxLength": 32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_and_sums_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("1s", 1_000),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(
                text.parse::<Span>().unwrap().duration(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "5",
            "s",
            "5x",
            "-5s",
            "1.5h",
            "0s",
            "99999999999999999999s",
            "40000d",
            "5 s",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
