//! Durations as people write them: `500ms`, `30s`, `4h`, `7d`, `1h30m`.
//!
//! The grammar is one that a regular expression can say whole, so that the schema of a field accepts exactly what is read here: units from days to
//! milliseconds, in this order, each at most once, the first amount without leading zeros. So a duration is never zero, and the number of digits bounds it.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The units from the longest on: how it is written, its milliseconds, and the most digits before it. Each takes more than ten years, and all of them
/// together are far from the end of a clock.
const UNITS: [(&str, u64, usize); 5] = [
    ("d", 86_400_000, 4),
    ("h", 3_600_000, 5),
    ("m", 60_000, 7),
    ("s", 1_000, 9),
    ("ms", 1, 12),
];
/// Longest text of a duration.
const MAX_LENGTH: usize = 43;

/// A duration from one millisecond up, at most 9999 days or as much in smaller units. Keeps the text it was written as, so that a definition
/// round-trips byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HumanDuration {
    text: String,
    duration: Duration,
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not amounts each followed by a unit, from days to milliseconds.
    #[error(
        "{0:?} is not a duration; write for example 500ms, 30s, 5m, 4h, 7d or 1h30m, each unit once and the longest first"
    )]
    Malformed(String),
    /// It begins with zero, or has too many digits.
    #[error(
        "{0:?} is out of range; a duration is at least 1ms and at most 9999d, or about as long in smaller units"
    )]
    OutOfRange(String),
}

impl HumanDuration {
    /// The same duration for a clock.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the schema says of it, anchored at both ends. Made from the same table as the parser.
    pub fn pattern() -> String {
        let digits = |most: usize, first: &str| match most {
            0 | 1 => first.to_owned(),
            most => format!("{first}[0-9]{{0,{}}}", most - 1),
        };
        let begun_by: Vec<_> = (0..UNITS.len())
            .map(|first| {
                let (unit, _, most) = UNITS[first];
                let rest: Vec<_> = UNITS[first + 1..]
                    .iter()
                    .map(|(unit, _, most)| format!("([0-9]{{1,{most}}}{unit})?"))
                    .collect();
                let rest = rest.concat();
                format!("{}{unit}{rest}", digits(most, "[1-9]"))
            })
            .collect();
        format!("^({})$", begun_by.join("|"))
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let shown = || text.chars().take(40).collect();
        let malformed = || DurationError::Malformed(shown());
        let mut total = Duration::ZERO;
        let mut units = UNITS.iter();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
            let (amount, after) = rest.split_at(digits);
            let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit);
            // a unit that was passed over or was there is not found any more
            let (_, millis, most) = units.find(|(name, ..)| *name == unit).ok_or_else(malformed)?;
            if amount.is_empty() {
                return Err(malformed());
            }
            if amount.len() > *most || (total.is_zero() && amount.starts_with('0')) {
                return Err(DurationError::OutOfRange(shown()));
            }
            let amount: u64 = amount.parse().map_err(|_| malformed())?;
            // at most twelve digits of the shortest unit and four of the longest: no overflow
            total += Duration::from_millis(amount * millis);
            rest = after;
        }
        if total.is_zero() {
            return Err(malformed());
        }
        Ok(Self {
            text: text.to_owned(),
            duration: total,
        })
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HumanDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::pattern(), "maxLength": MAX_LENGTH })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 86_400_000;

    #[test]
    fn reads_every_unit_and_sums_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("1s", 1_000),
            ("1m", 60_000),
            ("90m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1h0m0s", 3_600_000),
            ("7d", 604_800_000),
            ("800d", 69_120_000_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("1d5ms", 86_400_005),
        ] {
            let read: HumanDuration = text.parse().unwrap();
            assert_eq!(read.duration(), Duration::from_millis(millis), "{text}");
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn ten_years_can_be_written_in_every_unit() {
        for (unit, millis, _) in UNITS {
            let text = format!("{}{unit}", 10 * YEAR / millis);
            let read: HumanDuration = text.parse().unwrap();
            assert_eq!(read.duration(), Duration::from_millis(10 * YEAR), "{text}");
        }
    }

    #[test]
    fn the_longest_of_all_is_far_from_the_end_of_a_clock() {
        let longest: Vec<_> = UNITS
            .iter()
            .map(|(unit, _, most)| format!("{}{unit}", "9".repeat(*most)))
            .collect();
        let longest = longest.concat();
        assert_eq!(longest.len(), MAX_LENGTH);
        let longest: HumanDuration = longest.parse().unwrap();
        assert!(
            longest.duration() < Duration::from_millis(200 * YEAR),
            "{longest:?}"
        );
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "", "5", "s", "5x", "-5s", "1.5h", "5 s", " 5s", "5s ", "1m1h", "1s1s", "5ms1s", "1h30", "٣s",
            "5S", "1e3s", "5\n",
        ] {
            assert!(
                matches!(text.parse::<HumanDuration>(), Err(DurationError::Malformed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_zero_and_what_is_longer_than_any_clock_waits() {
        for text in [
            "0s",
            "0ms",
            "0d5s",
            "00s",
            "05s",
            "40000d",
            "99999999999s",
            "99999999999999999999s",
            "1d100000h",
        ] {
            assert!(
                matches!(text.parse::<HumanDuration>(), Err(DurationError::OutOfRange(_))),
                "{text}"
            );
        }
    }
}
