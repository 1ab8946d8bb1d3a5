//! What is known of the inputs of a child run when a release is cut.

use serde_json::{Map, Value};
use signoff_expression::{StaticType, Type};

use crate::{
    expression::JsonTemplate,
    inputs::{Declared, complete_with, unlisted},
    plan::{Child, Place},
};
use signoff_api::{Json, json::JsonObject};

/// Keys of a schema that say something of each input by itself.
const OF_EACH: [&str; 5] = [
    "type",
    "properties",
    "additionalProperties",
    "patternProperties",
    "$defs",
];

/// Checks inputs against the schema of the flow that takes them, as far as both are known.
pub(super) fn check(flow: &str, template: &JsonTemplate, place: &mut Place<'_, '_>) {
    let schema = match place.child(flow) {
        Child::Unknown => return,
        Child::Known(schema) => schema,
    };
    let entries: &[(String, JsonTemplate)] = match template {
        JsonTemplate::Object(entries) => entries,
        JsonTemplate::Literal(_) | JsonTemplate::Text(_) | JsonTemplate::Array(_) => &[],
    };
    let literal: Map<String, Value> = entries
        .iter()
        .filter_map(|(name, template)| Some((name.clone(), template.as_literal()?)))
        .collect();
    if literal.len() == entries.len() {
        if let Err(message) = complete_with(schema.as_ref(), &JsonObject(literal)) {
            place.problem("inputs", format!("flow {flow}: {message}"));
        }
        return;
    }
    let Some(schema) = schema else {
        place.problem("inputs", format!("flow {flow} takes no inputs"));
        return;
    };
    let all: Map<String, Value> = entries
        .iter()
        .map(|(name, _)| (name.clone(), Value::Null))
        .collect();
    let all = JsonObject(all);
    for name in unlisted(&schema, &all) {
        place.problem(
            &format!("inputs.{name}"),
            format!("flow {flow} has no such input"),
        );
    }
    for name in missing(&schema, &all) {
        place.problem("inputs", format!("flow {flow} requires the input {name}"));
    }
    if let Err(message) = complete_with(Some(&of_each(&schema)), &JsonObject(literal)) {
        place.problem("inputs", format!("flow {flow}: {message}"));
    }
    for (name, template) in entries {
        let declared = Declared::of_schema(&schema, name);
        let type_ = place.type_of_template(template);
        if let Some(known) = json_types(&type_)
            && !declared.is_empty()
            && !known.iter().any(|name| declared.allows(name))
        {
            let message =
                format!("it is of type {type_}, which the input {name} of flow {flow} does not take");
            place.problem(&format!("inputs.{name}"), message);
        }
    }
}

/// Required inputs without a default that are not given.
fn missing<'a>(schema: &'a Json, given: &JsonObject) -> Vec<&'a str> {
    let required = schema.0["required"].as_array().into_iter().flatten();
    let required = required.filter_map(Value::as_str);
    required
        .filter(|name| !given.0.contains_key(*name))
        .filter(|name| schema.0["properties"][*name].get("default").is_none())
        .collect()
}

/// What a schema says of each input by itself.
fn of_each(schema: &Json) -> Json {
    let keys = schema.0.as_object().into_iter().flatten();
    let kept = keys.filter(|(key, _)| OF_EACH.contains(&key.as_str()));
    Json(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// The types in JSON that a value of a type has; none if it may be of any.
fn json_types(type_: &StaticType) -> Option<&'static [&'static str]> {
    match type_ {
        StaticType::OneOf(_) => Some(&["string"]),
        StaticType::List(_) => Some(&["array"]),
        StaticType::Map(_) | StaticType::Object(_) => Some(&["object"]),
        StaticType::Scalar(scalar) => match scalar {
            Type::String => Some(&["string"]),
            Type::Bool => Some(&["boolean"]),
            // a whole number fits both
            Type::Int | Type::Double => Some(&["integer", "number"]),
            Type::Null => Some(&["null"]),
            Type::Dyn
            | Type::Uint
            | Type::Bytes
            | Type::List
            | Type::Map
            | Type::Timestamp
            | Type::Duration
            | Type::Type
            | Type::Optional
            | Type::Ip
            | Type::Cidr
            | Type::Url
            | Type::Quantity
            | Type::Semver
            | Type::Format
            | Type::Host(_) => None,
        },
        StaticType::Dyn | StaticType::Optional(_) | StaticType::TypeOf(_) | StaticType::Unresolved(_) => None,
    }
}
