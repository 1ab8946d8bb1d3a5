//! Takes secrets out of what an executor returns, by their value.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// The secrets used in one call. Never printed.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Adds a secret, with the forms in which a server may echo it.
    pub fn add(&mut self, secret: &str) {
        let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for form in [secret.to_owned(), STANDARD.encode(secret), percent] {
            if !form.is_empty() && !self.0.contains(&form) {
                self.0.push(form);
            }
        }
        // the longest first, so that no part of one is left when it holds another
        self.0.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// The text without the secrets.
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.as_str()) {
                text.replace(secret.as_str(), REDACTED)
            } else {
                text
            }
        })
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
            Value::Number(number) if self.0.contains(&number.to_string()) => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn takes_out_every_form_everywhere() {
        let mut secrets = Secrets::default();
        secrets.add("s3/cret");
        let value = json!({"a s3/cret": ["x s3%2Fcret y", STANDARD.encode("s3/cret")], "n": 5});
        let text = secrets.redact_value(value).to_string();
        assert_eq!(text, r#"{"a [redacted]":["x [redacted] y","[redacted]"],"n":5}"#);
        assert!(!format!("{secrets:?}").contains("s3"));
    }
}
