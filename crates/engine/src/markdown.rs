//! Text of others in Markdown of ours: nothing in it may become a heading, a link, a mention or a hidden comment.

use signoff_api::text::{visible, visible_lines};

/// Text on one line for where there is no Markdown, but forges look for words to act upon all the same: titles, and the messages of commits
/// made of them. What would close, mention or name something of theirs is broken by a space.
pub fn unlinked(text: &str) -> String {
    let all: Vec<char> = visible(text).chars().collect();
    let is_part = |at: Option<usize>| at.and_then(|at| all.get(at)).is_some_and(|c| c.is_alphanumeric());
    let mut unlinked = String::new();
    for (at, c) in all.iter().copied().enumerate() {
        unlinked.push(c);
        let (before, next) = (at.checked_sub(1), at + 1);
        let breaks = match c {
            '#' | '!' => is_part(Some(next)),
            // an address has something before it
            '@' => is_part(Some(next)) && !is_part(before),
            // GH-7 is the same as #7
            '-' => {
                at >= 2
                    && all[at - 2..at]
                        .iter()
                        .collect::<String>()
                        .eq_ignore_ascii_case("gh")
                    && is_part(Some(next))
            }
            ':' => all.get(next) == Some(&'/'),
            _ => false,
        };
        if breaks {
            unlinked.push(' ');
        }
    }
    unlinked
}

/// Text as a code span, on one line with everything in it visible. A hidden comment would do nothing inside it, but programs that look for one of their own do not parse Markdown.
pub fn code(text: &str) -> String {
    let text = visible(text).replace("<!--", r"\u{3c}!--");
    if text.is_empty() {
        // two backticks would be no empty span but the beginning of a longer one
        return r#"`""`"#.to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Text on the lines it has as a fenced block, with everything in it visible. The info string tells how it is coloured.
pub fn block(info: &str, text: &str) -> String {
    let text = visible_lines(text).replace("<!--", r"\u{3c}!--");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{fence}{info}\n{text}{end}{fence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_cannot_be_left() {
        assert_eq!(block("json", "{}"), "```json\n{}\n```\n");
        assert_eq!(block("", "```\n# x\n"), "````\n```\n# x\n````\n");
        assert_eq!(block("", "a\r\u{202e}\n"), "```\na␍\\u{202e}\n```\n");
    }

    #[test]
    fn what_forges_act_upon_is_broken_in_plain_text() {
        for (text, broken) in [
            ("Refund 250 for order 81?", "Refund 250 for order 81?"),
            ("closes #57, acme/flows#57!", "closes # 57, acme/flows# 57!"),
            ("fixes GH-57 and gh-58", "fixes GH- 57 and gh- 58"),
            ("@alice !57", "@ alice ! 57"),
            ("ask dev@example.com", "ask dev@example.com"),
            ("see https://forge/1", "see https: //forge/1"),
            ("a\n/close\u{202e}b", r"a␊/close\u{202e}b"),
        ] {
            assert_eq!(unlinked(text), broken);
        }
    }

    #[test]
    fn a_code_span_cannot_be_left() {
        assert_eq!(code(""), r#"`""`"#);
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("a\n# b\u{202e}"), r"`a␊# b\u{202e}`");
        assert_eq!(code("``"), "``` `` ```");
        assert_eq!(code("x<!-- mine -->"), r"`x\u{3c}!-- mine -->`");
    }
}
