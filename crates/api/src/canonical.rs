//! Canonical JSON: the one byte string of a value that digests are taken over.
//!
//! Keys sorted by code point, no white space, numbers as `serde_json` prints them. It is RFC 8785 but for numbers,
//! which here keep integers above 2^53 exact.

use serde::Serialize;
use serde_json::{Number, Value};

use super::Digest;

/// The canonical bytes of a value. Keys are sorted explicitly so that no build feature of `serde_json` can change a digest.
pub fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

/// The digest of a value's canonical bytes.
pub fn digest_of_value(value: &Value) -> Digest {
    Digest::of(&bytes(value))
}

/// The digest of anything that serialises to JSON.
///
/// # Errors
/// When the value has no JSON form, such as a map whose keys are not strings.
pub fn digest(value: &impl Serialize) -> Result<Digest, serde_json::Error> {
    serde_json::to_value(value).map(|value| digest_of_value(&value))
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::String(key.clone()).to_string().as_bytes());
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
        Value::Number(number) => out.extend_from_slice(canonical_number(number).to_string().as_bytes()),
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// An API server stores `1.0` as `1`, so both must have one form.
#[allow(
    clippy::cast_possible_truncation,
    reason = "an integral float below 2^53 fits an i64 exactly"
)]
fn canonical_number(number: &Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
            Number::from(float as i64)
        }
        _ => number.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_integral_float_is_the_integer() {
        assert_eq!(
            bytes(&json!([1.0, -0.0, 2.5, u64::MAX])),
            bytes(&json!([1, 0, 2.5, u64::MAX]))
        );
    }

    #[test]
    fn sorts_keys_at_every_depth_and_leaves_no_space() {
        let value = json!({"b": [1, {"z": null, "a": "é\n"}], "a": 1.5});
        assert_eq!(
            String::from_utf8(bytes(&value)).unwrap(),
            r#"{"a":1.5,"b":[1,{"a":"é\n","z":null}]}"#
        );
    }

    #[test]
    fn equal_values_have_equal_digests() {
        let one: Value = serde_json::from_str(r#"{"x":1,"y":2}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"y":2,"x":1}"#).unwrap();
        assert_eq!(digest_of_value(&one), digest_of_value(&two));
    }
}
