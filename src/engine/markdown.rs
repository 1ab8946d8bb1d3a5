//! Text of others in Markdown of ours: nothing in it may become a heading, a link, a mention or a hidden comment.

/// Text on one line as a code span. A hidden comment would do nothing inside it, but programs that look for one of their own do not parse Markdown.
pub(in crate::engine) fn code(text: &str) -> String {
    let text = text.replace("<!--", r"\u{3c}!--");
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

/// Text on many lines as a fenced block. The info string tells how it is coloured.
pub(in crate::engine) fn block(info: &str, text: &str) -> String {
    let text = text.replace("<!--", r"\u{3c}!--");
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
    }

    #[test]
    fn a_code_span_cannot_be_left() {
        assert_eq!(code(""), r#"`""`"#);
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("``"), "``` `` ```");
        assert_eq!(code("x<!-- mine -->"), r"`x\u{3c}!-- mine -->`");
    }
}
