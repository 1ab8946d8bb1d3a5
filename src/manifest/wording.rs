//! Errors of a schema in words for people who write manifests. What an API server says of the same is left to it.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::{FieldProblem, did_you_mean};
use signoff_api::{
    HumanDuration,
    name::{LABEL, SUBDOMAIN},
    or_expression::{QUORUM_PATTERN, duration_pattern},
};

/// Longest value that a message repeats, in characters.
const MAX_SHOWN: usize = 60;

/// What an error of the schema means, and where.
pub(super) fn problem(error: &jsonschema::ValidationError<'_>, schema: &Value) -> FieldProblem {
    let path = error.instance_path().to_string();
    let mut field = dotted(&path);
    let value = error.instance();
    let message = match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            field = join(&field, name);
            "this field is required".to_owned()
        }
        Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } => one_of(&path, value, error, schema),
        Kind::Pattern { pattern } => unlike(value, pattern),
        Kind::Enum { options } => {
            let options: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter(|one| !one.is_null())
                .map(plain)
                .collect();
            let word = value.as_str().unwrap_or_default();
            let meant = did_you_mean(word, options.iter().map(String::as_str));
            format!("{} is not one of {}{meant}", shown(value), options.join(", "))
        }
        Kind::Type { kind } => {
            let wanted: Vec<String> = match kind {
                TypeKind::Single(one) => vec![one.to_string()],
                TypeKind::Multiple(many) => many.iter().map(|one| one.to_string()).collect(),
            };
            let wanted = wanted
                .iter()
                .filter(|name| *name != "null")
                .map(|name| article(name));
            format!(
                "{} must be {}",
                shown(value),
                wanted.collect::<Vec<_>>().join(" or ")
            )
        }
        Kind::MaxLength { limit } => format!("longer than {limit} characters"),
        Kind::MinLength { .. } => "must not be empty".to_owned(),
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => format!("more than {limit} entries"),
        Kind::MinItems { limit } | Kind::MinProperties { limit } => {
            format!(
                "needs {limit} {} or more",
                if *limit == 1 { "entry" } else { "entries" }
            )
        }
        _ => {
            let message = error.masked_with(shown(value)).to_string();
            cut(&message, 4 * MAX_SHOWN)
        }
    };
    FieldProblem { field, message }
}

/// Which one of several fields is needed, where the schema asks for exactly one of them.
fn one_of(path: &str, value: &Value, error: &jsonschema::ValidationError<'_>, schema: &Value) -> String {
    let alternatives = schema.pointer(&error.schema_path().to_string());
    let names: Vec<&str> = alternatives
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|one| one["required"][0].as_str())
        .collect();
    if names.is_empty() {
        return cut(&error.masked_with(shown(value)).to_string(), 4 * MAX_SHOWN);
    }
    let given: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| value.get(name).is_some())
        .collect();
    let mut parts = path.rsplit('/');
    let last = parts.next().unwrap_or_default();
    let what = match (last.bytes().all(|b| b.is_ascii_digit()), parts.next()) {
        (true, Some(list)) => format!("each of the {list}"),
        _ => last.to_owned(),
    };
    let what = if what == "each of the steps" {
        "a step".to_owned()
    } else {
        what
    };
    let has = if given.is_empty() {
        "none".to_owned()
    } else {
        given.join(" and ")
    };
    format!("{what} needs exactly one of {}; it has {has}", names.join(", "))
}

/// What is wrong with a text that is not as its pattern wants it.
fn unlike(value: &Value, pattern: &str) -> String {
    let text = value.as_str().unwrap_or_default();
    if (pattern == HumanDuration::pattern() || pattern == duration_pattern())
        && let Err(error) = text.parse::<HumanDuration>()
    {
        return error.to_string();
    }
    let wanted = match pattern {
        QUORUM_PATTERN => return format!("{} must be an integer, or one ${{…}} expression", shown(value)),
        LABEL => "a name: lower-case letters, digits and dashes, with a letter or digit at both ends",
        SUBDOMAIN => {
            "a name: lower-case letters, digits, dashes and dots, with a letter or digit at both ends"
        }
        "^https?://" => "an address that begins with http:// or https://",
        _ => return format!("{} does not match {}", shown(value), cut(pattern, MAX_SHOWN)),
    };
    format!("{} is not {wanted}", shown(value))
}

fn article(name: &str) -> String {
    let vowel = name.starts_with(['a', 'i', 'o']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value as messages repeat it.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "this object".to_owned(),
        Value::Array(_) => "this list".to_owned(),
        other => cut(&other.to_string(), MAX_SHOWN),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// `/spec/steps/2/name` as `spec.steps[2].name`.
pub(super) fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            path.extend(["[", part, "]"]);
        } else {
            path = join(&path, &part.replace("~1", "/").replace("~0", "~"));
        }
    }
    path
}
