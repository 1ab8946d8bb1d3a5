//! What a question shows, drawn as what it is: a change, a JSON value, Markdown, a picture, text. Whoever wrote it, it is harmless,
//! nothing is loaded from elsewhere, and nothing of it is hidden without a word.

mod diff;
mod json_tree;
mod markdown;
mod markup;
mod picture;

use signoff_api::MediaType;

pub(super) use self::{diff::change, markup::Markup, picture::Picture};
use super::shown_lines;

/// Most lines and characters of an item that are on the page before somebody asks for all of them.
const MOST_LINES: usize = 400;
const MOST_CHARS: usize = 32 << 10;

/// How much of an item is on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The beginning of what is large.
    Beginning,
    /// All of it.
    Whole,
}

/// An item as it is drawn.
#[derive(Debug)]
pub(super) struct View {
    /// What there is to know of it, such as `2 lines added`.
    pub(super) about: Option<String>,
    pub(super) body: Markup,
    /// What is not drawn, if it is only the beginning.
    pub(super) left_out: Option<String>,
    /// The text as it was written, where the drawing leaves signs of it away.
    pub(super) source: Option<String>,
}

impl View {
    /// Draws a text of this type. Of pictures and sounds there is nothing to draw here.
    pub(super) fn of(media_type: &str, text: &str, extent: Extent) -> Self {
        match media_type.parse::<MediaType>() {
            Ok(MediaType::Json) => Self::json(text, extent),
            Ok(MediaType::Diff) => Self::diff(text, extent),
            Ok(MediaType::Markdown) => Self::markdown(text, extent),
            // a type of later
            Ok(MediaType::Plain) | Err(_) => Self::plain(text, extent),
            Ok(MediaType::Image(_) | MediaType::Audio(_)) => Self {
                about: None,
                body: Markup::default(),
                left_out: None,
                source: None,
            },
        }
    }

    /// Draws a JSON value.
    pub(super) fn json(text: &str, extent: Extent) -> Self {
        match json_tree::tree(text, extent) {
            Some((body, left)) => Self {
                about: None,
                body,
                left_out: (left > 0).then(|| format!("{left} values are left out")),
                source: None,
            },
            // what is no JSON, or is other JSON than it would be drawn as, is shown as it is
            None => Self::plain(text, extent),
        }
    }

    fn diff(text: &str, extent: Extent) -> Self {
        let (start, left_out) = beginning(text, extent);
        let (about, body) = diff::table(start);
        Self {
            // what is cut is not counted
            about: Some(about).filter(|_| left_out.is_none()),
            body,
            left_out,
            source: None,
        }
    }

    fn markdown(text: &str, extent: Extent) -> Self {
        let (start, left_out) = beginning(text, extent);
        match markdown::document(start) {
            Some(body) => Self {
                about: None,
                body,
                left_out,
                source: Some(shown_lines(start)),
            },
            None => Self::plain(text, extent),
        }
    }

    fn plain(text: &str, extent: Extent) -> Self {
        let (start, left_out) = beginning(text, extent);
        let mut body = Markup::default();
        body.tag("<pre>").lines(start).tag("</pre>");
        Self {
            about: None,
            body,
            left_out,
            source: None,
        }
    }
}

/// The lines of a text that are drawn, and what is left out.
fn beginning(text: &str, extent: Extent) -> (&str, Option<String>) {
    if extent == Extent::Whole {
        return (text, None);
    }
    let mut end = text.len();
    if let Some((at, _)) = text.match_indices('\n').nth(MOST_LINES - 1) {
        end = at + 1;
    }
    if let Some((at, _)) = text.char_indices().nth(MOST_CHARS) {
        // a line is cut only if it is as long as all of it may be
        let line = text[..at].rfind('\n').map_or(at, |line| line + 1);
        end = end.min(line);
    }
    if end >= text.len() {
        return (text, None);
    }
    let lines = |text: &str| text.lines().count();
    let left = lines(text).saturating_sub(lines(&text[..end]));
    let told = match left {
        0 => format!("{} characters are left out", text[end..].chars().count()),
        1 => format!("1 of {} lines is left out", lines(text)),
        left => format!("{left} of {} lines are left out", lines(text)),
    };
    (&text[..end], Some(told))
}

/// A number of bytes as people read it.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        ..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes / 1_024, bytes % 1_024 * 10 / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_large_the_beginning_is_drawn_and_what_is_left_out_is_told() {
        let lines = "a line\n".repeat(MOST_LINES + 3);
        let view = View::of("text/plain", &lines, Extent::Beginning);
        assert_eq!(view.left_out.as_deref(), Some("3 of 403 lines are left out"));
        assert_eq!(view.body.to_string().matches("a line").count(), MOST_LINES);
        let whole = View::of("text/plain", &lines, Extent::Whole);
        assert_eq!(whole.left_out, None);
        assert_eq!(whole.body.to_string().matches("a line").count(), MOST_LINES + 3);
        let long = "é".repeat(MOST_CHARS + 5);
        let view = View::of("text/plain", &long, Extent::Beginning);
        assert_eq!(view.left_out.as_deref(), Some("5 characters are left out"));
        let small = View::of("text/plain", "a\nb\n", Extent::Beginning);
        assert_eq!(small.left_out, None);
    }

    #[test]
    fn text_of_any_type_is_drawn_harmless() {
        let hostile = "<script>alert(1)</script>\n@@ -1 +1 @@\n-<img src=x onerror=alert(1)>\n+\u{202e}[x](javascript:alert(1)) ![p](https://evil.example/p.png)\n&#x202e;";
        for media_type in [
            "text/plain",
            "text/x-diff",
            "text/markdown",
            "application/json",
            "text/html",
        ] {
            for extent in [Extent::Beginning, Extent::Whole] {
                let drawn = View::of(media_type, hostile, extent).body.to_string();
                for raw in [
                    "<script",
                    "<img",
                    "\u{202e}",
                    "href=\"javascript",
                    "src=\"",
                    "&#x202e",
                ] {
                    assert!(!drawn.contains(raw), "{media_type} {raw}\n{drawn}");
                }
                assert!(
                    drawn.contains("alert(1)"),
                    "{media_type}: nothing is left away\n{drawn}"
                );
            }
        }
        let json = "{\n  \"<b>\\\"\": \"</li><script>\u{202e}\"\n}";
        let drawn = View::of("application/json", json, Extent::Whole).body.to_string();
        assert!(
            !drawn.contains("<b>") && !drawn.contains("<script") && !drawn.contains('\u{202e}'),
            "{drawn}"
        );
        assert!(drawn.contains("class=\"tree\""), "{drawn}");
    }

    #[test]
    fn a_size_is_told_in_the_unit_that_fits() {
        for (bytes, told) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }
}
