//! Links of Slack. Slack makes a link of whatever looks like an address, unless it is told to make none. So it is told, and the addresses
//! that the flow's author wrote are marked as links; those in values are text.

use std::ops::Range;

/// A text in which the author's addresses are links. `values` are the places of what was inserted.
pub(super) fn marked(text: &str, values: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(begin) = next(text, at) {
        let end = end(text, begin);
        let is_value = values.iter().any(|value| value.contains(&begin));
        // values have no such signs: they are escaped
        let before = text[..begin].rfind(['<', '>']);
        let is_marked = before.is_some_and(|before| text[before..].starts_with('<'));
        if is_value || is_marked {
            out.push_str(&text[at..end]);
        } else {
            out.push_str(&text[at..begin]);
            out.push('<');
            out.push_str(&text[begin..end]);
            out.push('>');
        }
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// Where the next address begins.
fn next(text: &str, from: usize) -> Option<usize> {
    ["https://", "http://"]
        .into_iter()
        .filter_map(|scheme| text[from..].find(scheme))
        .min()
        .map(|found| from + found)
}

/// Where an address ends: what ends a sentence or a mark-up is no part of it.
fn end(text: &str, begin: usize) -> usize {
    let rest = &text[begin..];
    let length = rest.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '|' | '`'));
    let address = &rest[..length.unwrap_or(rest.len())];
    let address = address.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '*', '_', '~', '"', '\'']);
    begin + address.len().max("http://".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_author_are_links_and_those_of_values_are_text() {
        for (written, told) in [
            ("see https://a.example/x.", "see <https://a.example/x>."),
            ("(http://a.example)", "(<http://a.example>)"),
            (
                "<https://a.example|here> and <https://b.example>",
                "<https://a.example|here> and <https://b.example>",
            ),
            (
                "*https://a.example* https://b.example",
                "*<https://a.example>* <https://b.example>",
            ),
            ("none", "none"),
        ] {
            assert_eq!(marked(written, &[]), told);
        }
        let said = "https://evil.example and https://evil.example";
        let text = format!("{said} https://a.example/{said}|x");
        let second = said.len() + " https://a.example/".len();
        let values = [0..said.len(), second..text.len()];
        assert_eq!(
            marked(&text, &values),
            format!("{said} <https://a.example/https://evil.example> and https://evil.example|x")
        );
    }
}
