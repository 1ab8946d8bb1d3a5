//! How what happened is compared with what was expected.

use serde::Serialize;
use serde_json::{Value, json};

/// A value as a word: a string without its quotes, anything else as JSON.
pub(super) fn word(value: impl Serialize) -> String {
    let value = json!(value);
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Where a value lacks something of a part: each key of a map must be there, and a list must be as long.
pub(super) fn lacking(part: &Value, whole: &Value, at: &str) -> Option<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().find_map(|(key, part)| {
            let at = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            match whole.get(key) {
                Some(whole) => lacking(part, whole, &at),
                None => Some(format!("{at} is not there; expected {part}")),
            }
        }),
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => part
            .iter()
            .zip(whole)
            .enumerate()
            .find_map(|(index, (part, whole))| lacking(part, whole, &format!("{at}[{index}]"))),
        _ if same(part, whole) => None,
        _ if at.is_empty() => Some(format!("{whole}; expected {part}")),
        _ => Some(format!("{at} is {whole}; expected {part}")),
    }
}

/// Whether two values are the same; `1` and `1.0` are.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_in_the_whole_and_what_lacks_is_named() {
        let whole = json!({"a": {"b": 1, "c": [1, {"d": 2, "e": 3}]}});
        assert_eq!(lacking(&json!({"a": {"c": [1.0, {"d": 2}]}}), &whole, ""), None);
        for (part, message) in [
            (json!({"x": 1}), "x is not there; expected 1"),
            (json!({"a": {"b": 2}}), "a.b is 1; expected 2"),
            (
                json!({"a": {"c": [1]}}),
                "a.c is [1,{\"d\":2,\"e\":3}]; expected [1]",
            ),
            (json!({"a": {"c": [1, {"d": 3}]}}), "a.c[1].d is 2; expected 3"),
        ] {
            assert_eq!(lacking(&part, &whole, "").as_deref(), Some(message), "{part}");
        }
    }
}
