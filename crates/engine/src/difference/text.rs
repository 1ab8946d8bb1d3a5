//! The report for a terminal.

use super::report::{Item, Mark, Pair, Piece, Report, Row};

/// Wider labels do not push the values of all the others to the right.
const WIDEST: usize = 32;

pub(super) fn render(report: &Report) -> String {
    let mut out = report.summary.clone();
    for section in &report.sections {
        out.push_str("\n\n");
        out.push_str(section.title);
        let rows = section.items.iter().flat_map(|item| &item.rows);
        let widths = rows.map(|row| width(&row.label)).filter(|width| *width <= WIDEST);
        let width = widths.max().unwrap_or(0);
        for item in &section.items {
            out.push('\n');
            out.push_str(&line(item));
            for row in &item.rows {
                out.push('\n');
                out.push_str(&row_line(row, width));
            }
        }
    }
    out
}

fn line(item: &Item) -> String {
    let mark = match item.mark {
        Mark::Added => '+',
        Mark::Removed => '-',
        Mark::Changed => '~',
        Mark::Moved => '>',
        Mark::Loosens => '!',
    };
    let title: String = item.title.iter().map(bare).collect();
    match &item.values {
        Some(values) => format!("  {mark} {title}: {}", pair(values)),
        None => format!("  {mark} {title}"),
    }
}

fn row_line(row: &Row, widest: usize) -> String {
    let label = bare(&row.label);
    let padding = " ".repeat(widest.saturating_sub(width(&row.label)));
    format!("      {label}{padding}  {}", pair(&row.values))
}

fn pair(pair: &Pair) -> String {
    match (&pair.before, &pair.after) {
        (Some(before), Some(after)) => format!("{} → {}", value(before), value(after)),
        (Some(one), None) | (None, Some(one)) => value(one),
        (None, None) => String::new(),
    }
}

fn bare(piece: &Piece) -> &str {
    match piece {
        Piece::Ours(text) | Piece::Theirs(text) => text,
    }
}

/// In place of a value our words stand in parentheses, so that they are not taken for one.
fn value(piece: &Piece) -> String {
    match piece {
        Piece::Ours(text) => format!("({text})"),
        Piece::Theirs(text) => text.clone(),
    }
}

fn width(piece: &Piece) -> usize {
    bare(piece).chars().count()
}
