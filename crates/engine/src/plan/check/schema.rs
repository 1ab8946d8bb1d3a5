//! What a JSON Schema says of the types of its values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use signoff_expression::{Field, ObjectType, StaticType, Type};

/// Deepest part that is looked at. What lies deeper can be anything.
const MAX_DEPTH: usize = 32;
/// Most parts that are looked at, each counted as often as it is referred to.
const MAX_PARTS: usize = 5_000;
/// Keys that may let further fields in, whatever else the schema says.
const COMBINING: [&str; 11] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "patternProperties",
    "$dynamicRef",
    "$recursiveRef",
];

/// Keys that declare fields.
const OF_OBJECTS: [&str; 3] = ["properties", "required", "additionalProperties"];

/// Whether fields that have a default are always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defaults {
    /// They are filled in.
    Applied,
    /// They say only what is meant by an absent field.
    Ignored,
}

/// The type of the values that fit a schema.
pub(crate) fn type_of(schema: &Value, defaults: Defaults) -> StaticType {
    Reader::new(schema, defaults).part(schema, 0)
}

/// The type of the objects that fit a schema, which may leave out that they are objects.
pub(crate) fn object_of(schema: &Value, defaults: Defaults) -> ObjectType {
    match schema {
        Value::Object(keys) => Reader::new(schema, defaults).object(keys, 0),
        _ => ObjectType::new(BTreeMap::new(), Some(StaticType::Dyn)),
    }
}

struct Reader<'a> {
    root: &'a Value,
    defaults: Defaults,
    parts: usize,
}

impl<'a> Reader<'a> {
    fn new(root: &'a Value, defaults: Defaults) -> Self {
        Self {
            root,
            defaults,
            parts: 0,
        }
    }

    fn part(&mut self, schema: &'a Value, depth: usize) -> StaticType {
        self.parts += 1;
        let Value::Object(keys) = schema else {
            return StaticType::Dyn;
        };
        if depth > MAX_DEPTH || self.parts > MAX_PARTS {
            return StaticType::Dyn;
        }
        if let Some(to) = keys.get("$ref").and_then(Value::as_str) {
            let pointer = to.strip_prefix('#');
            return match pointer.and_then(|pointer| self.root.pointer(pointer)) {
                Some(part) => self.part(part, depth + 1),
                None => StaticType::Dyn,
            };
        }
        // OpenAPI knows it, and JSON Schema does not: either may be meant
        if keys.get("nullable") == Some(&Value::Bool(true)) {
            return StaticType::Dyn;
        }
        if let Some(value) = keys.get("const") {
            return of_values(std::slice::from_ref(value));
        }
        if let Some(Value::Array(values)) = keys.get("enum") {
            return of_values(values);
        }
        match only_type(keys) {
            // nothing is declared
            Some("object") if !OF_OBJECTS.iter().any(|key| keys.contains_key(*key)) => StaticType::Dyn,
            Some("object") => self.object(keys, depth).into(),
            Some("array") => {
                let is_plain = !keys.contains_key("prefixItems") && !keys.contains_key("additionalItems");
                match keys.get("items").filter(|_| is_plain) {
                    Some(items) => StaticType::list(self.part(items, depth + 1)),
                    None => StaticType::list(StaticType::Dyn),
                }
            }
            Some("string") => StaticType::STRING,
            Some("integer") => StaticType::INT,
            Some("number") => StaticType::DOUBLE,
            Some("boolean") => StaticType::BOOL,
            Some("null") => StaticType::Scalar(Type::Null),
            Some(_) | None => StaticType::Dyn,
        }
    }

    fn object(&mut self, keys: &'a Map<String, Value>, depth: usize) -> ObjectType {
        let parts = self.applying(keys);
        let every = || parts.iter().copied();
        let required = every().filter_map(|part| part.get("required")?.as_array());
        let required: Vec<&str> = required.flatten().filter_map(Value::as_str).collect();
        let named: Vec<&Map<String, Value>> = every()
            .filter_map(|part| part.get("properties")?.as_object())
            .collect();
        let mut fields = BTreeMap::new();
        for (name, schema) in named.iter().flat_map(|named| named.iter()) {
            let has_default = self.defaults == Defaults::Applied && schema.get("default").is_some();
            let type_ = self.part(schema, depth + 1);
            let known = fields.entry(name.clone()).or_insert_with(|| Field {
                type_: type_.clone(),
                is_required: required.contains(&name.as_str()),
            });
            known.is_required |= has_default;
            // what several parts say of it is not brought together
            if known.type_ != type_ {
                known.type_ = StaticType::Dyn;
            }
        }
        let is_combined = COMBINING
            .iter()
            .any(|key| parts.iter().any(|part| part.contains_key(*key)));
        for name in required {
            let unlisted = || Field::required(StaticType::Dyn);
            fields.entry(name.to_owned()).or_insert_with(unlisted);
        }
        let rest = match keys.get("additionalProperties") {
            _ if is_combined || parts.len() > 1 => Some(StaticType::Dyn),
            None if named.is_empty() => Some(StaticType::Dyn),
            // what is not listed may be there, but nobody is told of it
            None | Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.part(schema, depth + 1)),
        };
        ObjectType::new(fields, rest)
    }

    /// The parts that apply to the same object: this one, what it refers to, and all of `allOf`.
    fn applying(&mut self, keys: &'a Map<String, Value>) -> Vec<&'a Map<String, Value>> {
        let mut parts = vec![keys];
        let mut next = 0;
        while let Some(part) = parts.get(next).copied() {
            next += 1;
            self.parts += 1;
            // a schema that refers to itself is refused elsewhere
            if self.parts > MAX_PARTS {
                break;
            }
            let to = part.get("$ref").and_then(Value::as_str);
            let referred = to.and_then(|to| self.root.pointer(to.strip_prefix('#')?));
            let all = part.get("allOf").and_then(Value::as_array).into_iter().flatten();
            parts.extend(referred.into_iter().chain(all).filter_map(Value::as_object));
        }
        parts
    }
}

fn only_type(keys: &Map<String, Value>) -> Option<&str> {
    match keys.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => match names.as_slice() {
            [Value::String(name)] => Some(name),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The type of one of these values.
fn of_values(values: &[Value]) -> StaticType {
    if values.is_empty() {
        return StaticType::Dyn;
    }
    let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
    if let Some(texts) = texts {
        return StaticType::one_of(texts);
    }
    if values.iter().all(Value::is_boolean) {
        StaticType::BOOL
    } else if values.iter().all(Value::is_i64) {
        StaticType::INT
    } else if values.iter().all(Value::is_null) {
        StaticType::Scalar(Type::Null)
    } else {
        StaticType::Dyn
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(fields: &[(&str, Field)], rest: Option<StaticType>) -> StaticType {
        let fields = fields
            .iter()
            .map(|(name, field)| ((*name).to_owned(), field.clone()));
        ObjectType::new(fields.collect(), rest).into()
    }

    #[test]
    fn a_schema_says_the_types_of_its_values() {
        for (schema, expected) in [
            (json!({"type": "string"}), StaticType::STRING),
            (json!({"type": "integer"}), StaticType::INT),
            (json!({"type": "number"}), StaticType::DOUBLE),
            (json!({"type": ["boolean"]}), StaticType::BOOL),
            (json!({"type": "null"}), StaticType::Scalar(Type::Null)),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                StaticType::one_of(["a", "b"]),
            ),
            (json!({"const": "a"}), StaticType::one_of(["a"])),
            (json!({"enum": [1, 2]}), StaticType::INT),
            (json!({"enum": [true]}), StaticType::BOOL),
            (json!({"enum": [1, "a"]}), StaticType::Dyn),
            (json!({"enum": [1.5]}), StaticType::Dyn),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                StaticType::list(StaticType::INT),
            ),
            (json!({"type": "array"}), StaticType::list(StaticType::Dyn)),
            (
                json!({"type": "array", "prefixItems": [{}], "items": {"type": "string"}}),
                StaticType::list(StaticType::Dyn),
            ),
            (json!({"type": ["string", "null"]}), StaticType::Dyn),
            (json!({"type": "string", "nullable": true}), StaticType::Dyn),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
                StaticType::Dyn,
            ),
            (json!({}), StaticType::Dyn),
            (json!(true), StaticType::Dyn),
            (json!({"type": "object"}), StaticType::Dyn),
            (
                json!({"type": "object", "required": ["a", "c"], "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 1}}}),
                object(
                    &[
                        ("a", Field::required(StaticType::STRING)),
                        ("b", Field::required(StaticType::INT)),
                        ("c", Field::required(StaticType::Dyn)),
                    ],
                    None,
                ),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}}),
                object(
                    &[("a", Field::optional(StaticType::STRING))],
                    Some(StaticType::INT),
                ),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true}),
                object(
                    &[("a", Field::optional(StaticType::STRING))],
                    Some(StaticType::Dyn),
                ),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false, "anyOf": [{"properties": {"b": {}}}]}),
                object(
                    &[("a", Field::optional(StaticType::STRING))],
                    Some(StaticType::Dyn),
                ),
            ),
            (
                json!({"$ref": "#/$defs/line", "$defs": {"line": {"type": "object", "properties": {"sku": {"$ref": "#/$defs/text"}}}, "text": {"type": "string"}}}),
                object(&[("sku", Field::optional(StaticType::STRING))], None),
            ),
            (json!({"$ref": "#/$defs/none"}), StaticType::Dyn),
            (json!({"$ref": "https://example.com/schema"}), StaticType::Dyn),
        ] {
            assert_eq!(type_of(&schema, Defaults::Applied), expected, "{schema}");
        }
        let with_default = json!({"type": "object", "properties": {"a": {"type": "string", "default": "x"}}});
        assert_eq!(
            type_of(&with_default, Defaults::Ignored),
            object(&[("a", Field::optional(StaticType::STRING))], None)
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_or_grows_without_end_is_read_in_bounded_time() {
        let circular = json!({"type": "array", "items": {"$ref": "#"}});
        assert!(matches!(
            type_of(&circular, Defaults::Applied),
            StaticType::List(_)
        ));
        let defs: Map<String, Value> = (0..31)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                (
                    format!("d{i}"),
                    json!({"type": "object", "properties": {"a": next, "b": next}}),
                )
            })
            .collect();
        let growing = json!({"$ref": "#/$defs/d0", "$defs": defs});
        assert!(matches!(
            type_of(&growing, Defaults::Applied),
            StaticType::Object(_)
        ));
    }
}
