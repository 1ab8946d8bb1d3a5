//! What a model has answered: read, and checked against a schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::error;
use signoff_api::{bounds, reason::StepReason, run::Usage};
use signoff_engine::{chat::LlmAnswer, facts::EffectError, schema::Schema};

/// An answer as a provider writes it.
pub(super) struct Read {
    pub(super) usage: Usage,
    pub(super) answer: Result<LlmAnswer, EffectError>,
}

/// Most calls that one answer may ask for.
pub(super) const MAX_CALLS: usize = 64;
/// Longest name or id that is read, in bytes.
const MAX_NAME: usize = 256;

/// The answer ended before the model was done.
pub(super) fn cut_off() -> EffectError {
    let message =
        "the answer of the model was cut off: it has reached maxTokens, or as much as the model can take";
    error::invalid(StepReason::AnswerCutOff, message)
}

/// The model, or what watches over it, refused.
pub(super) fn refused() -> EffectError {
    error::invalid(StepReason::AnswerRefused, "the model refused to answer")
}

/// A count of tokens.
pub(super) fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default().max(0)
}

/// A name or an id that is short enough.
pub(super) fn name(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (1..=MAX_NAME).contains(&text.len()).then(|| text.to_owned())
}

/// The arguments of a call that are written as text; the text itself if it is no JSON.
pub(super) fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Object(serde_json::Map::new());
    }
    parsed(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// The value of an answer that fits the schema, or what is wrong with it.
pub(super) fn value(text: &str, schema: &Schema) -> Result<Value, Vec<String>> {
    let value = parsed(unfenced(text)).map_err(|problem| vec![problem])?;
    let misfits = schema.misfits(&value);
    if misfits.is_empty() {
        return Ok(value);
    }
    let told = misfits.into_iter().map(|misfit| match misfit.pointer.as_str() {
        "" => misfit.message,
        pointer => format!("at {pointer}: {}", misfit.message),
    });
    Err(told.collect())
}

fn parsed(text: &str) -> Result<Value, String> {
    // what is nested deeper is not read at all
    bounds::nesting_of_json(text.as_bytes(), bounds::MAX_NESTING - 2)
        .map_err(|problem| format!("it cannot be read: {problem}"))?;
    let exact = bounds::with_inexact_integers_as_strings(text);
    serde_json::from_str(&exact)
        .map_err(|error| format!("it is no JSON: line {} column {}", error.line(), error.column()))
}

/// Models like to put JSON between fences.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return text;
    };
    let begins = rest.find('\n').unwrap_or(0);
    rest[begins..].trim()
}

/// What a model is told whose answer does not fit.
pub(super) fn correction(problems: &[String]) -> String {
    let mut text = "Your answer does not fit the JSON Schema:\n".to_owned();
    for problem in problems {
        // writing to a String cannot fail
        let _ = writeln!(text, "- {problem}");
    }
    text.push_str("Answer again, with the whole JSON value and nothing else.");
    text
}
