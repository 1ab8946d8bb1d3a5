//! Checks a run's inputs against its release before the first step, and completes them with the defaults of the schema.

mod declared;
mod defaults;

use serde_json::Value;

pub use self::declared::Declared;
use crate::schema::Schema;
use signoff_api::{Definition, Json, bounds, json::JsonObject};

/// The inputs with the defaults of the schema, if they fit.
///
/// # Errors
/// A message that names every input that does not fit.
pub fn complete(definition: &Definition, inputs: &JsonObject) -> Result<JsonObject, String> {
    complete_with(definition.inputs.as_ref(), inputs)
}

/// The same of inputs with this schema.
pub(crate) fn complete_with(schema: Option<&Json>, inputs: &JsonObject) -> Result<JsonObject, String> {
    let Some(schema) = schema else {
        let given: Vec<&str> = inputs.0.keys().map(String::as_str).collect();
        return if given.is_empty() {
            Ok(JsonObject::default())
        } else {
            let given = given.join(", ");
            Err(format!("the flow takes no inputs, but {given} were given"))
        };
    };
    is_bounded(&inputs.to_value())?;
    let checked =
        Schema::compile(schema.as_value()).map_err(|error| format!("the inputs' schema: {error}"))?;
    let mut value = inputs.to_value();
    defaults::fill(schema.as_value(), &mut value);
    is_bounded(&value)?;
    let mut messages: Vec<String> = checked
        .misfits(&value)
        .into_iter()
        .map(|misfit| format!("inputs{}: {}", dotted(&misfit.pointer), misfit.message))
        .collect();
    messages.extend(unlisted(schema, inputs).map(|name| format!("inputs.{name}: there is no such input")));
    let mut rounded = Vec::new();
    declared::rounded(schema.as_value(), &value, "", &mut rounded);
    messages.extend(rounded.into_iter().map(|(pointer, number)| {
        format!(
            "inputs{}: {number} is an integer of more than 64 bits, which may have been rounded; give it as a string",
            dotted(&pointer)
        )
    }));
    match (messages.is_empty(), value) {
        (true, Value::Object(completed)) => Ok(JsonObject(completed)),
        (true, _) => Ok(inputs.clone()),
        (false, _) => Err(messages.join("; ")),
    }
}

/// Why inputs cannot fit whatever their values are: required ones that are not given, and given ones that there are not.
pub fn unfit_names(definition: &Definition, inputs: &Value) -> Option<String> {
    let given = inputs.as_object()?;
    let Some(schema) = &definition.inputs else {
        return (!given.is_empty()).then(|| "the flow takes no inputs".to_owned());
    };
    let required = schema.0["required"].as_array().into_iter().flatten();
    let has_default = |name: &str| schema.0["properties"][name].get("default").is_some();
    let mut messages: Vec<String> = required
        .filter_map(Value::as_str)
        .filter(|name| !given.contains_key(*name) && !has_default(name))
        .map(|name| format!("inputs.{name}: it is required and not given"))
        .collect();
    let given = JsonObject(given.clone());
    messages.extend(unlisted(schema, &given).map(|name| format!("inputs.{name}: there is no such input")));
    (!messages.is_empty()).then(|| messages.join("; "))
}

fn is_bounded(value: &Value) -> Result<(), String> {
    bounds::nesting(value, bounds::MAX_NESTING).map_err(|error| format!("inputs: {error}"))?;
    let size = value.to_string().len();
    if size > bounds::MAX_INPUTS {
        return Err(format!(
            "inputs: they have {size} bytes; at most {} are taken",
            bounds::MAX_INPUTS
        ));
    }
    Ok(())
}

/// Inputs that a schema with a list of properties does not list, unless it says that others are welcome.
pub(crate) fn unlisted<'a>(schema: &'a Json, inputs: &'a JsonObject) -> impl Iterator<Item = &'a str> {
    let properties = schema.0["properties"].as_object();
    let closed =
        schema.0.get("additionalProperties").is_none() && schema.0.get("patternProperties").is_none();
    inputs
        .0
        .keys()
        .map(String::as_str)
        .filter(move |name| closed && properties.is_some_and(|known| !known.contains_key(*name)))
}

fn dotted(pointer: &str) -> String {
    pointer.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
    fn completed(schema: Value, inputs: Value) -> Result<Value, String> {
        let definition = json!({"inputs": schema, "steps": []});
        let definition: Definition = serde_json::from_value(definition).unwrap();
        let inputs: JsonObject = serde_json::from_value(inputs).unwrap();
        complete(&definition, &inputs).map(|inputs| inputs.to_value())
    }

    #[test]
    fn defaults_are_filled_in_at_every_depth_and_checked_as_if_they_were_given() {
        let schema = json!({
            "type": "object",
            "required": ["currency"],
            "$defs": {"line": {"type": "object", "properties": {"count": {"type": "integer", "default": 1}}}},
            "properties": {
                "currency": {"type": "string", "default": "EUR"},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
                "options": {"type": "object", "default": {}, "properties": {"dry": {"type": "boolean", "default": false}}},
                "note": {"type": "string"},
            },
        });
        assert_eq!(
            completed(schema.clone(), json!({"lines": [{}, {"count": 2}]})).unwrap(),
            json!({"currency": "EUR", "lines": [{"count": 1}, {"count": 2}], "options": {"dry": false}})
        );
        assert_eq!(
            completed(schema, json!({"currency": "USD", "options": {"dry": true}})).unwrap(),
            json!({"currency": "USD", "options": {"dry": true}})
        );
        let wrong = json!({"type": "object", "properties": {"day": {"type": "string", "format": "date", "default": "soon"}}});
        let refused = completed(wrong, json!({})).unwrap_err();
        assert!(refused.contains("inputs.day"), "{refused}");
    }

    #[test]
    fn an_input_that_is_given_as_null_is_not_replaced() {
        let schema =
            json!({"type": "object", "properties": {"a": {"type": ["string", "null"], "default": "x"}}});
        assert_eq!(completed(schema, json!({"a": null})).unwrap(), json!({"a": null}));
    }

    #[test]
    fn an_integer_that_was_rounded_is_refused_and_a_number_is_not() {
        let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}, "mass": {"type": "number"}, "any": {}}});
        let exact = json!({"id": 9_223_372_036_854_775_807_i64, "mass": 5.972e24, "any": 1.5});
        assert!(completed(schema.clone(), exact).is_ok());
        let fits = json!({"id": 1.5e18, "any": -1.5e18});
        assert!(completed(schema.clone(), fits).is_ok());
        for wrong in [
            json!({"id": 12_345_678_901_234_567_890_123.0}),
            json!({"any": 1e20}),
            json!({"id": 18_446_744_073_709_551_615_u64}),
        ] {
            let refused = completed(schema.clone(), wrong.clone()).unwrap_err();
            assert!(refused.contains("may have been rounded"), "{wrong}: {refused}");
        }
    }

    #[test]
    fn a_flow_without_inputs_takes_none() {
        let definition: Definition = serde_json::from_value(json!({"steps": []})).unwrap();
        let some: JsonObject = serde_json::from_value(json!({"a": 1})).unwrap();
        assert!(
            complete(&definition, &some)
                .unwrap_err()
                .contains("takes no inputs")
        );
        assert!(
            complete(&definition, &JsonObject::default())
                .unwrap()
                .0
                .is_empty()
        );
    }
}
