//! The one place in this room that reads the clock.

use jiff::Timestamp;

/// The time now, as Kubernetes writes it: UTC with whole seconds, such as `2026-11-23T10:00:00Z`.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time now in the form of the HTTP `Date` header.
pub fn http_date() -> String {
    Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The year now.
pub fn year() -> i16 {
    Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year()
}

/// Seconds since `since`, a time as [`now`] writes it; none when it is not one.
pub fn seconds_since(since: &str) -> Option<i64> {
    let since: Timestamp = since.parse().ok()?;
    Some(Timestamp::now().as_second() - since.as_second())
}

/// Seconds since the epoch.
pub fn seconds() -> i64 {
    Timestamp::now().as_second()
}
