//! A unified diff as a table: numbers of lines, signs that are read without colour, and the words that differ.

use similar::{ChangeTag, TextDiff};

use super::Markup;

/// Longest line, and most pairs of lines, of which the words are compared.
const MOST_IN_LINE: usize = 400;
const MOST_PAIRS: usize = 200;
/// How alike two lines have to be for marks in them to help.
const ALIKE: f32 = 0.4;
/// Lines around a change.
const AROUND: usize = 3;

/// What a line of a diff is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Says what follows: names of files, the place of a hunk, or anything that is no change.
    About,
    Context,
    Added,
    Removed,
}

/// A line without its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row<'a> {
    sort: Sort,
    old: Option<usize>,
    new: Option<usize>,
    text: &'a str,
}

/// The table of a diff, and how much it changes.
pub(super) fn table(text: &str) -> (String, Markup) {
    let rows = rows(text);
    let count = |sort| rows.iter().filter(|row| row.sort == sort).count();
    let lines = |count: usize| if count == 1 { "line" } else { "lines" };
    let (added, removed) = (count(Sort::Added), count(Sort::Removed));
    let about = format!(
        "{added} {} added, {removed} {} removed",
        lines(added),
        lines(removed)
    );
    let mut out = Markup::default();
    out.tag(
        "<table class=\"diff\"><thead class=\"unseen\"><tr><th scope=\"col\">Old line</th><th scope=\"col\">New line</th>\
         <th scope=\"col\">Change</th><th scope=\"col\">Text</th></tr></thead><tbody>",
    );
    let mut pairs = MOST_PAIRS;
    let mut at = 0;
    while at < rows.len() {
        let run = |from: usize, sort| rows[from..].iter().take_while(|row| row.sort == sort).count();
        let removed = run(at, Sort::Removed);
        let added = run(at + removed, Sort::Added);
        // as many lines on both sides: each is compared with the one in its place
        if removed > 0 && removed == added && removed <= pairs {
            pairs -= removed;
            let (old, new) = (&rows[at..at + removed], &rows[at + removed..at + 2 * removed]);
            for (old, new) in old.iter().zip(new) {
                row(&mut out, *old, marked(old.text, new.text).as_ref());
            }
            for (old, new) in old.iter().zip(new) {
                row(&mut out, *new, marked(old.text, new.text).as_ref());
            }
            at += 2 * removed;
        } else {
            row(&mut out, rows[at], None);
            at += 1;
        }
    }
    out.tag("</tbody></table>");
    (about, out)
}

/// What changes from one text to another.
pub(in crate::web) fn change(old: &str, new: &str) -> Markup {
    let diff = TextDiff::from_lines(old, new);
    let mut unified = diff.unified_diff();
    let unified = unified.context_radius(AROUND).missing_newline_hint(false);
    table(&unified.to_string()).1
}

type Marks<'a> = TextDiff<'a, 'a, str>;

/// The words of two lines compared, if the lines are alike.
fn marked<'a>(old: &'a str, new: &'a str) -> Option<Marks<'a>> {
    if old.len().max(new.len()) > MOST_IN_LINE {
        return None;
    }
    let diff = TextDiff::from_words(old, new);
    (diff.ratio() >= ALIKE).then_some(diff)
}

fn row(out: &mut Markup, row: Row<'_>, marks: Option<&Marks<'_>>) {
    let number = |out: &mut Markup, number: Option<usize>| {
        out.tag("<td class=\"number\">");
        if let Some(number) = number {
            out.number(number);
        }
        out.tag("</td>");
    };
    let (begin, sign, own) = match row.sort {
        Sort::About => {
            out.tag("<tr class=\"about\"><td colspan=\"4\">")
                .text(row.text)
                .tag("</td></tr>");
            return;
        }
        Sort::Context => ("<tr>", "<td class=\"sign\"> </td><td>", None),
        Sort::Added => (
            "<tr class=\"added\">",
            "<td class=\"sign\">+</td><td><ins>",
            Some(ChangeTag::Insert),
        ),
        Sort::Removed => (
            "<tr class=\"removed\">",
            "<td class=\"sign\">-</td><td><del>",
            Some(ChangeTag::Delete),
        ),
    };
    out.tag(begin);
    number(out, row.old);
    number(out, row.new);
    out.tag(sign);
    match (marks, own) {
        (Some(marks), Some(own)) => {
            for part in marks.iter_all_changes() {
                if part.tag() == own {
                    out.tag("<mark>").lines(part.value()).tag("</mark>");
                } else if part.tag() == ChangeTag::Equal {
                    out.lines(part.value());
                }
            }
        }
        _ => {
            out.lines(row.text);
        }
    }
    out.tag(match row.sort {
        Sort::Added => "</ins></td></tr>",
        Sort::Removed => "</del></td></tr>",
        Sort::About | Sort::Context => "</td></tr>",
    });
}

/// How many lines of a hunk are still to come, and their numbers.
#[derive(Clone, Copy)]
struct Hunk {
    old: usize,
    old_left: usize,
    new: usize,
    new_left: usize,
}

/// Every line of the text is a row, whatever it is.
fn rows(text: &str) -> Vec<Row<'_>> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<&str> = text.split('\n').collect();
    let mut hunk: Option<Hunk> = None;
    let mut rows = Vec::with_capacity(lines.len());
    let is_header = |at: usize| {
        let pair = |at: usize| {
            let is = |at: usize, sign| lines.get(at).is_some_and(|line: &&str| line.starts_with(sign));
            is(at, "--- ") && is(at + 1, "+++ ")
        };
        pair(at) || (at > 0 && pair(at - 1))
    };
    for (at, line) in lines.iter().enumerate() {
        let about = Row {
            sort: Sort::About,
            old: None,
            new: None,
            text: line,
        };
        let inside = hunk.filter(|hunk| hunk.old_left > 0 || hunk.new_left > 0);
        let Some(mut place) = inside else {
            hunk = place_of(line);
            // changes may be shown without their place
            let loose = match line.chars().next() {
                Some('+') if !is_header(at) => Some(Sort::Added),
                Some('-') if !is_header(at) => Some(Sort::Removed),
                _ => None,
            };
            rows.push(match loose {
                Some(sort) => Row {
                    sort,
                    text: &line[1..],
                    ..about
                },
                None => about,
            });
            continue;
        };
        let (sort, text) = match line.chars().next() {
            Some('+') => (Sort::Added, &line[1..]),
            Some('-') => (Sort::Removed, &line[1..]),
            Some(' ') => (Sort::Context, &line[1..]),
            // a space at the end of a line is easily lost
            None => (Sort::Context, *line),
            // such as `\ No newline at end of file`
            Some('\\') => {
                rows.push(about);
                continue;
            }
            Some(_) => {
                hunk = None;
                rows.push(about);
                continue;
            }
        };
        let (is_old, is_new) = (sort != Sort::Added, sort != Sort::Removed);
        rows.push(Row {
            sort,
            old: is_old.then_some(place.old),
            new: is_new.then_some(place.new),
            text,
        });
        if is_old {
            place.old = place.old.saturating_add(1);
            place.old_left = place.old_left.saturating_sub(1);
        }
        if is_new {
            place.new = place.new.saturating_add(1);
            place.new_left = place.new_left.saturating_sub(1);
        }
        hunk = Some(place);
    }
    rows
}

/// Reads `@@ -1,2 +3,4 @@`.
fn place_of(line: &str) -> Option<Hunk> {
    let (ranges, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(usize, usize)> {
        match text.split_once(',') {
            Some((first, count)) => Some((first.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let ((old, old_left), (new, new_left)) = (range(old)?, range(new)?);
    Some(Hunk {
        old,
        old_left,
        new,
        new_left,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/limits.yaml b/limits.yaml\n--- a/limits.yaml\n+++ b/limits.yaml\n@@ -9,4 +9,4 @@ limits\n daily: 10\n-limit: 100\n+limit: 250\n--- no header\n\n+++ none either\n\\ No newline at end of file\n";

    #[test]
    fn each_line_has_its_sort_and_its_numbers() {
        let rows = rows(DIFF);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.sort, row.old, row.new, row.text))
            .collect();
        assert_eq!(
            told[3..],
            [
                (Sort::About, None, None, "@@ -9,4 +9,4 @@ limits"),
                (Sort::Context, Some(9), Some(9), "daily: 10"),
                (Sort::Removed, Some(10), None, "limit: 100"),
                (Sort::Added, None, Some(10), "limit: 250"),
                (Sort::Removed, Some(11), None, "-- no header"),
                (Sort::Context, Some(12), Some(11), ""),
                (Sort::Added, None, Some(12), "++ none either"),
                (Sort::About, None, None, "\\ No newline at end of file"),
            ]
        );
        assert!(told[..3].iter().all(|row| row.0 == Sort::About), "{told:?}");
    }

    #[test]
    fn a_change_is_counted_marked_and_read_without_colour() {
        let (about, table) = table(DIFF);
        assert_eq!(about, "2 lines added, 2 lines removed");
        let table = table.to_string();
        assert!(
            table.contains("<td class=\"sign\">-</td><td><del>limit: <mark>100</mark></del>"),
            "{table}"
        );
        assert!(
            table.contains("<td class=\"sign\">+</td><td><ins>limit: <mark>250</mark></ins>"),
            "{table}"
        );
    }

    #[test]
    fn no_line_is_lost_whatever_a_hunk_promises() {
        for text in [
            "@@ -1,1 +1,99999999999999999999 @@\n-a\n+b\n",
            "@@ -1,0 +1,0 @@\n c\n",
            "@@ -18446744073709551615,5 +1,5 @@\n a\n b\nnot of it\n+c",
            "-only\n+loose\n--- alone\n",
            "",
            "\n\n",
        ] {
            let body = text.strip_suffix('\n').unwrap_or(text);
            assert_eq!(rows(text).len(), body.split('\n').count(), "{text}");
            let drawn = table(text).1.to_string();
            for word in ["only", "loose", "not of it", "alone"] {
                assert_eq!(drawn.contains(word), text.contains(word), "{text}");
            }
        }
    }

    #[test]
    fn two_texts_are_compared() {
        let drawn = change("a\nfirst version\n", "a\nsecond version").to_string();
        assert!(drawn.contains("<mark>first</mark>"), "{drawn}");
        assert!(drawn.contains("<mark>second</mark>"), "{drawn}");
    }
}
