//! HTML that is made here: tags of ours, and text of others that cannot leave its place.

use std::fmt::{self, Write as _};

use signoff_api::text::{visible, visible_lines};

/// HTML in which all text of others is harmless. A tag is a literal of this program, and everything else is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::web) struct Markup(String);

impl Markup {
    /// Tags of ours.
    pub(super) fn tag(&mut self, tag: &'static str) -> &mut Self {
        self.0.push_str(tag);
        self
    }

    /// Text on one line.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.escaped(&visible(text))
    }

    /// Text with its line breaks and tabs.
    pub(super) fn lines(&mut self, text: &str) -> &mut Self {
        self.escaped(&visible_lines(text))
    }

    /// A number.
    pub(super) fn number(&mut self, number: usize) -> &mut Self {
        // writing to a String cannot fail
        let _ = write!(self.0, "{number}");
        self
    }

    /// The beginning of a link to another site. That site is not told where it was followed.
    pub(super) fn link(&mut self, address: &url::Url) -> &mut Self {
        self.tag("<a rel=\"noopener noreferrer nofollow\" href=\"");
        self.text(address.as_str()).tag("\">")
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn escaped(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Templates do not escape it again.
impl askama::filters::HtmlSafe for Markup {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_text() {
        let mut markup = Markup::default();
        markup.tag("<p>").text("</p><script>\"'&\u{202e}\n").tag("</p>");
        assert_eq!(
            markup.to_string(),
            "<p>&lt;/p&gt;&lt;script&gt;&quot;&#39;&amp;\\u{202e}␊</p>"
        );
    }
}
