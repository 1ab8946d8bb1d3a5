//! The report for a comment on a pull request.
//!
//! Whoever may push a branch may write a definition, and the comment is the operator's own: nothing in a definition may become a heading, a
//! link, a mention or a hidden comment. So all of it stands in code spans, whose fence is longer than any run of backticks inside, on one
//! line; and there are no tables, whose cells end at a `|` even in a code span.

use super::report::{Item, Mark, Pair, Piece, Report, Row};
use crate::markdown::code;

/// Rows shown of one item, so that one long step does not hide the others.
const MAX_ROWS: usize = 25;
/// No limit is taken below this, in bytes: the summary and the count of what is left out always fit.
const LEAST: usize = 1_024;
/// Kept free for the count of what is left out, in bytes.
const TAIL: usize = 96;

pub(super) fn render(report: &Report, limit: usize) -> String {
    let mut page = Page {
        text: format!("**{}**\n", report.summary),
        limit: limit.max(LEAST) - TAIL,
        left_out: 0,
    };
    for section in &report.sections {
        let mut heading = Some(format!("\n#### {}\n\n", section.title));
        for item in &section.items {
            let head = heading.take().unwrap_or_default();
            page.push(&format!("{head}{}\n", line(item)));
            for row in item.rows.iter().take(MAX_ROWS) {
                page.push(&format!("  - {}\n", row_line(row)));
            }
            if let Some(more) = item.rows.len().checked_sub(MAX_ROWS).filter(|more| *more > 0) {
                page.push(&format!("  - … and {more} more\n"));
            }
        }
    }
    page.end()
}

/// Text that stops growing at a limit and counts what did not fit.
struct Page {
    text: String,
    limit: usize,
    left_out: usize,
}

impl Page {
    fn push(&mut self, line: &str) {
        if self.left_out == 0 && self.text.len() + line.len() <= self.limit {
            self.text.push_str(line);
        } else {
            self.left_out += 1;
        }
    }

    fn end(mut self) -> String {
        if self.left_out > 0 {
            let more = format!(
                "\n… and {} more; `signoff diff` shows everything\n",
                self.left_out
            );
            self.text.push_str(&more);
        }
        self.text
    }
}

fn line(item: &Item) -> String {
    let mark = match item.mark {
        Mark::Added => "added: ",
        Mark::Removed => "removed: ",
        Mark::Changed => "changed: ",
        Mark::Moved | Mark::Loosens => "",
    };
    let title: String = item.title.iter().map(piece).collect();
    match &item.values {
        Some(values) => format!("- {mark}{title}: {}", pair(values)),
        None => format!("- {mark}{title}"),
    }
}

fn row_line(row: &Row) -> String {
    format!("{}: {}", piece(&row.label), pair(&row.values))
}

fn pair(pair: &Pair) -> String {
    match (&pair.before, &pair.after) {
        (Some(before), Some(after)) => format!("{} → {}", value(before), value(after)),
        (Some(one), None) | (None, Some(one)) => value(one),
        (None, None) => String::new(),
    }
}

fn piece(piece: &Piece) -> String {
    match piece {
        Piece::Ours(text) => text.clone(),
        Piece::Theirs(text) => code(text),
    }
}

fn value(piece: &Piece) -> String {
    match piece {
        Piece::Ours(text) => format!("*{text}*"),
        Piece::Theirs(text) => code(text),
    }
}
