//! Takes secrets out of what comes back from a call, by their value and however it is written.

mod stream;
#[cfg(test)]
mod tests;
mod unescaped;
mod written;

use std::ops::Range;

use serde_json::Value;

use self::{
    unescaped::Unescaped,
    written::{Text, Written},
};

pub use self::stream::StreamRedactor;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// The secrets used in one call. Never printed.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Written>);

impl Secrets {
    /// Adds a secret, to be found as it is, with characters escaped as in URLs, HTML or JSON, and as base64 or hexadecimal digits.
    pub fn add(&mut self, secret: &str) {
        if !secret.is_empty() && !self.0.iter().any(|known| known.is(secret)) {
            self.0.push(Written::new(secret));
        }
    }

    /// The text without the secrets.
    pub fn redact(&self, text: &str) -> String {
        let mut found = self.find(text);
        if found.is_empty() {
            return text.to_owned();
        }
        found.sort_by_key(|range| range.start);
        let (mut redacted, mut at) = (String::with_capacity(text.len()), 0);
        for range in found {
            // what overlaps is one place
            if range.start >= at {
                redacted.push_str(&text[at..range.start]);
                redacted.push_str(REDACTED);
            }
            at = at.max(range.end);
        }
        redacted.push_str(&text[at..]);
        redacted
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let possible = || self.0.iter().filter(|secret| !secret.is_longer_than(text));
        if possible().next().is_none() {
            return found;
        }
        let whole = Text::new(text);
        possible().for_each(|secret| secret.find(&whole, &mut found));
        for read in Unescaped::readings(text) {
            possible().for_each(|secret| secret.find_unescaped(text, &read, &mut found));
            // most of it was found before
            found.sort_unstable_by_key(|place| (place.start, place.end));
            found.dedup();
        }
        found
    }

    /// Takes the secrets out of bytes that come in pieces.
    pub fn stream(&self) -> StreamRedactor {
        StreamRedactor::new(self.0.iter().flat_map(Written::needles))
    }

    /// The value without the secrets, in its keys too.
    pub fn redact_value(&self, value: Value) -> Value {
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.redact(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.redact_value(item)).collect(),
            Value::Object(map) => map
                .into_iter()
                .map(|(key, item)| (self.redact(&key), self.redact_value(item)))
                .collect(),
            Value::Number(number) if self.0.iter().any(|secret| secret.is(&number.to_string())) => {
                Value::String(REDACTED.to_owned())
            }
            other => other,
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}
