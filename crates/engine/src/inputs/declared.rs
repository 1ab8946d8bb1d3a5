//! What a schema says of the types of values.

use std::collections::BTreeSet;

use serde_json::Value;
use signoff_api::{Definition, Json};

/// From here on, a float without a fraction may be an integer that somebody rounded: what fits into 64 bits is read as an
/// integer, and a smaller float was written as one, such as `1.5e18`.
const ROUNDED: f64 = 9_223_372_036_854_775_808.0;

/// The types that a schema allows for one input; none if it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared<'a>(BTreeSet<&'a str>);

impl<'a> Declared<'a> {
    /// Those of an input of a flow.
    pub fn of(definition: &'a Definition, name: &str) -> Self {
        let schema = definition.inputs.as_ref();
        schema.map_or_else(Self::default, |schema| Self::of_schema(schema, name))
    }

    /// Those of an input with this schema.
    pub(crate) fn of_schema(schema: &'a Json, name: &str) -> Self {
        let mut types = BTreeSet::new();
        for part in applying(&schema.0, &schema.0) {
            if let Some(property) = part["properties"].get(name) {
                collect(&schema.0, property, &mut types);
            }
        }
        Self(types)
    }

    /// Whether the schema says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it allows values of a type, by its name in JSON Schema.
    pub fn allows(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether it allows numbers of any sort.
    pub fn allows_numbers(&self) -> bool {
        self.allows("number") || self.allows("integer")
    }
}

/// The parts of a schema that apply to the same value: itself, what it refers to, and all of `allOf`.
pub(super) fn applying<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut parts = vec![schema];
    let mut at = 0;
    while let Some(part) = parts.get(at).copied() {
        at += 1;
        let referred = part["$ref"]
            .as_str()
            .and_then(|to| root.pointer(to.strip_prefix('#')?));
        let all = part["allOf"].as_array().into_iter().flatten();
        parts.extend(referred.into_iter().chain(all));
        // a schema that refers to itself is refused elsewhere
        if parts.len() > MOST_PARTS {
            break;
        }
    }
    parts
}

/// Most parts that are looked at for one value.
const MOST_PARTS: usize = 500;

fn collect<'a>(root: &'a Value, schema: &'a Value, types: &mut BTreeSet<&'a str>) {
    for part in applying(root, schema) {
        match &part["type"] {
            Value::String(one) => {
                types.insert(one);
            }
            Value::Array(some) => types.extend(some.iter().filter_map(Value::as_str)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                let values = part["enum"].as_array().into_iter().flatten();
                types.extend(values.chain(part.get("const")).map(|value| type_of(value)));
            }
        }
        let others = [&part["anyOf"], &part["oneOf"]];
        for other in others.into_iter().filter_map(Value::as_array).flatten() {
            collect(root, other, types);
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Collects the integers that somebody before us may have rounded, with their places. Where the schema says `number`, a
/// large one is meant as it is.
pub(super) fn rounded(schema: &Value, value: &Value, pointer: &str, found: &mut Vec<(String, String)>) {
    rounded_below(schema, Some(schema), value, pointer, found);
}

fn rounded_below(
    root: &Value,
    schema: Option<&Value>,
    value: &Value,
    pointer: &str,
    found: &mut Vec<(String, String)>,
) {
    let parts = schema.map(|schema| applying(root, schema)).unwrap_or_default();
    match value {
        Value::Number(number) => {
            let mut types = BTreeSet::new();
            if let Some(schema) = schema {
                collect(root, schema, &mut types);
            }
            if !types.contains("number") && !is_exact(number) {
                found.push((pointer.to_owned(), number.to_string()));
            }
        }
        Value::Array(items) => {
            let schema = parts.iter().find_map(|part| part.get("items"));
            for (index, item) in items.iter().enumerate() {
                rounded_below(root, schema, item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let schema = parts.iter().find_map(|part| part["properties"].get(name));
                rounded_below(root, schema, field, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Whether a number is what somebody wrote: an integer of 64 bits with a sign, or a float. A float beyond that may be an
/// integer that was rounded.
fn is_exact(number: &serde_json::Number) -> bool {
    if number.is_i64() {
        return true;
    }
    number
        .as_f64()
        .is_some_and(|float| number.is_f64() && float.abs() < ROUNDED)
}
