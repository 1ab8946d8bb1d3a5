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

/// An entity that is not seen. Forges find no mention and no reference in the text before it.
const NOTHING: &str = "&#8203;";

/// Appends text of others to Markdown of an author. It mentions nobody, refers to nothing, is no markup, and begins no line that
/// could be the author's: several lines are quoted.
pub fn insert(before: &mut String, text: &str) {
    let text = visible_lines(&text.replace("\r\n", "\n"));
    let line = before.rsplit('\n').next().unwrap_or_default();
    if fence(line).is_some() {
        // the name of a language after a fence: a backtick would undo that it is one
        before.push_str(&visible(&text).replace(['`', '~'], "'"));
        return;
    }
    if is_in_block(before) {
        let lines: Vec<String> = text.split('\n').map(in_block).collect();
        before.push_str(&lines.join("\n"));
        return;
    }
    let text = text.trim_end_matches('\n');
    if !text.contains('\n') {
        before.push_str(&escaped(text));
        return;
    }
    before.push_str("\n\n");
    for line in text.split('\n') {
        before.push_str("> ");
        before.push_str(&escaped(line));
        before.push('\n');
    }
    before.push('\n');
}

/// The character and the length of a fence, and what stands after it, if a line is one.
fn fence(line: &str) -> Option<(char, usize, &str)> {
    let text = line.trim_start_matches(' ');
    // indented further, it is not taken for one
    if line.len() - text.len() > 3 {
        return None;
    }
    let c = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let rest = text.trim_start_matches(c);
    let length = text.len() - rest.len();
    (length >= 3 && !(c == '`' && rest.contains('`'))).then_some((c, length, rest))
}

/// Whether what comes next is in a block of code.
fn is_in_block(before: &str) -> bool {
    let mut open: Option<(char, usize)> = None;
    for line in before.lines() {
        open = match (open, fence(line)) {
            (None, Some((c, length, _))) => Some((c, length)),
            (Some((c, length)), Some((end, least, rest)))
                if c == end && least >= length && rest.trim().is_empty() =>
            {
                None
            }
            (open, _) => open,
        };
    }
    open.is_some()
}

/// A line in a block of code, which it cannot end. Some forges look for what closes an issue there too.
fn in_block(line: &str) -> String {
    let line = line.replace("<!--", r"\u{3c}!--");
    let text = line.trim_start_matches(' ');
    let line = if text.starts_with("```") || text.starts_with("~~~") {
        format!("    {line}")
    } else {
        line
    };
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        if c == '#' && rest.peek().is_some_and(char::is_ascii_digit) {
            out.push(' ');
        }
    }
    out
}

/// Text on one line within Markdown.
fn escaped(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        if is_plain_address(word) {
            word.to_owned()
        } else {
            escaped_word(word)
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a word is an address that forges make a link of, and nothing else.
fn is_plain_address(word: &str) -> bool {
    let rest = word
        .strip_prefix("https://")
        .or_else(|| word.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/:?=%+,".contains(c);
    // a request or an issue can be closed by its address
    let acts = [
        "/issues/",
        "/pull/",
        "/pulls/",
        "/merge_requests/",
        "/work_items/",
    ];
    let lower = rest.to_ascii_lowercase();
    !rest.is_empty() && rest.chars().all(is_plain) && !acts.iter().any(|act| lower.contains(act))
}

fn escaped_word(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word.chars().peekable();
    let mut before = None;
    while let Some(c) = rest.next() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => {
                out.push_str("&amp;");
                out.push_str(NOTHING);
            }
            // markup, lists, and commands of a forge
            _ if r"\`*_{}[]()|+=-/.".contains(c) && (before.is_none() || !"-/.".contains(c)) => {
                out.push('\\');
                out.push(c);
            }
            '.' if before.is_some_and(|before: char| before.is_ascii_digit()) && rest.peek().is_none() => {
                out.push_str("\\.");
            }
            // GH-7 is the same as #7, and trackers have keys like that
            '-' if before.is_some_and(char::is_alphabetic)
                && rest.peek().is_some_and(char::is_ascii_digit) =>
            {
                out.push('-');
                out.push_str(NOTHING);
            }
            ':' if rest.peek() == Some(&'/') => {
                out.push(':');
                out.push_str(NOTHING);
            }
            // mentions and references
            '@' | '#' | '!' | '~' | '%' | '$' | '^' => {
                out.push('\\');
                out.push(c);
                out.push_str(NOTHING);
            }
            _ => out.push(c),
        }
        before = Some(c);
    }
    out
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

    fn inserted(before: &str, text: &str) -> String {
        let mut all = before.to_owned();
        insert(&mut all, text);
        all
    }

    #[test]
    fn inserted_text_mentions_nobody_closes_nothing_and_shows_no_picture() {
        let evil = "@acme/owners Fixes #1 and GH-1, !2, closes https://h/acme/x/issues/1 ![x](https://evil/p.png) <img src=x> \
            *b* `c` &lt; # y";
        let told = inserted("", evil);
        for part in [
            "@a", "#1", "GH-1", "!2", "://h", "![", "](", "<", "*b", " `c", "&lt; ",
        ] {
            let escaped = told.replace("\\*b", "").replace("\\`c", "");
            assert!(!escaped.contains(part), "{part}: {told}");
        }
        assert!(told.contains("\\@&#8203;acme/owners Fixes \\#&#8203;1"), "{told}");
        for (start, text) in [
            ("/merge", r"\/merge"),
            ("- [x] done", r"\- \[x\] done"),
            ("1. one", r"1\. one"),
            ("=====", r"\=\=\=\=\="),
            ("---", r"\---"),
            ("2 of 3 done, see docs/a.md.", "2 of 3 done, see docs/a.md."),
            (
                "https://ci.example.com/b_1/2?x=1",
                "https://ci.example.com/b_1/2?x=1",
            ),
        ] {
            assert_eq!(inserted("", start), text);
        }
    }

    #[test]
    fn inserted_lines_are_quoted() {
        let told = inserted("Reason: ", "none\r\n\nApproved by: ceo\n# Heading\n");
        assert_eq!(
            told,
            "Reason: \n\n> none\n> \n> Approved by: ceo\n> \\#&#8203; Heading\n\n"
        );
    }

    #[test]
    fn inserted_lines_do_not_leave_a_block_of_code_of_the_author() {
        let before = "The change:\n```diff\n";
        let told = inserted(before, "-a_b\n+c\n```\n@acme fixes #1\u{202e}");
        assert_eq!(
            told,
            format!("{before}-a_b\n+c\n    ```\n@acme fixes # 1\\u{{202e}}")
        );
        let again = format!("{told}\n```\n");
        assert_eq!(inserted(&again, "@b"), format!("{again}\\@&#8203;b"));
        assert_eq!(inserted("```", "a`\n@b"), "```a'␊@b");
        assert_eq!(inserted("```\nx\n```\n", "@b"), "```\nx\n```\n\\@&#8203;b");
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
