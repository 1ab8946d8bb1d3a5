//! Schemas of types that are not ours, narrowed to what is read: what a schema takes, the parser reads.

use std::borrow::Cow;

use schemars::{Schema, SchemaGenerator, json_schema};

/// A time as RFC 3339 has it, in upper case, in years that a clock can count. That the day exists is for `format: date-time` to say.
pub const TIMESTAMP: &str = "^([0-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])\
     :[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// Longest text of a time.
const MAX_TIMESTAMP: usize = 35;
/// Most conditions of one object.
const MAX_CONDITIONS: usize = 8;

/// A time of the API server's own types.
pub fn timestamp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "pattern": TIMESTAMP, "maxLength": MAX_TIMESTAMP })
}

/// A time that may be left out.
pub fn optional_timestamp(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = timestamp(generator);
    schema.insert("nullable".to_owned(), true.into());
    schema
}

/// Texts by free keys, such as headers: `LENGTH` bounds each text, `COUNT` how many there are.
pub fn texts<const COUNT: usize, const LENGTH: usize>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": COUNT,
        "additionalProperties": { "type": "string", "maxLength": LENGTH },
    })
}

/// The same where it may be left out.
pub fn optional_texts<const COUNT: usize, const LENGTH: usize>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = texts::<COUNT, LENGTH>(generator);
    schema.insert("nullable".to_owned(), true.into());
    schema
}

/// Any values by free keys, where they may be left out: `COUNT` bounds how many there are.
pub fn optional_values<const COUNT: usize>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "maxProperties": COUNT,
        "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true },
    })
}

/// Conditions as the Kubernetes API conventions bound them.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let time = timestamp(generator);
    json_schema!({
        "type": "array",
        "maxItems": MAX_CONDITIONS,
        "items": {
            "type": "object",
            "description": "Type, status and reason of a condition.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": described(time, "Time at which the status last changed."),
                "message": { "type": "string", "maxLength": 32768, "description": "Explanation for people." },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "Generation of the spec that this condition describes.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Machine-readable reason of the last change.",
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether the condition holds.",
                },
                "type": {
                    "type": "string", "minLength": 1, "maxLength": 316,
                    "pattern": "^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$",
                    "description": "Type of the condition, such as Ready.",
                },
            },
        },
    })
}

fn described(mut schema: Schema, text: &'static str) -> Schema {
    schema.insert("description".to_owned(), Cow::Borrowed(text).into());
    schema
}
