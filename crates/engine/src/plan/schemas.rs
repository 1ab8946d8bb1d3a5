//! What is asked of the JSON Schemas in a new definition, beyond that they can be used.

use serde_json::{Map, Value};

use crate::{expression::Template, schema::Schema};
use signoff_api::bounds::{MAX_SCHEMA, MAX_SCHEMA_NESTING};

/// Keys whose value is a schema.
const ONE: [&str; 10] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "contains",
    "propertyNames",
    "unevaluatedProperties",
    "not",
    "if",
    "then",
    "else",
];
/// Keys whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keys whose value has schemas by name.
const NAMED: [&str; 5] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "$defs",
    "definitions",
];

/// Refuses a schema that is too large or nested too deeply.
pub(super) fn bounded(schema: &Value) -> Result<(), String> {
    let size = schema.to_string().len();
    if size > MAX_SCHEMA {
        return Err(format!(
            "the schema has {size} bytes; at most {MAX_SCHEMA} may be"
        ));
    }
    let depth = depth(schema);
    if depth > MAX_SCHEMA_NESTING {
        return Err(format!(
            "the schema has {depth} schemas within each other; at most {MAX_SCHEMA_NESTING} may be"
        ));
    }
    Ok(())
}

/// How many schemas lie within each other. The nesting of the whole is bounded before.
fn depth(schema: &Value) -> usize {
    let Value::Object(keys) = schema else { return 0 };
    let one = ONE.iter().filter_map(|key| keys.get(*key));
    let list = LIST.iter().filter_map(|key| keys.get(*key)?.as_array()).flatten();
    let named = NAMED.iter().filter_map(|key| keys.get(*key)?.as_object());
    let named = named.flat_map(Map::values);
    let below = one.chain(list).chain(named).map(depth).max();
    1 + below.unwrap_or_default()
}

/// Whether a text of it has an expression in it, which nobody evaluates.
pub(super) fn has_expression(schema: &Value) -> bool {
    match schema {
        Value::String(text) => match Template::parse(text) {
            Ok(template) => template.as_literal().is_none(),
            Err(_) => true,
        },
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(keys) => keys.values().any(has_expression),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What is wrong with the schema of inputs: the field below it, and why.
pub(super) fn of_inputs(schema: &Value) -> Vec<(String, String)> {
    let allows_objects = match schema.get("type") {
        None => true,
        Some(Value::Array(types)) => types.iter().any(|name| name == "object"),
        Some(name) => name == "object",
    };
    if !allows_objects {
        return vec![(".type".to_owned(), "inputs are of type object".to_owned())];
    }
    let Ok(checked) = Schema::compile(schema) else {
        return vec![];
    };
    let mut found = Vec::new();
    for (path, default) in defaults(schema) {
        let within = path.iter().rev().fold(default.clone(), |value, name| {
            Value::Object(Map::from_iter([((*name).to_owned(), value)]))
        });
        let escaped = path
            .iter()
            .map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
        let pointer: String = escaped.collect();
        let misfits = checked.misfits(&within).into_iter();
        let misfit = misfits.into_iter().find(|misfit| {
            let rest = misfit.pointer.strip_prefix(&pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if let Some(misfit) = misfit {
            let field = format!(".properties.{}", path.join(".properties."));
            found.push((
                format!("{field}.default"),
                format!("the default does not fit: {}", misfit.message),
            ));
        }
    }
    found
}

/// The defaults of a schema, each with the names that lead to it.
fn defaults(schema: &Value) -> Vec<(Vec<&str>, &Value)> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), schema)];
    while let Some((path, part)) = open.pop() {
        let properties = part.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let mut path: Vec<&str> = path.clone();
            path.push(name);
            if let Some(default) = property.get("default") {
                found.push((path.clone(), default));
            }
            open.push((path, property));
        }
    }
    found
}
