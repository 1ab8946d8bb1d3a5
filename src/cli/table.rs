//! Plain columns, as kubectl prints them.

use super::lines::{Lines, columns, cut};
use signoff_api::text::visible;

/// Widest cell of a column that may be cut.
const WIDEST: usize = 60;
/// Narrowest that such a column becomes for a terminal.
const NARROWEST: usize = 12;
/// Spaces between two columns.
const GAP: usize = 3;

/// A heading, and whether what stands below it may be cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Names and times, which are of use only whole.
    Whole(&'static str),
    /// Text as long as others like.
    Free(&'static str),
    /// Names and times that are left out where the terminal is too narrow, the last ones first.
    Extra(&'static str),
}

impl Column {
    fn heading(self) -> String {
        let (Self::Whole(heading) | Self::Free(heading) | Self::Extra(heading)) = self;
        heading.to_uppercase()
    }
}

/// Rows under upper-case headings; columns are as wide as their widest cell and three spaces apart. Where the table is wider than the
/// terminal, the widest text is cut first. Then columns are left out, and at last names are cut: a line is never broken.
pub(super) fn table(headings: &[Column], rows: &[Vec<String>], terminal: Option<usize>) -> Lines {
    let shown: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| visible(cell).into_owned()).collect())
        .collect();
    let mut widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = shown
                .iter()
                .filter_map(|row| row.get(at))
                .map(|cell| columns(cell));
            let widest = cells.chain([columns(&column.heading())]).max().unwrap_or(0);
            match column {
                Column::Whole(_) | Column::Extra(_) => widest,
                Column::Free(_) => widest.min(WIDEST),
            }
        })
        .collect();
    let mut left_out = vec![false; headings.len()];
    if let Some(terminal) = terminal {
        narrow(&mut widths, &mut left_out, headings, &shown, terminal);
    }
    let heading: Vec<String> = headings.iter().map(|column| column.heading()).collect();
    std::iter::once(&heading)
        .chain(&shown)
        .map(|row| line(row, &widths, &left_out))
        .collect()
}

fn narrow(
    widths: &mut [usize],
    left_out: &mut [bool],
    headings: &[Column],
    rows: &[Vec<String>],
    terminal: usize,
) {
    let is_free = |at: usize| matches!(headings[at], Column::Free(_));
    if cut_to(widths, left_out, terminal, is_free) {
        return;
    }
    // those that say nothing go first
    let is_empty = |at: usize| rows.iter().all(|row| row.get(at).is_none_or(String::is_empty));
    let extra = (0..headings.len())
        .rev()
        .filter(|at| matches!(headings[*at], Column::Extra(_)));
    let (empty, others): (Vec<usize>, Vec<usize>) = extra.partition(|at| is_empty(*at));
    for at in empty.into_iter().chain(others) {
        left_out[at] = true;
        if width(widths, left_out) <= terminal {
            return;
        }
    }
    cut_to(widths, left_out, terminal, |_| true);
}

/// Columns that a line takes.
fn width(widths: &[usize], left_out: &[bool]) -> usize {
    let there = widths.iter().zip(left_out).filter(|(_, left_out)| !**left_out);
    let (count, sum) = there.fold((0, 0), |(count, sum), (width, _)| (count + 1, sum + width));
    sum + GAP * usize::saturating_sub(count, 1)
}

/// Narrows the widest columns that may be cut. Whether the table fits then.
fn cut_to(
    widths: &mut [usize],
    left_out: &[bool],
    terminal: usize,
    may_be_cut: impl Fn(usize) -> bool,
) -> bool {
    while width(widths, left_out) > terminal {
        let columns = (0..widths.len()).filter(|at| !left_out[*at] && may_be_cut(*at));
        let widest = columns
            .filter(|at| widths[*at] > NARROWEST)
            .max_by_key(|at| widths[*at]);
        let Some(at) = widest else {
            return false;
        };
        widths[at] -= 1;
    }
    true
}

fn line(cells: &[String], widths: &[usize], left_out: &[bool]) -> String {
    let there = cells.iter().zip(widths).zip(left_out);
    let padded = there
        .filter(|(_, left_out)| !**left_out)
        .map(|((cell, width), _)| {
            let cell = cut(cell, *width);
            let padding = width.saturating_sub(columns(&cell)) + GAP;
            cell + &" ".repeat(padding)
        });
    padded.collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{
        Column::{Extra, Free, Whole},
        *,
    };

    #[test]
    fn columns_line_up_also_with_letters_that_are_wide() {
        let rows = vec![
            vec!["é".into(), "b".into()],
            vec!["日本".into(), "c".into()],
            vec!["long".into(), String::new()],
        ];
        assert_eq!(
            table(&[Whole("a"), Whole("second")], &rows, None).render(None),
            "A      SECOND\né      b\n日本   c\nlong\n"
        );
    }

    #[test]
    fn a_text_ruins_no_table() {
        let rows = vec![
            vec!["n".into(), "a\nb\u{1b}[2J".into(), "1m".into()],
            vec!["m".into(), "x".repeat(2_000), "2m".into()],
        ];
        let wide = table(&[Whole("name"), Free("title"), Whole("age")], &rows, None).render(None);
        let lines: Vec<&str> = wide.lines().collect();
        assert_eq!(lines.len(), 3, "{wide}");
        assert!(lines[1].starts_with("n      a␊b␛[2J  "), "{wide}");
        assert!(lines[2].ends_with("x…   2m"), "{wide}");
        let narrow = table(&[Whole("name"), Free("title"), Whole("age")], &rows, Some(30)).render(None);
        assert!(narrow.lines().all(|line| columns(line) <= 30), "{narrow}");
        assert!(narrow.contains("xxxx…   2m"), "{narrow}");
    }

    #[test]
    fn where_a_table_does_not_fit_columns_are_left_out_and_then_names_are_cut() {
        let headings = [
            Whole("name"),
            Whole("flow"),
            Extra("release"),
            Free("why"),
            Extra("trigger"),
            Extra("took"),
        ];
        let row = |name: &str, release: &str| -> Vec<String> {
            [name, "refund", release, "a callback (settled)", "", "14m"]
                .map(str::to_owned)
                .into()
        };
        let rows = [
            row("refund-x7k2q", "refund-3f9a1c07d2"),
            row("refund-日本", "refund-3f9a1c07d2"),
        ];
        let at = |width: usize| table(&headings, &rows, Some(width)).render(None);
        assert!(at(100).contains("TRIGGER"), "{}", at(100));
        // nothing was started by a trigger
        assert!(
            !at(72).contains("TRIGGER") && at(72).contains("RELEASE") && at(72).contains("TOOK"),
            "{}",
            at(72)
        );
        assert!(
            !at(60).contains("TOOK") && at(60).contains("refund-x7k2q"),
            "{}",
            at(60)
        );
        assert!(
            !at(44).contains("RELEASE") && at(44).contains("refund-x7k2q"),
            "{}",
            at(44)
        );
        let long = [row(&"r".repeat(63), &"s".repeat(63))];
        for width in [40, 60, 80] {
            for rows in [&rows[..], &long] {
                let text = table(&headings, rows, Some(width)).render(None);
                assert!(text.lines().all(|line| columns(line) <= width), "{width}\n{text}");
            }
        }
    }
}
