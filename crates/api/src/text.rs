//! Text that others wrote, made harmless before it stands beside text of ours.
//!
//! Titles, values, comments, names, errors of other systems: whoever wrote them may have put characters into them that move a cursor, turn
//! the direction of writing round, hide, or begin a line that looks like one of ours. Here is the one list of such characters. Each is made
//! visible, none is left out: what the reader sees says that it is there.
//!
//! * A control character is its picture (`␛`, `␊`), every other hidden character its number (`\u{202e}`).
//! * Private and unassigned characters count as hidden: each font and terminal shows something else for them, or nothing.
//! * A variation selector stays where it makes an emoji of a symbol, which everybody sees.
//! * A combining mark stays on a letter, up to [`MAX_MARKS`] on one. More of them would cover other lines.
//! * Spaces of every width stay: they are seen as spaces.
//!
//! To make text visible twice is the same as to do it once, so a writer may do it again for what passes through it.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use unicode_general_category::{GeneralCategory, get_general_category};

/// Most combining marks on one character. No script in use needs more.
pub const MAX_MARKS: usize = 4;

/// Whether a character is not seen as itself: it controls, hides, turns the direction round, ends a line, or has no meaning that all agree on.
pub fn is_hidden(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // ignorable by default but no format characters, and a braille cell without a dot
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}'
        | '\u{ffa0}' => true,
        '\u{180b}'..='\u{180f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        _ => matches!(
            get_general_category(c),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Unassigned
        ),
    }
}

/// Text on one line with everything in it visible.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(Line(text).to_string())
    }
}

/// As [`visible`], for text that is owned.
pub fn into_visible(text: String) -> String {
    match visible(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(visible) => visible,
    }
}

/// Text with everything in it visible, in which line breaks and tabs stay. It needs a frame: see [`Block`].
pub fn visible_lines(text: &str) -> String {
    Block { text, frame: "" }.to_string()
}

/// Shows text on one line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(pub &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, self.0, false)
    }
}

/// Shows text on the lines it has, each behind a frame, so that none can be taken for a line of ours. The last line has no end.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// What is shown.
    pub text: &'a str,
    /// What each line begins with.
    pub frame: &'a str,
}

impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.text.split('\n').enumerate() {
            if number > 0 {
                f.write_char('\n')?;
            }
            f.write_str(self.frame)?;
            write_line(f, line, true)?;
        }
        Ok(())
    }
}

/// What a mark or a variation selector would stand on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    /// Nothing, or something of ours.
    None,
    /// A symbol, of which a variation selector may make an emoji.
    Symbol,
    /// A character with this many marks on it.
    Marked(usize),
}

fn write_line(f: &mut fmt::Formatter<'_>, line: &str, tabs: bool) -> fmt::Result {
    let mut base = Base::None;
    for c in line.chars() {
        if matches!(c, ' '..='~') {
            base = Base::Marked(0);
            f.write_char(c)?;
            continue;
        }
        let category = get_general_category(c);
        let is_mark = matches!(
            category,
            GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
        );
        let next = match (c, base) {
            ('\t', _) if tabs => Some(Base::None),
            ('\u{fe0e}' | '\u{fe0f}', Base::Symbol) => Some(Base::Marked(0)),
            _ if is_hidden(c) => None,
            (_, Base::None) if is_mark => None,
            (_, Base::Symbol) if is_mark => Some(Base::Marked(1)),
            (_, Base::Marked(marks)) if is_mark => (marks < MAX_MARKS).then_some(Base::Marked(marks + 1)),
            _ if matches!(
                category,
                GeneralCategory::OtherSymbol | GeneralCategory::MathSymbol
            ) =>
            {
                Some(Base::Symbol)
            }
            _ => Some(Base::Marked(0)),
        };
        match next {
            Some(_) => f.write_char(c)?,
            None => escape(f, c)?,
        }
        base = next.unwrap_or(Base::None);
    }
    Ok(())
}

fn escape(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    let picture = match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code),
        0x7f => Some('\u{2421}'),
        _ => None,
    };
    match picture {
        Some(picture) => f.write_char(picture),
        None => write!(f, "{}", c.escape_unicode()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_seen_as_itself_is_made_visible() {
        for (text, shown) in [
            ("Refund 250 € for “81”?", "Refund 250 € for “81”?"),
            ("Go?\n  digest    sha256:0", "Go?␊  digest    sha256:0"),
            ("a\rb\tc\u{1b}[2J\u{7f}\u{9b}", "a␍b␉c␛[2J␡\\u{9b}"),
            (
                "\u{202e}txt.exe\u{2066}\u{61c}",
                r"\u{202e}txt.exe\u{2066}\u{61c}",
            ),
            (
                "a\u{ad}\u{200b}\u{200d}\u{2028}\u{2060}\u{2065}\u{feff}",
                r"a\u{ad}\u{200b}\u{200d}\u{2028}\u{2060}\u{2065}\u{feff}",
            ),
            ("\u{e0041}\u{e007f}\u{fff9}", r"\u{e0041}\u{e007f}\u{fff9}"),
            ("\u{3164}\u{2800}\u{34f}", r"\u{3164}\u{2800}\u{34f}"),
            (
                "\u{e000}\u{f8ff}\u{378}\u{ffff}",
                r"\u{e000}\u{f8ff}\u{378}\u{ffff}",
            ),
            ("⚠\u{fe0f} a\u{fe0f} \u{fe0f}", "⚠\u{fe0f} a\\u{fe0f} \\u{fe0f}"),
            ("日本　語, עברית, नमस्ते", "日本　語, עברית, नमस्ते"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn marks_stay_on_letters_and_do_not_pile_up() {
        assert_eq!(visible("e\u{301}"), "e\u{301}");
        let flood = format!("e{}x", "\u{301}".repeat(6));
        assert_eq!(
            visible(&flood),
            format!("e{}{}x", "\u{301}".repeat(4), r"\u{301}".repeat(2))
        );
        assert_eq!(visible("\u{301}a"), r"\u{301}a");
        assert_eq!(
            visible("\u{202e}\u{301}a"),
            r"\u{202e}\u{301}a",
            "not on what is ours"
        );
    }

    #[test]
    fn a_block_sets_each_line_apart() {
        let block = Block {
            text: "a\tb\r\n\u{2028}\n",
            frame: "│ ",
        };
        assert_eq!(block.to_string(), "│ a\tb␍\n│ \\u{2028}\n│ ");
    }

    /// Characters that people use against each other, and others.
    fn hostile() -> impl Strategy<Value = String> {
        let one = prop_oneof![
            any::<char>(),
            prop::sample::select(vec![
                '\n',
                '\r',
                '\t',
                '\u{85}',
                '\u{2028}',
                '\u{1b}',
                '\u{202e}',
                '\u{200f}',
                '\u{ad}',
                '\u{fe0f}',
                '⚠',
                '\u{301}',
                '\u{20dd}',
                '\u{e0041}',
                '│',
                'a',
                ' ',
            ]),
            (0x2000_u32..0x2070).prop_map(|code| char::from_u32(code).unwrap_or(' ')),
        ];
        prop::collection::vec(one, 0..200).prop_map(|all| all.into_iter().collect())
    }

    /// Whether a text has nothing in it that is not seen, but for selectors that make an emoji.
    fn is_plain(text: &str) -> bool {
        let mut before = ' ';
        text.chars().all(|c| {
            let emoji = matches!(c, '\u{fe0e}' | '\u{fe0f}') && !before.is_ascii() && !is_hidden(before);
            before = c;
            emoji || !is_hidden(c)
        })
    }

    proptest! {
        #[test]
        fn one_line_is_one_line_and_all_of_it_is_seen(text in hostile()) {
            let shown = visible(&text);
            prop_assert!(is_plain(&shown), "{shown:?}");
            prop_assert!(!shown.contains(['\n', '\r']));
            prop_assert!(shown.chars().count() >= text.chars().count(), "nothing is left out");
            prop_assert_eq!(visible(&shown), shown.as_ref(), "once is enough");
        }

        #[test]
        fn each_line_of_a_block_begins_with_its_frame(text in hostile()) {
            let shown = Block { text: &text, frame: "  │ " }.to_string();
            for line in shown.split('\n') {
                let inside = line.strip_prefix("  │ ");
                prop_assert!(inside.is_some_and(|inside| is_plain(&inside.replace('\t', " "))), "{line:?}");
            }
            prop_assert_eq!(shown.split('\n').count(), text.split('\n').count());
        }
    }
}
