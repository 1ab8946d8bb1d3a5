//! Objects as rules see them: of the types that the schema says, with fields under the names that CEL can spell.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use signoff_expression::{self as cel, Budget, Key, Library, Program, Scope, Text};

/// Deepest schema that is looked at.
const MAX_DEPTH: usize = 64;

/// What of a schema makes its objects something else than plain JSON.
#[derive(Debug, Default)]
pub(super) struct Shape {
    kind: Kind,
    is_plain: bool,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Json,
    Number,
    /// Text that a function of CEL makes a value of, such as `timestamp`.
    Converted(&'static str),
    Bytes,
    List(Box<Shape>),
    Map(Box<Shape>),
    Object(BTreeMap<String, Shape>),
}

impl Shape {
    pub(super) fn of(schema: &Value) -> Self {
        Self::within(schema, 0)
    }

    fn within(schema: &Value, depth: usize) -> Self {
        if depth > MAX_DEPTH {
            return Self {
                kind: Kind::Json,
                is_plain: true,
            };
        }
        let below = |schema: &Value| Self::within(schema, depth + 1);
        let kind = match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("number"), _) => Kind::Number,
            (Some("string"), Some("date-time")) => Kind::Converted("timestamp(text)"),
            (Some("string"), Some("duration")) => Kind::Converted("duration(text)"),
            (Some("string"), Some("byte")) => Kind::Bytes,
            (Some("array"), _) => Kind::List(Box::new(below(&schema["items"]))),
            (Some("object"), _) if schema["additionalProperties"].is_object() => {
                Kind::Map(Box::new(below(&schema["additionalProperties"])))
            }
            (Some("object"), _) => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                Kind::Object(
                    properties
                        .map(|(name, schema)| (name.clone(), below(schema)))
                        .collect(),
                )
            }
            _ => Kind::Json,
        };
        let is_plain = match &kind {
            Kind::Json => true,
            Kind::Number | Kind::Converted(_) | Kind::Bytes => false,
            Kind::List(shape) | Kind::Map(shape) => shape.is_plain,
            Kind::Object(properties) => properties
                .iter()
                .all(|(name, shape)| shape.is_plain && matches!(escaped(name), Cow::Borrowed(_))),
        };
        Self { kind, is_plain }
    }

    /// A value that has this shape; JSON as it lies there where that is the same.
    pub(super) fn value<'a>(&self, json: &'a Value) -> cel::Value<'a> {
        if self.is_plain {
            return json.into();
        }
        match (&self.kind, json) {
            (Kind::Number, Value::Number(number)) => cel::Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            (Kind::Converted(function), Value::String(text)) => {
                converted(function, text).unwrap_or_else(|| json.into())
            }
            (Kind::Bytes, Value::String(text)) => match STANDARD.decode(text) {
                Ok(bytes) => cel::Value::Bytes(bytes.into()),
                Err(_) => json.into(),
            },
            (Kind::List(shape), Value::Array(items)) => {
                let items: Vec<_> = items.iter().map(|item| shape.value(item)).collect();
                cel::Value::List(items.into())
            }
            (Kind::Map(shape), Value::Object(map)) => {
                entries(map, |name, value| (Text::Borrowed(name), shape.value(value)))
            }
            (Kind::Object(properties), Value::Object(map)) => entries(map, |name, value| {
                let key = match escaped(name) {
                    Cow::Borrowed(name) => Text::Borrowed(name),
                    Cow::Owned(name) => name.into(),
                };
                let value = match properties.get(name) {
                    Some(shape) => shape.value(value),
                    None => value.into(),
                };
                (key, value)
            }),
            _ => json.into(),
        }
    }
}

fn entries<'a>(
    map: &'a Map<String, Value>,
    entry: impl Fn(&'a str, &'a Value) -> (Text<'a>, cel::Value<'a>),
) -> cel::Value<'a> {
    let entries = map.iter().map(|(name, value)| entry(name, value));
    let entries: BTreeMap<_, _> = entries.map(|(key, value)| (Key::String(key), value)).collect();
    cel::Value::Map(entries.into())
}

/// What a function of CEL makes of a text; none if it refuses it.
fn converted(function: &str, text: &str) -> Option<cel::Value<'static>> {
    let program = Program::parse(function, &Library::kubernetes()).ok()?;
    let mut scope = Scope::default();
    scope.set("text", cel::Value::text(text));
    match program.evaluate(&scope, &mut Budget::default()).ok()? {
        cel::Value::Timestamp(at) => Some(cel::Value::Timestamp(at)),
        cel::Value::Duration(nanos) => Some(cel::Value::Duration(nanos)),
        _ => None,
    }
}

/// A field's name as rules spell it.
fn escaped(name: &str) -> Cow<'_, str> {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return Cow::Owned(format!("__{name}__"));
    }
    let is_special = name.contains(['.', '-', '/']) || name.contains("__");
    if !is_special {
        return Cow::Borrowed(name);
    }
    let escaped = name.replace("__", "__underscores__");
    Cow::Owned(
        escaped
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_have_the_types_of_the_schema_and_names_that_can_be_spelled() {
        let schema = json!({"type": "object", "properties": {
            "a-b": {"type": "number"}, "namespace": {"type": "string"}, "x_y": {"type": "integer"},
            "at": {"type": "string", "format": "date-time"},
            "map": {"type": "object", "additionalProperties": {"type": "number"}},
        }});
        let object =
            json!({"a-b": 1, "namespace": "n", "x_y": 2, "at": "2024-01-01T00:00:00Z", "map": {"k-1": 3}});
        let rule = "self.a__dash__b + 0.5 == 1.5 && self.__namespace__ == 'n' && self.x_y == 2
            && self.at.getFullYear() == 2024 && self.map['k-1'] + 0.5 == 3.5";
        let program = Program::parse(rule, &Library::kubernetes()).unwrap();
        let shape = Shape::of(&schema);
        let mut scope = Scope::default();
        scope.set("self", shape.value(&object));
        let value = program.evaluate(&scope, &mut Budget::default()).unwrap();
        assert!(matches!(value, cel::Value::Bool(true)));
    }
}
