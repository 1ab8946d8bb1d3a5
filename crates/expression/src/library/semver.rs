//! Semantic versions.

use std::{cmp::Ordering, fmt, sync::Arc};

use super::{Function, function, method, unfit};
use crate::{
    error::Error,
    evaluate::Evaluated,
    types::Type::{Bool, Int, Semver as Version, String},
    value::Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("semver", &[String], Version, |_, a| match a {
        [Value::String(text)] => parse(text, false).map(|version| Value::Semver(Arc::new(version))),
        _ => unfit(a),
    }),
    function("semver", &[String, Bool], Version, |_, a| match a {
        [Value::String(text), Value::Bool(loose)] => {
            parse(text, *loose).map(|version| Value::Semver(Arc::new(version)))
        }
        _ => unfit(a),
    }),
    function("isSemver", &[String], Bool, |_, a| match a {
        [Value::String(text)] => Ok(Value::Bool(parse(text, false).is_ok())),
        _ => unfit(a),
    }),
    function("isSemver", &[String, Bool], Bool, |_, a| match a {
        [Value::String(text), Value::Bool(loose)] => Ok(Value::Bool(parse(text, *loose).is_ok())),
        _ => unfit(a),
    }),
    method("isGreaterThan", &[Version, Version], Bool, |_, a| {
        compared(a, |order| Value::Bool(order.is_gt()))
    }),
    method("isLessThan", &[Version, Version], Bool, |_, a| {
        compared(a, |order| Value::Bool(order.is_lt()))
    }),
    method("compareTo", &[Version, Version], Int, |_, a| {
        compared(a, |order| Value::Int(order as i64))
    }),
    method("major", &[Version], Int, |_, a| number(a, 0)),
    method("minor", &[Version], Int, |_, a| number(a, 1)),
    method("patch", &[Version], Int, |_, a| number(a, 2)),
];

fn compared<'a>(arguments: &[Value<'a>], result: impl Fn(Ordering) -> Value<'a>) -> Evaluated<'a> {
    match arguments {
        [Value::Semver(left), Value::Semver(right)] => Ok(result(left.compare(right))),
        _ => unfit(arguments),
    }
}

#[expect(clippy::cast_possible_wrap, reason = "as Kubernetes does it")]
fn number<'a>(arguments: &[Value<'a>], index: usize) -> Evaluated<'a> {
    match arguments {
        [Value::Semver(version)] => Ok(Value::Int(version.numbers[index] as i64)),
        _ => unfit(arguments),
    }
}

/// A semantic version.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    before: Vec<Identifier>,
    build: std::string::String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Name(std::string::String),
}

impl Semver {
    /// The order of versions: what comes before a release is less, and the build does not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let before = match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before.cmp(&other.before),
        };
        self.numbers.cmp(&other.numbers).then(before)
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (index, identifier) in self.before.iter().enumerate() {
            f.write_str(if index == 0 { "-" } else { "." })?;
            match identifier {
                Identifier::Number(number) => write!(f, "{number}")?,
                Identifier::Name(name) => f.write_str(name)?,
            }
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

fn parse(text: &str, is_loose: bool) -> Result<Semver, Error> {
    let invalid = || {
        Error::failed(format!(
            "invalid semantic version: {}",
            text.chars().take(64).collect::<std::string::String>()
        ))
    };
    // versions are short, and what is not is none
    if text.len() > 256 {
        return Err(invalid());
    }
    let completed = if is_loose {
        completed(text).ok_or_else(invalid)?
    } else {
        text.to_owned()
    };
    strict(&completed).ok_or_else(invalid)
}

/// Without a `v` in front and zeros before numbers, and with the numbers that are missing.
fn completed(text: &str) -> Option<std::string::String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<std::string::String> = text
        .splitn(3, '.')
        .map(|part| {
            if part.len() <= 1 {
                return part.to_owned();
            }
            let trimmed = part.trim_start_matches('0');
            if trimmed.starts_with(|c: char| c.is_ascii_digit()) {
                trimmed.to_owned()
            } else {
                format!("0{trimmed}")
            }
        })
        .collect();
    if parts.len() < 3 && parts.last()?.contains(['+', '-']) {
        return None;
    }
    parts.resize(3, "0".to_owned());
    Some(parts.join("."))
}

fn strict(text: &str) -> Option<Semver> {
    let (text, build) = text
        .split_once('+')
        .map_or((text, None), |(text, build)| (text, Some(build)));
    let (numbers, before) = text
        .split_once('-')
        .map_or((text, None), |(numbers, before)| (numbers, Some(before)));
    let parts: Vec<&str> = numbers.split('.').collect();
    let [major, minor, patch] = parts.as_slice() else {
        return None;
    };
    let before = before.map_or(Some(Vec::new()), |before| {
        before.split('.').map(identifier).collect()
    })?;
    let is_name =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !build.is_none_or(|build| build.split('.').all(is_name)) {
        return None;
    }
    Some(Semver {
        numbers: [plain(major)?, plain(minor)?, plain(patch)?],
        before,
        build: build.unwrap_or_default().to_owned(),
    })
}

/// A number without zeros before it.
fn plain(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let has_zeros = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| is_number && !has_zeros)
}

fn identifier(text: &str) -> Option<Identifier> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return plain(text).map(Identifier::Number);
    }
    let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_name.then(|| Identifier::Name(text.to_owned()))
}
