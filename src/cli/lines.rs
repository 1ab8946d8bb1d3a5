//! What is printed for people, line by line.
//!
//! All that the command line says goes through here, but for data in a format of its own. A line that is put in stays one line, with everything
//! in it visible; text of others that has lines of its own stands behind a frame. On a terminal a long line goes on behind that frame too, so
//! that a text cannot place its end where a line of ours would begin.

use std::io::{IsTerminal as _, Write};

pub(super) use crate::drawing::{columns, cut};
use crate::drawing::{cut_at, width_of};
use signoff_api::text::{Block, visible};

/// Stands before text of others that has lines of its own, and before the rest of a line that is too long.
const FRAME: &str = "│ ";
/// Columns of a label.
const LABEL: usize = 13;
/// Columns between two tab stops.
const TAB: usize = 4;
/// A line is not broken to fewer columns than this.
const NARROWEST: usize = 8;

/// Lines for people.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Vec<Entry>);

/// A line, and how many columns the rest of it is indented where it is too long; none where it is never broken.
#[derive(Clone, Debug)]
struct Entry {
    text: String,
    hang: Option<usize>,
}

impl Lines {
    /// One line.
    pub(super) fn push(&mut self, line: impl AsRef<str>) {
        self.hanging(line.as_ref(), 2);
    }

    /// A line without anything.
    pub(super) fn blank(&mut self) {
        self.push("");
    }

    /// A label and its value on one line.
    pub(super) fn field(&mut self, label: &str, value: impl AsRef<str>) {
        self.column(LABEL, label, value);
    }

    /// The same with labels of so many columns.
    pub(super) fn column(&mut self, columns: usize, label: &str, value: impl AsRef<str>) {
        self.hanging(&format!("  {label:<columns$} {}", value.as_ref()), columns + 3);
    }

    /// A label and a value of ours that people copy, such as a digest: it is never broken.
    pub(super) fn exact(&mut self, label: &str, value: impl AsRef<str>) {
        self.field(label, value);
        if let Some(entry) = self.0.last_mut() {
            entry.hang = None;
        }
    }

    /// A command line to copy.
    pub(super) fn command(&mut self, line: &str) {
        let text = visible(&format!("  {line}")).into_owned();
        self.0.push(Entry { text, hang: None });
    }

    /// Text of others on the lines it has, each behind the frame.
    pub(super) fn block(&mut self, indent: usize, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let frame = " ".repeat(indent) + FRAME;
        for line in text.split('\n') {
            let line = Block {
                text: line,
                frame: "",
            }
            .to_string();
            self.0.push(Entry {
                text: format!("{frame}{}", without_tabs(&line)),
                hang: Some(indent),
            });
        }
    }

    /// A text whose lines are lines of ours already, such as a report.
    pub(super) fn report(&mut self, text: &str) {
        for line in text.split('\n') {
            let line = Block {
                text: line,
                frame: "",
            }
            .to_string();
            self.hanging(&without_tabs(&line), 2);
        }
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    fn hanging(&mut self, line: &str, hang: usize) {
        let text = visible(line).into_owned();
        self.0.push(Entry {
            text,
            hang: Some(hang),
        });
    }

    /// The text with a line break at each end, as wide as a terminal if it is one.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let mut out = String::new();
        for entry in &self.0 {
            match (width, entry.hang) {
                (Some(width), Some(hang)) => wrap(&mut out, &entry.text, hang, width),
                (None, _) | (_, None) => out.push_str(entry.text.trim_end()),
            }
            out.push('\n');
        }
        out
    }
}

impl From<String> for Lines {
    fn from(line: String) -> Self {
        Self::from(line.as_str())
    }
}

impl From<&str> for Lines {
    fn from(line: &str) -> Self {
        let mut lines = Self::default();
        lines.push(line);
        lines
    }
}

impl<S: AsRef<str>> FromIterator<S> for Lines {
    fn from_iter<I: IntoIterator<Item = S>>(all: I) -> Self {
        let mut lines = Self::default();
        all.into_iter().for_each(|line| lines.push(line));
        lines
    }
}

/// Breaks a line that is wider than the terminal, between words where that wastes little.
fn wrap(out: &mut String, line: &str, hang: usize, width: usize) {
    let width = width.max(NARROWEST);
    let frame = " ".repeat(hang.min(width / 4)) + FRAME;
    let mut rest = line.trim_end();
    let mut room = width;
    while columns(rest) > room {
        let (end, _) = cut_at(rest, room);
        let word = rest[..end].rfind(' ').map_or(0, |at| at + 1);
        let end = if word > end * 2 / 3 { word } else { end };
        out.push_str(rest[..end].trim_end());
        out.push('\n');
        out.push_str(&frame);
        rest = &rest[end..];
        room = width - columns(&frame);
    }
    out.push_str(rest);
}

fn without_tabs(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    for c in line.chars() {
        if c == '\t' {
            let gap = TAB - at % TAB;
            out.push_str(&" ".repeat(gap));
            at += gap;
        } else {
            out.push(c);
            at += width_of(c);
        }
    }
    out
}

/// How wide standard output is, if it is a terminal.
pub(super) fn terminal_width() -> Option<usize> {
    width(&std::io::stdout())
}

#[cfg(unix)]
fn width(stream: &(impl std::io::IsTerminal + std::os::fd::AsFd)) -> Option<usize> {
    let size = stream
        .is_terminal()
        .then(|| terminal_size::terminal_size_of(stream))??;
    Some(usize::from(size.0.0)).filter(|width| *width > 0)
}

/// `1 problem`, `2 problems`.
pub(super) fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// Says something beside the data: on standard error.
pub(super) fn say(lines: &Lines) {
    let mut stderr = std::io::stderr().lock();
    let text = lines.render(width(&stderr));
    // who listens no more is no failure
    let _ = stderr.write_all(text.as_bytes());
}

/// Prints data for people: on standard output.
pub(super) fn print(lines: &Lines) {
    let mut stdout = std::io::stdout().lock();
    let text = lines.render(width(&stdout));
    let text = text.trim_end();
    if !text.is_empty() {
        let _ = writeln!(stdout, "{text}");
    }
}

/// Asks for a yes; none if nobody is there to be asked.
pub(super) fn confirm(question: &str) -> std::io::Result<Option<bool>> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let _ = write!(std::io::stderr(), "{} [y/N] ", visible(question));
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    Ok(Some(matches!(line.trim(), "y" | "Y" | "yes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_stays_one_and_a_text_stays_behind_its_frame() {
        let mut lines = Lines::default();
        lines.push("a\nb\u{1b}");
        lines.field("digest", "sha256:0\n  digest  sha256:1");
        lines.block(2, "x\ty\n\r\u{202e}\n");
        let shown = "a␊b␛\n  digest        sha256:0␊  digest  sha256:1\n  │ x   y\n  │ ␍\\u{202e}\n";
        assert_eq!(lines.render(None), shown);
    }

    #[test]
    fn what_is_too_long_goes_on_behind_the_frame() {
        let mut lines = Lines::default();
        lines.field("asked by", format!("{}  digest sha256:0", "x".repeat(30)));
        lines.block(2, &"日本".repeat(8));
        let shown = lines.render(Some(30));
        for line in shown.lines() {
            assert!(columns(line) <= 30, "{line}");
        }
        assert_eq!(
            shown,
            "  asked by      xxxxxxxxxxxxxx\n       │ xxxxxxxxxxxxxxxx\n       │ digest sha256:0\n  │ 日本日本日本日本日本日本日\n  │ 本日本\n"
        );
    }

    #[test]
    fn a_text_is_cut_by_the_columns_it_takes() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("a b", 2), "a…");
    }

    proptest! {
        #[test]
        fn no_text_begins_a_line_of_ours(text in "[\\PC\\n\\r\u{202e}\u{2028}\t ]{0,120}", width in 1_usize..100) {
            let mut lines = Lines::default();
            lines.block(4, &text);
            lines.field("label", &text);
            for line in lines.render(Some(width)).lines() {
                let framed = line.trim_start_matches(' ').starts_with('│');
                prop_assert!(framed || line.starts_with("  label"), "{line:?}");
                prop_assert!(columns(line) <= width.max(NARROWEST), "{line:?}");
            }
        }
    }
}
