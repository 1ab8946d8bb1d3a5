//! Plain columns, as kubectl prints them.

/// Rows under upper-case headings; columns are as wide as their widest cell and three spaces apart.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let headings: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    std::iter::once(&headings)
        .chain(rows)
        .map(|row| line(row, &widths))
        .collect::<Vec<_>>()
        .join("\n")
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let padding = width.saturating_sub(cell.chars().count()) + 3;
        format!("{cell}{}", " ".repeat(padding))
    });
    padded.collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_with_letters_beyond_ascii() {
        let rows = vec![vec!["é".into(), "b".into()], vec!["long".into(), String::new()]];
        assert_eq!(table(&["a", "second"], &rows), "A      SECOND\né      b\nlong");
    }
}
