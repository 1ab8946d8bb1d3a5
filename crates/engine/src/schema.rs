//! JSON Schemas of inputs, forms and callbacks. A schema is a program that somebody else wrote, so what checking a value against
//! it may cost is bounded before it begins.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Most parts of a schema. A part that is referred to counts each time, and a pattern counts as [`PATTERN`].
const MAX_PARTS: usize = 5_000;
/// How much a pattern counts for.
const PATTERN: usize = 50;
/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 256 * 1024;
/// Most that a check may cost: parts of the schema times bytes of the value.
const MAX_COST: usize = 400_000_000;
/// Most that it may cost to say what does not fit: that is done with more memory.
const MAX_EXPLAINED: usize = 20_000_000;
/// Most misfits that are told of one value.
const MAX_TOLD: usize = 20;
/// Longest message of one misfit, in characters.
const MAX_MESSAGE: usize = 300;
/// Keys whose values are data.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is no JSON Schema.
    #[error("{0}")]
    Invalid(String),
    /// Checking a value against it could take too long.
    #[error(
        "it has more than {MAX_PARTS} parts, each counted as often as it is referred to and each pattern as {PATTERN}"
    )]
    TooLarge,
    /// A part refers to itself, directly or through others.
    #[error("{0} refers to itself")]
    Circular(String),
    /// A reference leads out of the schema.
    #[error("the reference {0:?} leads to nothing in this schema; write for example \"#/$defs/name\"")]
    Elsewhere(String),
}

/// Where a value does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// JSON Pointer of the place in the value; empty for the value as a whole.
    pub pointer: String,
    /// What does not fit.
    pub message: String,
}

/// A schema that is ready to check values. Formats are asserted.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    parts: usize,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When it is not a JSON Schema, or could cost too much.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let parts = Parts::default().of(schema, schema)?;
        let patterns = PatternOptions::regex()
            .size_limit(MAX_PATTERN)
            .dfa_size_limit(MAX_PATTERN);
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|error| SchemaError::Invalid(cut(&error.to_string())))?;
        Ok(Self { validator, parts })
    }

    /// Where a value does not fit: nothing if it does.
    pub fn misfits(&self, value: &Value) -> Vec<Misfit> {
        let cost = self.parts.saturating_mul(value.to_string().len());
        let whole = |message: &str| {
            vec![Misfit {
                pointer: String::new(),
                message: message.to_owned(),
            }]
        };
        if cost > MAX_COST {
            return whole("the value is too large to be checked against this schema");
        }
        if self.validator.is_valid(value) {
            return vec![];
        }
        if cost > MAX_EXPLAINED {
            return whole("the value does not fit, and is too large to say where");
        }
        let errors = self.validator.iter_errors(value).take(MAX_TOLD);
        errors
            .map(|error| Misfit {
                pointer: error.instance_path().to_string(),
                message: cut(&error.to_string()),
            })
            .collect()
    }
}

fn cut(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// Counts the parts of a schema.
#[derive(Default)]
struct Parts {
    /// What is referred to, with how many parts it has; none while it is being counted.
    referred: HashMap<String, Option<usize>>,
}

impl Parts {
    fn of(&mut self, root: &Value, part: &Value) -> Result<usize, SchemaError> {
        let mut parts = 1_usize;
        match part {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let more = match (key.as_str(), value) {
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                            self.referred(root, to)?
                        }
                        ("pattern", Value::String(_)) => PATTERN,
                        // counted where it is referred to
                        ("$defs" | "definitions", Value::Object(_)) => 0,
                        ("patternProperties", Value::Object(of)) => {
                            PATTERN.saturating_mul(of.len()) + self.of(root, value)?
                        }
                        (key, _) if DATA.contains(&key) => 1,
                        _ => self.of(root, value)?,
                    };
                    parts = parts.saturating_add(more);
                }
            }
            Value::Array(items) => {
                for item in items {
                    parts = parts.saturating_add(self.of(root, item)?);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if parts > MAX_PARTS {
            return Err(SchemaError::TooLarge);
        }
        Ok(parts)
    }

    fn referred(&mut self, root: &Value, to: &str) -> Result<usize, SchemaError> {
        match self.referred.get(to) {
            Some(Some(parts)) => return Ok(*parts),
            Some(None) => return Err(SchemaError::Circular(to.to_owned())),
            None => {}
        }
        // each is a step of the recursion
        if self.referred.len() > MAX_REFERRED {
            return Err(SchemaError::TooLarge);
        }
        let pointer = to
            .strip_prefix('#')
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let part = pointer.and_then(|pointer| root.pointer(pointer));
        let part = part.ok_or_else(|| SchemaError::Elsewhere(to.to_owned()))?;
        self.referred.insert(to.to_owned(), None);
        let parts = self.of(root, part)?;
        self.referred.insert(to.to_owned(), Some(parts));
        Ok(parts)
    }
}

/// Most different references.
const MAX_REFERRED: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn misfits(schema: &Value, value: &Value) -> Vec<String> {
        let schema = Schema::compile(schema).unwrap();
        let misfits = schema.misfits(value).into_iter();
        misfits
            .map(|misfit| format!("{}: {}", misfit.pointer, misfit.message))
            .collect()
    }

    fn refused(schema: &Value) -> String {
        Schema::compile(schema).unwrap_err().to_string()
    }

    #[test]
    fn every_misfit_is_told_with_its_place() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {"b": {"type": "integer"}, "c": {"format": "date-time"}}});
        assert_eq!(
            misfits(&schema, &json!({"b": "x", "c": "yesterday"})),
            [
                ": \"a\" is a required property",
                "/b: \"x\" is not of type \"integer\"",
                "/c: \"yesterday\" is not a \"date-time\"",
            ]
        );
        assert_eq!(misfits(&schema, &json!({"a": 1})), [""; 0]);
    }

    #[test]
    fn parts_count_as_often_as_they_are_referred_to() {
        let defs: serde_json::Map<String, Value> = (0..31)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                (format!("d{i}"), json!({"anyOf": [next, next]}))
            })
            .chain([("d31".to_owned(), json!({"type": "string"}))])
            .collect();
        let schema = json!({"properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs});
        assert!(refused(&schema).contains("more than 5000 parts"));
        let shared = json!({"properties": {"x": {"$ref": "#/$defs/d"}, "y": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"type": "string"}}});
        assert_eq!(misfits(&shared, &json!({"x": "a", "y": 1})).len(), 1);
    }

    #[test]
    fn a_reference_in_a_circle_or_out_of_the_schema_is_refused() {
        for (to, why) in [
            ("#", "refers to itself"),
            ("#/$defs/a", "refers to itself"),
            ("https://json-schema.org/draft/2020-12/schema", "leads to nothing"),
            ("#name", "leads to nothing"),
            ("#/$defs/none", "leads to nothing"),
        ] {
            let schema = json!({"properties": {"x": {"$ref": to}}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}});
            assert!(refused(&schema).contains(why), "{to}");
        }
        // what is data refers to nothing
        assert_eq!(
            misfits(&json!({"const": {"$ref": "#"}}), &json!({"$ref": "#"})),
            [""; 0]
        );
    }

    #[test]
    fn a_pattern_takes_time_in_proportion_to_the_text_and_no_more_memory_than_it_may() {
        let text = "a".repeat(100_000) + "b";
        assert_eq!(misfits(&json!({"pattern": "^(a|a)*$"}), &json!(text)).len(), 1);
        for pattern in [
            "^(?=a)(a+)+\\1$",
            "^(((((a{1,100}){1,100}){1,100}){1,100}){1,100})$",
        ] {
            assert!(
                Schema::compile(&json!({"pattern": pattern})).is_err(),
                "{pattern}"
            );
        }
        let many: Vec<Value> = (0..101).map(|i| json!({"pattern": format!("{i}")})).collect();
        assert!(refused(&json!({"anyOf": many})).contains("more than 5000 parts"));
    }

    #[test]
    fn a_large_value_is_checked_in_bounded_time_or_not_at_all() {
        let any: Vec<Value> = (0..1_500).map(|i| json!({"const": i})).collect();
        let schema = json!({"items": {"anyOf": any}});
        let value = json!(vec![-1; 100_000]);
        assert_eq!(
            misfits(&schema, &value),
            [": the value is too large to be checked against this schema"]
        );
        let value = json!(vec![-1; 10_000]);
        assert_eq!(
            misfits(&schema, &value),
            [": the value does not fit, and is too large to say where"]
        );
    }
}
