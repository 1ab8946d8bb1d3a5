//! Errors in the words of Kubernetes.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::{FieldError, rules::RuleError};

/// An error of the schema.
pub(super) fn field_error(error: &jsonschema::ValidationError<'_>) -> FieldError {
    let mut field = dotted(error.instance_path().as_str());
    let value = shown(error.instance());
    let count = |value: &Value| {
        value
            .as_array()
            .map_or_else(|| value.as_object().map_or(0, serde_json::Map::len), Vec::len)
    };
    let (reason, message) = match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            field = if field.is_empty() {
                name.to_owned()
            } else {
                format!("{field}.{name}")
            };
            ("FieldValueRequired", "Required value".to_owned())
        }
        Kind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(many) => {
                    let names: Vec<String> = many.iter().map(|one| one.to_string()).collect();
                    names
                        .into_iter()
                        .filter(|name| name != "null")
                        .collect::<Vec<_>>()
                        .join(",")
                }
            };
            let got = type_name(error.instance());
            (
                "FieldValueTypeInvalid",
                format!("Invalid value: \"{got}\": {field} in body must be of type {wanted}: \"{got}\""),
            )
        }
        Kind::Enum { options } => {
            let options: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter(|o| !o.is_null())
                .map(shown)
                .collect();
            (
                "FieldValueNotSupported",
                format!(
                    "Unsupported value: {value}: supported values: {}",
                    options.join(", ")
                ),
            )
        }
        Kind::MaxLength { limit } => (
            "FieldValueTooLong",
            format!("Too long: may not be more than {limit} bytes"),
        ),
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => {
            let plural = if *limit == 1 { "item" } else { "items" };
            (
                "FieldValueTooMany",
                format!(
                    "Too many: {}: must have at most {limit} {plural}",
                    count(error.instance())
                ),
            )
        }
        kind => (
            "FieldValueInvalid",
            format!("Invalid value: {value}: {}", rule(kind, &field, error)),
        ),
    };
    FieldError {
        reason: reason.to_owned(),
        field,
        message,
    }
}

fn rule(kind: &Kind, field: &str, error: &jsonschema::ValidationError<'_>) -> String {
    match kind {
        Kind::MinLength { limit } => format!("{field} in body should be at least {limit} chars long"),
        Kind::MinItems { limit } => format!("{field} in body should have at least {limit} items"),
        Kind::MinProperties { limit } => format!("{field} in body should have at least {limit} properties"),
        Kind::Minimum { limit } => format!("{field} in body should be greater than or equal to {limit}"),
        Kind::Maximum { limit } => format!("{field} in body should be less than or equal to {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("{field} in body should be greater than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("{field} in body should be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("{field} in body should be a multiple of {multiple_of}"),
        Kind::Pattern { pattern } => format!("{field} in body should match '{pattern}'"),
        Kind::Format { format } => {
            format!(
                "{field} in body must be of type {format}: {}",
                shown(error.instance())
            )
        }
        Kind::UniqueItems => format!("{field} in body shouldn't contain duplicates"),
        Kind::OneOfNotValid { .. } => {
            format!("\"{field}\" must validate one and only one schema (oneOf). Found none valid")
        }
        Kind::OneOfMultipleValid { .. } => {
            format!(
                "\"{field}\" must validate one and only one schema (oneOf). Found more than one valid alternatives"
            )
        }
        Kind::AnyOf { .. } => format!("\"{field}\" must validate at least one schema (anyOf)"),
        Kind::Not { .. } => format!("\"{field}\" must not validate the schema (not)"),
        _ => error.to_string(),
    }
}

/// An error of a CEL rule.
pub(super) fn rule_error(error: &RuleError, object: &Value) -> FieldError {
    let field = if error.field.is_empty() {
        "<nil>".to_owned()
    } else {
        error.field.clone()
    };
    let value = object.pointer(&pointer(&error.field)).unwrap_or(object);
    let shown = match value {
        Value::Object(_) => "\"object\"".to_owned(),
        Value::Array(_) => "\"array\"".to_owned(),
        other => shown(other),
    };
    let (reason, message) = match error.reason.as_deref() {
        Some("FieldValueRequired") => ("FieldValueRequired", format!("Required value: {}", error.message)),
        Some("FieldValueForbidden") => ("FieldValueForbidden", format!("Forbidden: {}", error.message)),
        Some("FieldValueDuplicate") => ("FieldValueDuplicate", format!("Duplicate value: {shown}")),
        _ => (
            "FieldValueInvalid",
            format!("Invalid value: {shown}: {}", error.message),
        ),
    };
    FieldError {
        reason: reason.to_owned(),
        field,
        message,
    }
}

/// A value as messages show it; large ones are cut short.
fn shown(value: &Value) -> String {
    const LIMIT: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(LIMIT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn type_name(value: &Value) -> &'static str {
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

/// `/spec/steps/0/name` as `spec.steps[0].name`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
            path = format!("{path}[{part}]");
        } else if path.is_empty() {
            path = part;
        } else {
            path = format!("{path}.{part}");
        }
    }
    path
}

/// `spec.steps[0].name` as `/spec/steps/0/name`.
fn pointer(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    format!("/{}", path.replace('[', ".").replace(']', "").replace('.', "/"))
}
