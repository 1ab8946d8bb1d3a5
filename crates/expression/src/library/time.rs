//! Ats and lengths of time.

use std::fmt;

use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, Weekday},
    tz::{Offset, TimeZone, TimeZoneDatabase},
};

use super::{Function, function, method, unfit};
use crate::{
    error::Error,
    evaluate::{Call, Evaluated},
    types::Type::{Duration, Int, String, Timestamp as At},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("timestamp", &[String], At, timestamp),
    function("timestamp", &[Int], At, timestamp),
    function("timestamp", &[At], At, timestamp),
    function("duration", &[String], Duration, duration),
    function("duration", &[Duration], Duration, duration),
    method("getFullYear", &[At], Int, |_, a| part(a, Part::FullYear)),
    method("getFullYear", &[At, String], Int, |_, a| part(a, Part::FullYear)),
    method("getMonth", &[At], Int, |_, a| part(a, Part::Month)),
    method("getMonth", &[At, String], Int, |_, a| part(a, Part::Month)),
    method("getDayOfYear", &[At], Int, |_, a| part(a, Part::DayOfYear)),
    method("getDayOfYear", &[At, String], Int, |_, a| {
        part(a, Part::DayOfYear)
    }),
    method("getDayOfMonth", &[At], Int, |_, a| part(a, Part::DayOfMonth)),
    method("getDayOfMonth", &[At, String], Int, |_, a| {
        part(a, Part::DayOfMonth)
    }),
    method("getDate", &[At], Int, |_, a| part(a, Part::Date)),
    method("getDate", &[At, String], Int, |_, a| part(a, Part::Date)),
    method("getDayOfWeek", &[At], Int, |_, a| part(a, Part::DayOfWeek)),
    method("getDayOfWeek", &[At, String], Int, |_, a| {
        part(a, Part::DayOfWeek)
    }),
    method("getHours", &[At], Int, |_, a| part(a, Part::Hours)),
    method("getHours", &[At, String], Int, |_, a| part(a, Part::Hours)),
    method("getMinutes", &[At], Int, |_, a| part(a, Part::Minutes)),
    method("getMinutes", &[At, String], Int, |_, a| part(a, Part::Minutes)),
    method("getSeconds", &[At], Int, |_, a| part(a, Part::Seconds)),
    method("getSeconds", &[At, String], Int, |_, a| part(a, Part::Seconds)),
    method("getMilliseconds", &[At], Int, |_, a| part(a, Part::Milliseconds)),
    method("getMilliseconds", &[At, String], Int, |_, a| {
        part(a, Part::Milliseconds)
    }),
    method("getHours", &[Duration], Int, |_, a| whole(a, 3_600_000_000_000)),
    method("getMinutes", &[Duration], Int, |_, a| whole(a, 60_000_000_000)),
    method("getSeconds", &[Duration], Int, |_, a| whole(a, 1_000_000_000)),
    method("getMilliseconds", &[Duration], Int, |_, a| whole(a, 1_000_000)),
];

const NANOS: i128 = 1_000_000_000;
/// Years 1 to 9999.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

/// A moment, and how far the time there is from UTC, as it was written. Only the moment is compared.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    nanos: i128,
    /// In minutes.
    offset: i32,
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.civil(self.offset * 60).map_err(|_| fmt::Error)?;
        write!(f, "{there}")?;
        if self.offset == 0 {
            return f.write_str("Z");
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl Moment {
    fn new(nanos: i128, offset: i32) -> Result<Self, Error> {
        let seconds = nanos.div_euclid(NANOS);
        if (i128::from(FIRST)..=i128::from(LAST)).contains(&seconds) {
            Ok(Self { nanos, offset })
        } else {
            Err(Error::failed("timestamp overflow"))
        }
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> i64 {
        i64::try_from(self.nanos.div_euclid(NANOS)).unwrap_or(i64::MAX)
    }

    /// So many nanoseconds later.
    pub(crate) fn later(self, nanos: i128) -> Result<Self, Error> {
        Self::new(self.nanos + nanos, self.offset)
    }

    /// Nanoseconds since another moment.
    pub(crate) fn since(self, other: Self) -> Option<i64> {
        i64::try_from(self.nanos - other.nanos).ok()
    }

    /// What calendar and clock say so many seconds from UTC.
    fn civil(self, offset: i32) -> Result<DateTime, Error> {
        let out_of_range = |_| Error::failed("timestamp overflow");
        let nanos = self.nanos + i128::from(offset) * NANOS;
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).unwrap_or(i64::MAX);
        let rest = i32::try_from(nanos.rem_euclid(NANOS)).unwrap_or(0);
        let since = SignedDuration::new(seconds, rest);
        DateTime::constant(1970, 1, 1, 0, 0, 0, 0)
            .checked_add(since)
            .map_err(out_of_range)
    }

    /// What they say in a time zone.
    fn civil_in(self, zone: &TimeZone) -> Result<DateTime, Error> {
        // the last hours that CEL has are beyond what zones are known for
        let near = self
            .nanos
            .clamp(Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
        let at = Timestamp::from_nanosecond(near).map_err(|_| Error::failed("timestamp overflow"))?;
        self.civil(zone.to_offset(at).seconds())
    }
}

fn timestamp<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Timestamp(at)] => Ok(Value::Timestamp(*at)),
        [Value::Int(seconds)] => Moment::new(i128::from(*seconds) * NANOS, 0).map(Value::Timestamp),
        [Value::String(text)] => match parse(text) {
            Some((nanos, offset)) => Moment::new(nanos, offset).map(Value::Timestamp),
            None => Err(Error::failed(format!("invalid timestamp: {}", shortened(text)))),
        },
        _ => unfit(arguments),
    }
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

/// RFC 3339, as Go reads it: nothing that the grammar leaves open is taken.
fn parse(text: &str) -> Option<(i128, i32)> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = bytes.len() > shape.len()
        && shape.iter().zip(bytes).all(|(wanted, got)| match wanted {
            b'd' => got.is_ascii_digit(),
            wanted => wanted == got,
        });
    if !fits {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i8>().ok();
    let mut rest = text.get(shape.len()..)?;
    let mut fraction = 0_i128;
    if let Some(after) = rest.strip_prefix(['.', ',']) {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        // no more digits than nanoseconds have
        let kept = after.get(..digits.min(9))?;
        fraction = format!("{kept:0<9}").parse().ok().filter(|_| digits > 0)?;
        rest = &after[digits..];
    }
    let offset = if rest == "Z" { 0 } else { offset(rest)? };
    let there = DateTime::new(
        text.get(..4)?.parse().ok()?,
        number(5..7)?,
        number(8..10)?,
        number(11..13)?,
        number(14..16)?,
        number(17..19)?,
        0,
    )
    .ok()?;
    let since = there.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    Some((
        since.as_nanos() + fraction - i128::from(offset) * 60 * NANOS,
        offset,
    ))
}

/// `+05:30`, in minutes.
fn offset(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let two = |digits: &str| -> Option<i32> {
        let is_number = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|_| is_number)
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 24 && minutes < 60).then_some(sign * (60 * hours + minutes))
}

fn duration<'a>(_: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match arguments {
        [Value::Duration(nanos)] => Ok(Value::Duration(*nanos)),
        [Value::String(text)] => parse_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| Error::failed(format!("invalid duration: {}", shortened(text)))),
        _ => unfit(arguments),
    }
}

/// As Go's `time.ParseDuration`: numbers with units, such as `1h30m` or `-1.5s`.
fn parse_duration(text: &str) -> Option<i64> {
    let (is_negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole_len = digits(rest);
        let (whole, after) = rest.split_at(whole_len);
        rest = after;
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let len = digits(after);
            fraction = &after[..len];
            rest = &after[len..];
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_len = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (unit, after) = rest.split_at(unit_len);
        rest = after;
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total += i128::from(whole) * unit;
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
            total += fraction.parse::<i128>().ok()? * unit / scale;
        }
        if total > i128::from(i64::MAX) + 1 {
            return None;
        }
    }
    i64::try_from(if is_negative { -total } else { total }).ok()
}

/// A length of time in seconds, as `string` makes it.
pub(crate) fn duration_text(nanos: i64) -> std::string::String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

fn whole<'a>(arguments: &[Value<'a>], unit: i64) -> Evaluated<'a> {
    match arguments {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / unit)),
        _ => unfit(arguments),
    }
}

#[derive(Clone, Copy)]
enum Part {
    FullYear,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

fn part<'a>(arguments: &[Value<'a>], part: Part) -> Evaluated<'a> {
    let (at, zone) = match arguments {
        [Value::Timestamp(at)] => (*at, TimeZone::UTC),
        [Value::Timestamp(at), Value::String(name)] => (*at, zone(name)?),
        _ => return unfit(arguments),
    };
    let there = at.civil_in(&zone)?;
    Ok(Value::Int(match part {
        Part::FullYear => i64::from(there.year()),
        Part::Month => i64::from(there.month()) - 1,
        Part::DayOfYear => i64::from(there.day_of_year()) - 1,
        Part::DayOfMonth => i64::from(there.day()) - 1,
        Part::Date => i64::from(there.day()),
        Part::DayOfWeek => match there.weekday() {
            Weekday::Sunday => 0,
            Weekday::Monday => 1,
            Weekday::Tuesday => 2,
            Weekday::Wednesday => 3,
            Weekday::Thursday => 4,
            Weekday::Friday => 5,
            Weekday::Saturday => 6,
        },
        Part::Hours => i64::from(there.hour()),
        Part::Minutes => i64::from(there.minute()),
        Part::Seconds => i64::from(there.second()),
        Part::Milliseconds => i64::from(there.millisecond()),
    }))
}

/// A time zone by its name, or by its difference from UTC.
fn zone(name: &str) -> Result<TimeZone, Error> {
    let unknown = || Error::failed(format!("unknown time zone {}", shortened(name)));
    let Some((hours, minutes)) = name.split_once(':') else {
        if name.is_empty() {
            return Ok(TimeZone::UTC);
        }
        return TimeZoneDatabase::bundled().get(name).map_err(|_| unknown());
    };
    let is_negative = hours.starts_with('-');
    let hours: i32 = hours.parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    let minutes = if is_negative { -minutes } else { minutes };
    let seconds = hours
        .checked_mul(3600)
        .and_then(|seconds| seconds.checked_add(minutes.checked_mul(60)?));
    let offset = seconds.and_then(|seconds| Offset::from_seconds(seconds).ok());
    offset.map(TimeZone::fixed).ok_or_else(unknown)
}
