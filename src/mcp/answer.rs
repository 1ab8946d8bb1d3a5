//! What a tool answers: bounded, and as text with nothing in it that is not seen.

use std::fmt::Write as _;

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use super::ToolError;
use signoff_api::text::is_hidden;

/// Largest answer, in bytes of JSON.
const MAX_ANSWER: usize = 256 << 10;
/// Lengths to which texts are cut where an answer is too large, one after the other.
const CUTS: [usize; 4] = [16 << 10, 4 << 10, 1 << 10, 256];

/// The result of a call.
pub(super) fn result(answer: Result<Value, ToolError>) -> CallToolResult {
    let answer = answer.and_then(bounded);
    let (mut result, value) = match answer {
        Ok(value) => (CallToolResult::structured(value.clone()), value),
        Err(error) => {
            let value = error.to_value();
            (CallToolResult::structured_error(value.clone()), value)
        }
    };
    result.content = vec![ContentBlock::text(seen(&value))];
    result
}

/// The answer with its texts cut as far as it needs. It says that they are.
fn bounded(mut answer: Value) -> Result<Value, ToolError> {
    for most in CUTS {
        if answer.to_string().len() <= MAX_ANSWER {
            return Ok(answer);
        }
        cut(&mut answer, most);
        if let Value::Object(fields) = &mut answer {
            let notice = format!("texts longer than {most} bytes are cut: read one object or step at a time");
            fields.insert("cut".to_owned(), json!(notice));
        }
    }
    if answer.to_string().len() <= MAX_ANSWER {
        return Ok(answer);
    }
    Err(ToolError::new(
        "TooLarge",
        format!("the answer is larger than {MAX_ANSWER} bytes"),
    )
    .hint("ask for less: a smaller limit, or one step"))
}

fn cut(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            let whole = text.len();
            let mut end = most;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            // writing to a String cannot fail
            let _ = write!(text, "… (cut, {whole} bytes)");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, most)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut(field, most)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// JSON text of the same value in which everything is seen: hidden characters are escaped.
fn seen(value: &Value) -> String {
    let text = value.to_string();
    if !text.chars().any(is_hidden) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: &CallToolResult) -> String {
        result.content[0].as_text().unwrap().text.clone()
    }

    #[test]
    fn text_of_others_is_seen_whole_and_stays_the_same_json() {
        let value = json!({"title": "pay\u{202e}\u{200b}\n\u{1b}[2J \u{e0041}é"});
        let result = result(Ok(value.clone()));
        let text = text(&result);
        assert!(!text.chars().any(is_hidden), "{text}");
        assert!(
            text.contains("\\u202e\\u200b\\n\\u001b[2J \\udb40\\udc41é"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert_eq!(result.structured_content, Some(value));
    }

    #[test]
    fn a_large_answer_is_cut_and_says_so() {
        let value = json!({"small": "x", "large": "é".repeat(MAX_ANSWER)});
        let result = result(Ok(value));
        assert_eq!(result.is_error, Some(false));
        let told = result.structured_content.unwrap();
        assert!(told["large"].as_str().unwrap().len() < 17 << 10, "{told}");
        assert!(told["cut"].as_str().unwrap().contains("16384 bytes"));
        assert_eq!(told["small"], "x");
    }

    #[test]
    fn an_answer_that_cannot_be_cut_is_an_error_that_says_what_to_do() {
        let result = result(Ok(json!({"numbers": vec![1_000_000; MAX_ANSWER]})));
        assert_eq!(result.is_error, Some(true));
        let error = result.structured_content.unwrap()["error"].clone();
        assert_eq!(error["reason"], "TooLarge");
        assert!(error["hint"].as_str().unwrap().contains("ask for less"));
    }
}
