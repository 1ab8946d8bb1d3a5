//! `Retry-After`: how long another side asks to be left alone.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

/// Longest time that it is obeyed. A step that should wait longer fails instead, after its attempts.
pub const LONGEST: Duration = Duration::from_secs(3_600);

/// The time that a value asks for: seconds, or a date as HTTP has it. At most an hour.
pub fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // more digits than a number has are still a long time
        value.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let at = rfc2822::parse(value).ok()?.timestamp();
        // one that is past asks for nothing
        Duration::try_from(now.duration_until(at)).unwrap_or_default()
    };
    Some(asked.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_no_time_is_longer_than_an_hour() {
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        let seconds = |value| parse(value, now).map(|asked| asked.as_secs());
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("3601", Some(3_600)),
            ("99999999999999", Some(3_600)),
            ("99999999999999999999999999", Some(3_600)),
            ("Sun, 29 Nov 2026 12:02:00 GMT", Some(120)),
            ("Sun, 29 Nov 2026 11:00:00 GMT", Some(0)),
            ("Thu, 31 Dec 9998 23:59:59 GMT", Some(3_600)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(seconds(value), expected, "{value:?}");
        }
    }
}
