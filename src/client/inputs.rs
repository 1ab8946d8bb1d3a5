//! Inputs of a run, before they are sent.

use serde_json::{Map, Number, Value};

use signoff_api::{
    Definition,
    bounds::{self, InexactInteger, TooDeep},
    json::JsonObject,
};
use signoff_engine::inputs;

/// From here on, a whole number that was read as a fraction may be an integer that was rounded.
const FIRST_ROUNDED: f64 = 9_223_372_036_854_775_808.0;

/// Why inputs cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// One is nested too deeply.
    #[error("input {0}: {1}")]
    TooDeep(String, TooDeep),
    /// One has an integer that no reader keeps.
    #[error("input {0}: {1}")]
    Inexact(String, InexactInteger),
    /// They do not fit the schema of the flow.
    #[error("{0}")]
    Misfit(String),
}

/// Checks inputs as the operator would before the first step. Without a definition, only their form.
///
/// # Errors
/// If the run would be refused for its inputs.
pub fn check_inputs(definition: Option<&Definition>, given: &JsonObject) -> Result<(), InputError> {
    form(&given.0)?;
    match definition {
        None => Ok(()),
        Some(definition) => inputs::complete(definition, given)
            .map(drop)
            .map_err(InputError::Misfit),
    }
}

fn form(given: &Map<String, Value>) -> Result<(), InputError> {
    for (name, value) in given {
        // the object of all inputs is the first level
        if bounds::nesting(value, bounds::MAX_NESTING - 1).is_err() {
            return Err(InputError::TooDeep(name.clone(), TooDeep(bounds::MAX_NESTING)));
        }
        if let Some(number) = inexact(value) {
            return Err(InputError::Inexact(
                name.clone(),
                InexactInteger(number.to_string()),
            ));
        }
    }
    Ok(())
}

/// An integer beyond 64 bits with a sign, as the parser left it.
fn inexact(value: &Value) -> Option<&Number> {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.values()),
            Value::Number(number) => {
                let is_rounded = number
                    .as_f64()
                    .is_some_and(|float| number.is_f64() && float.abs() >= FIRST_ROUNDED);
                if is_rounded || (number.is_u64() && !number.is_i64()) {
                    return Some(number);
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn inputs_that_nobody_keeps_as_they_are_written_are_refused() {
        let checked =
            |value: Value| check_inputs(None, &JsonObject([("x".to_owned(), value)].into_iter().collect()));
        let mut deep = json!(1);
        for _ in 0..bounds::MAX_NESTING {
            deep = json!([deep]);
        }
        for value in [
            json!([{"a": i64::MAX}]),
            json!(i64::MIN),
            json!(1.5),
            json!(1e15),
            json!("9223372036854775808"),
        ] {
            assert!(checked(value.clone()).is_ok(), "{value}");
        }
        for (value, why) in [
            (
                json!([{"a": 9_223_372_036_854_775_808_u64}]),
                "does not fit into 64 bits",
            ),
            (
                serde_json::from_str("123456789012345678901234567890").unwrap(),
                "does not fit into 64 bits",
            ),
            (deep, "nested more than 32 levels"),
        ] {
            let refused = checked(value).unwrap_err().to_string();
            assert!(
                refused.starts_with("input x: ") && refused.contains(why),
                "{refused}"
            );
        }
    }
}
