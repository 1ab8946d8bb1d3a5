//! Text of others in messages of ours: it mentions nobody, is no markup of the channel, and everything in it is visible.

use signoff_api::text;

/// Longest text for Slack, in characters. It takes 40 000, of which some are for the signs around links.
pub(crate) const SLACK: usize = 39_000;
/// Longest text of a card in Teams, in bytes as they are in JSON: a message has at most 28 KB.
pub(crate) const TEAMS: usize = 24_000;
/// Longest message of Discord.
pub(crate) const DISCORD: usize = 2_000;
/// Longest text of a mail.
pub(crate) const EMAIL: usize = 1 << 20;
/// Longest subject of a mail.
pub(crate) const SUBJECT: usize = 250;

/// As Slack's `mrkdwn` wants it: what would be a mention, a link or an entity is text.
pub(crate) fn slack(text: &str) -> String {
    visible_lines(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// As the Markdown of adaptive cards wants it.
pub(crate) fn teams(text: &str) -> String {
    escaped(&visible_lines(text), r"\`*_[]()#-+~!|")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// As Discord's Markdown wants it. Its addresses are no links, and its mentions are text.
pub(crate) fn discord(text: &str) -> String {
    escaped(&visible_lines(text), r"\`*_[]()#-~|<>@:")
}

/// Text in which all is visible. Line breaks are the same wherever they were written.
fn visible_lines(text: &str) -> String {
    text::visible_lines(&text.replace("\r\n", "\n"))
}

/// As plain text wants it.
pub(crate) fn plain(text: &str) -> String {
    visible_lines(text)
}

fn escaped(text: &str, special: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The beginning of a text, if it is longer than its channel takes. An entity or an escape is not cut in two.
pub(crate) fn cut(text: String, most: usize) -> String {
    if text.len() <= most || text.chars().count() <= most {
        return text;
    }
    let end = text.char_indices().nth(most.saturating_sub(1));
    shortened(&text[..end.map_or(text.len(), |(end, _)| end)])
}

/// The same for a channel that counts bytes of JSON.
pub(crate) fn cut_json(text: String, most: usize) -> String {
    let size = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    };
    if text.chars().map(size).sum::<usize>() <= most {
        return text;
    }
    let mut left = most.saturating_sub('…'.len_utf8());
    let end = text
        .char_indices()
        .find(|(_, c)| match left.checked_sub(size(*c)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
    shortened(&text[..end.map_or(text.len(), |(end, _)| end)])
}

/// A beginning, with a sign that it is one.
fn shortened(kept: &str) -> String {
    let kept = match kept.rfind('&') {
        Some(at) if kept.len() - at < 6 && !kept[at..].contains(';') => &kept[..at],
        _ => kept,
    };
    let escapes = kept.len() - kept.trim_end_matches('\\').len();
    let kept = &kept[..kept.len() - escapes % 2];
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_neither_markup_nor_a_mention() {
        let evil = "<!channel> <https://evil|x> &lt; *b* `c` @everyone [x](https://evil) \u{202e}\u{1b}";
        let told = slack(evil);
        assert!(!told.contains(['<', '>', '\u{202e}', '\u{1b}']), "{told}");
        assert!(
            told.contains("&lt;!channel&gt;") && told.contains("&amp;lt;"),
            "{told}"
        );
        let told = discord(evil);
        assert!(
            told.contains(r"\<!channel\>") && told.contains(r"\@everyone"),
            "{told}"
        );
        assert!(
            told.contains(r"https\://evil") && told.contains(r"\*b\*"),
            "{told}"
        );
        let told = teams(evil);
        assert!(
            told.contains(r"\[x\]\(https://evil\)") && !told.contains('<'),
            "{told}"
        );
        assert!(plain(evil).contains(r"\u{202e}"));
        for told in [slack, discord, teams, plain] {
            assert_eq!(told("a\r\nb\rc"), "a\nb␍c");
        }
    }

    #[test]
    fn a_text_that_is_counted_in_bytes_of_json_is_cut_by_them() {
        assert_eq!(cut_json("é\"".into(), 4), "é\"");
        assert_eq!(cut_json("ééé".into(), 5), "é…");
        assert_eq!(cut_json(r"\*\*\*".into(), 8), r"\*…");
        for text in ["語", "\\*", "\"", "&amp;", "\n", "x"] {
            let cut = cut_json(text.repeat(30_000), TEAMS);
            let size = serde_json::to_string(&cut).unwrap().len() - 2;
            assert!((TEAMS - 10..=TEAMS).contains(&size), "{text:?} {size}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_its_characters() {
        assert_eq!(cut("short".into(), 5), "short");
        assert_eq!(cut("ééééé".into(), 5), "ééééé");
        assert_eq!(cut("éééééé".into(), 5), "éééé…");
        assert_eq!(cut("abc&amp;d".into(), 7), "abc…");
        assert_eq!(cut(r"abc\*def".into(), 5), "abc…");
        assert_eq!(cut(r"ab\\def".into(), 5), r"ab\\…");
    }
}
