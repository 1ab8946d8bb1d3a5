//! How wide text is where each character takes a column or two.

use unicode_width::UnicodeWidthChar as _;

/// How many columns a visible text takes on a terminal.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// A visible text in at most so many columns; an ellipsis says that it is cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if self::columns(text) <= columns {
        return text.to_owned();
    }
    let (end, _) = cut_at(text, columns.saturating_sub(1));
    format!("{}…", text[..end].trim_end())
}

/// Where the longest beginning in so many columns ends, and how many it takes; of a text that is not empty at least one character.
pub(crate) fn cut_at(text: &str, room: usize) -> (usize, usize) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        let width = width_of(c);
        if taken + width > room && at > 0 {
            return (at, taken);
        }
        taken += width;
    }
    (text.len(), taken)
}

/// How many columns a character takes.
pub(crate) fn width_of(c: char) -> usize {
    match c {
        // makes an emoji of a symbol, which is a column wider
        '\u{fe0f}' => 1,
        c => c.width().unwrap_or(0),
    }
}
