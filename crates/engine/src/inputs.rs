//! Checks a run's inputs against its release before the first step.

use crate::schema::Schema;
use signoff_api::{Definition, Json, bounds, json::JsonObject};

/// Checks inputs.
///
/// # Errors
/// A message that names every input that does not fit.
pub fn check(definition: &Definition, inputs: &JsonObject) -> Result<(), String> {
    let Some(schema) = &definition.inputs else {
        let given: Vec<&str> = inputs.0.keys().map(String::as_str).collect();
        let message = || format!("the flow takes no inputs, but {} were given", given.join(", "));
        return if given.is_empty() { Ok(()) } else { Err(message()) };
    };
    let value = inputs.to_value();
    bounds::nesting(&value, bounds::MAX_NESTING).map_err(|error| format!("inputs: {error}"))?;
    let size = value.to_string().len();
    if size > bounds::MAX_INPUTS {
        return Err(format!(
            "inputs: they have {size} bytes; at most {} are taken",
            bounds::MAX_INPUTS
        ));
    }
    let checked =
        Schema::compile(schema.as_value()).map_err(|error| format!("the inputs' schema: {error}"))?;
    let mut messages: Vec<String> = checked
        .misfits(&value)
        .into_iter()
        .map(|misfit| format!("inputs{}: {}", dotted(&misfit.pointer), misfit.message))
        .collect();
    messages.extend(unlisted(schema, inputs).map(|name| format!("inputs.{name}: there is no such input")));
    if messages.is_empty() {
        Ok(())
    } else {
        Err(messages.join("; "))
    }
}

/// Inputs that a schema with a list of properties does not list, unless it says that others are welcome.
fn unlisted<'a>(schema: &'a Json, inputs: &'a JsonObject) -> impl Iterator<Item = &'a str> {
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
