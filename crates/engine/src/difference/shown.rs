//! Text of a definition on one line, with nothing invisible in it: what looks the same is the same.

use serde_json::Value;

use signoff_api::text;

/// Longest text shown of one value, in characters.
const MAX: usize = 240;
/// How much is shown before the first difference, when the beginnings of two long texts are alike.
const CONTEXT: usize = 40;

/// A value on one line: strings as they are, everything else as JSON.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        other => escape(&other.to_string(), false),
    }
}

/// A string as it is, or in quotes with escapes when it could be taken for something else.
pub(super) fn text(string: &str) -> String {
    let plain = !string.is_empty()
        && string.trim() == string
        && !string.starts_with(['"', '(', '…'])
        && !string.ends_with('…')
        && !string.contains(" → ")
        && !string.chars().any(is_hidden)
        && serde_json::from_str::<Value>(string).is_err();
    if plain {
        string.to_owned()
    } else {
        format!("\"{}\"", escape(string, true))
    }
}

/// Words that hold names or expressions, on one line.
pub(super) fn line(words: &str) -> String {
    escape(words, false)
}

/// A name in a list of names: in quotes unless it is made of what names are made of.
pub(crate) fn name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@' | '/' | '+' | '$');
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", escape(name, true))
    }
}

/// Cuts shown texts to a length, both around the place where they begin to differ.
pub(super) fn excerpts(before: Option<String>, after: Option<String>) -> (Option<String>, Option<String>) {
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.chars().count() <= MAX);
    if short(&before) && short(&after) {
        return (before, after);
    }
    let alike = before
        .iter()
        .flat_map(|text| text.chars())
        .zip(after.iter().flat_map(|text| text.chars()))
        .take_while(|(one, other)| one == other)
        .count();
    let start = alike.saturating_sub(CONTEXT);
    (
        before.map(|text| window(&text, start)),
        after.map(|text| window(&text, start)),
    )
}

/// Cuts a shown text to a length.
pub(super) fn excerpt(text: &str) -> String {
    window(text, 0)
}

fn window(text: &str, start: usize) -> String {
    let length = text.chars().count();
    let start = if length <= MAX { 0 } else { start };
    let inside: String = text.chars().skip(start).take(MAX).collect();
    let left = if start > 0 { "…" } else { "" };
    let right = if start + MAX < length { "…" } else { "" };
    format!("{left}{inside}{right}")
}

fn escape(string: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(string.len() + 8);
    for c in string.chars() {
        match c {
            '"' | '\\' if quotes => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that are not seen as themselves, or look like a space: what looks the same is the same.
fn is_hidden(c: char) -> bool {
    text::is_hidden(c) || (c.is_whitespace() && c != ' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_string_never_looks_like_another_value() {
        for (one, other) in [
            (json!("1"), json!(1)),
            (json!("true"), json!(true)),
            (json!("null"), json!(null)),
            (json!("a\nb"), json!("a\\nb")),
            (json!("a\nb"), json!("\"a\\nb\"")),
            (json!("a"), json!("a\u{200b}")),
            (json!("a "), json!("a")),
            (json!("a b"), json!("a\u{a0}b")),
            (json!("[1]"), json!([1])),
        ] {
            assert_ne!(value(&one), value(&other), "{one} {other}");
        }
        assert_eq!(value(&json!("${inputs.amount > 100}")), "${inputs.amount > 100}");
    }

    #[test]
    fn nothing_invisible_and_no_new_line_is_left() {
        let hostile = "a\u{202e}b\u{1b}[2Jc\nd\u{2028}e";
        for shown in [text(hostile), name(hostile), value(&json!([hostile]))] {
            assert!(!shown.chars().any(is_hidden), "{shown}");
        }
    }

    #[test]
    fn long_texts_are_cut_where_they_differ() {
        let long = "x".repeat(1_000);
        let (before, after) = excerpts(Some(format!("{long}1")), Some(format!("{long}2")));
        let (before, after) = (before.unwrap(), after.unwrap());
        assert!(before.ends_with('1') && after.ends_with('2'), "{before} {after}");
        assert!(before.chars().count() <= MAX + 2);
    }
}
