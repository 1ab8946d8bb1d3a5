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
}

impl Column {
    fn heading(self) -> String {
        let (Self::Whole(heading) | Self::Free(heading)) = self;
        heading.to_uppercase()
    }
}

/// Rows under upper-case headings; columns are as wide as their widest cell and three spaces apart. Where the table is wider than the terminal,
/// the widest text is cut first.
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
                Column::Whole(_) => widest,
                Column::Free(_) => widest.min(WIDEST),
            }
        })
        .collect();
    if let Some(terminal) = terminal {
        narrow(&mut widths, headings, terminal);
    }
    let heading: Vec<String> = headings.iter().map(|column| column.heading()).collect();
    std::iter::once(&heading)
        .chain(&shown)
        .map(|row| line(row, &widths))
        .collect()
}

fn narrow(widths: &mut [usize], headings: &[Column], terminal: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > terminal {
        let free = headings.iter().enumerate();
        let widest = free
            .filter(|(at, column)| matches!(column, Column::Free(_)) && widths[*at] > NARROWEST)
            .max_by_key(|(at, _)| widths[*at]);
        let Some((at, _)) = widest else {
            return;
        };
        widths[at] -= 1;
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let cell = cut(cell, *width);
        let padding = width.saturating_sub(columns(&cell)) + GAP;
        cell + &" ".repeat(padding)
    });
    padded.collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{
        Column::{Free, Whole},
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
}
