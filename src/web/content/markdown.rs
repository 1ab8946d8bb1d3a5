//! Markdown as styles of text only: no HTML, no picture is loaded, and a link says where it leads.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use url::Url;

use super::Markup;

/// Most bytes of HTML, and most levels, of a document. One with more is shown as it is written.
const MOST_BYTES: usize = 512 << 10;
const MOST_LEVELS: usize = 40;
/// Longest address that stands beside a link.
const LONGEST_ADDRESS: usize = 300;

/// The document, unless it is made to be more than a browser bears.
pub(super) fn document(text: &str) -> Option<Markup> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut out = Markup::default();
    out.tag("<div class=\"markdown\">");
    let mut targets: Vec<Target> = Vec::new();
    let mut levels = 0_usize;
    let mut is_head = false;
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(tag) => {
                levels += 1;
                is_head = is_head || matches!(tag, Tag::TableHead);
                start(&mut out, &mut targets, tag, is_head);
            }
            Event::End(tag) => {
                levels = levels.saturating_sub(1);
                end(&mut out, &mut targets, tag, is_head);
                is_head = is_head && !matches!(tag, TagEnd::TableHead);
            }
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => {
                out.lines(&text);
            }
            Event::Code(text) => {
                out.tag("<code>").lines(&text).tag("</code>");
            }
            Event::SoftBreak => {
                out.tag("\n");
            }
            Event::HardBreak => {
                out.tag("<br>");
            }
            Event::Rule => {
                out.tag("<hr>");
            }
            Event::TaskListMarker(is_done) => {
                out.tag(if is_done { "☑ " } else { "☐ " });
            }
        }
        if levels > MOST_LEVELS || out.len() > MOST_BYTES {
            return None;
        }
    }
    out.tag("</div>");
    Some(out)
}

/// Where a link or a picture leads.
struct Target {
    /// An address that a link may lead to.
    link: Option<Url>,
    /// What is written.
    address: String,
}

impl Target {
    fn of(address: &CowStr<'_>) -> Self {
        let link = Url::parse(address).ok();
        // the name of a user in an address is there to be taken for the name of a site
        let is_clear = |url: &Url| url.username().is_empty() && url.password().is_none();
        let link = link.filter(|url| matches!(url.scheme(), "http" | "https" | "mailto") && is_clear(url));
        Self {
            // as a browser reads it: names that look like others are in their plain form
            address: link
                .as_ref()
                .map_or_else(|| address.to_string(), ToString::to_string),
            link,
        }
    }
}

fn start(out: &mut Markup, targets: &mut Vec<Target>, tag: Tag<'_>, is_head: bool) {
    match tag {
        Tag::Paragraph => out.tag("<p>"),
        // below the headings of the page
        Tag::Heading { level, .. } => out.tag(match level {
            HeadingLevel::H1 => "<h4>",
            HeadingLevel::H2 => "<h5>",
            HeadingLevel::H3 | HeadingLevel::H4 | HeadingLevel::H5 | HeadingLevel::H6 => "<h6>",
        }),
        Tag::BlockQuote(_) => out.tag("<blockquote>"),
        Tag::CodeBlock(_) => out.tag("<pre tabindex=\"0\"><code>"),
        // tags of others are text
        Tag::HtmlBlock => out.tag("<pre tabindex=\"0\">"),
        Tag::List(Some(first)) => {
            out.tag("<ol start=\"");
            out.number(usize::try_from(first).unwrap_or(1)).tag("\">")
        }
        Tag::List(None) => out.tag("<ul>"),
        Tag::Item => out.tag("<li>"),
        Tag::Table(_) => out.tag("<div class=\"wide\" tabindex=\"0\"><table>"),
        Tag::TableHead => out.tag("<thead><tr>"),
        Tag::TableRow => out.tag("<tr>"),
        Tag::TableCell if is_head => out.tag("<th scope=\"col\">"),
        Tag::TableCell => out.tag("<td>"),
        Tag::Emphasis => out.tag("<em>"),
        Tag::Strong => out.tag("<strong>"),
        Tag::Strikethrough => out.tag("<s>"),
        Tag::Link { dest_url, .. } => {
            let target = Target::of(&dest_url);
            if let Some(link) = &target.link {
                out.link(link);
            }
            targets.push(target);
            out
        }
        Tag::Image { dest_url, .. } => {
            targets.push(Target::of(&dest_url));
            out.tag("<span class=\"kind\">[picture that is not loaded: ")
        }
        // they are not enabled
        Tag::FootnoteDefinition(_)
        | Tag::DefinitionList
        | Tag::DefinitionListTitle
        | Tag::DefinitionListDefinition
        | Tag::Superscript
        | Tag::Subscript
        | Tag::MetadataBlock(_) => out.tag("<span>"),
    };
}

fn end(out: &mut Markup, targets: &mut Vec<Target>, tag: TagEnd, is_head: bool) {
    match tag {
        TagEnd::Paragraph => out.tag("</p>\n"),
        TagEnd::Heading(level) => out.tag(match level {
            HeadingLevel::H1 => "</h4>\n",
            HeadingLevel::H2 => "</h5>\n",
            HeadingLevel::H3 | HeadingLevel::H4 | HeadingLevel::H5 | HeadingLevel::H6 => "</h6>\n",
        }),
        TagEnd::BlockQuote(_) => out.tag("</blockquote>\n"),
        TagEnd::CodeBlock => out.tag("</code></pre>\n"),
        TagEnd::HtmlBlock => out.tag("</pre>\n"),
        TagEnd::List(true) => out.tag("</ol>\n"),
        TagEnd::List(false) => out.tag("</ul>\n"),
        TagEnd::Item => out.tag("</li>\n"),
        TagEnd::Table => out.tag("</tbody></table></div>\n"),
        TagEnd::TableHead => out.tag("</tr></thead><tbody>\n"),
        TagEnd::TableRow => out.tag("</tr>\n"),
        TagEnd::TableCell if is_head => out.tag("</th>"),
        TagEnd::TableCell => out.tag("</td>"),
        TagEnd::Emphasis => out.tag("</em>"),
        TagEnd::Strong => out.tag("</strong>"),
        TagEnd::Strikethrough => out.tag("</s>"),
        TagEnd::Link => {
            if let Some(target) = targets.pop() {
                if target.link.is_some() {
                    out.tag("</a>");
                }
                told(out, &target.address);
            }
            out
        }
        TagEnd::Image => {
            if let Some(target) = targets.pop() {
                told(out, &target.address);
            }
            out.tag("]</span>")
        }
        TagEnd::FootnoteDefinition
        | TagEnd::DefinitionList
        | TagEnd::DefinitionListTitle
        | TagEnd::DefinitionListDefinition
        | TagEnd::Superscript
        | TagEnd::Subscript
        | TagEnd::MetadataBlock(_) => out.tag("</span>"),
    };
}

/// Says where something leads, whatever its text says.
fn told(out: &mut Markup, address: &str) {
    let end = address.floor_char_boundary(LONGEST_ADDRESS);
    out.tag(" <span class=\"address\">(").text(&address[..end]);
    out.tag(if end < address.len() {
        "…)</span>"
    } else {
        ")</span>"
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> String {
        document(text).unwrap().to_string()
    }

    #[test]
    fn styles_of_text_are_drawn() {
        let drawn = drawn(
            "# Plan\n\nPay **250** to _shop_, ~~not 100~~:\n\n1. quote\n2. `pay`\n\n- [x] checked\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\nrm <x>\n```\n",
        );
        for part in [
            "<h4>Plan</h4>",
            "<strong>250</strong>",
            "<em>shop</em>",
            "<s>not 100</s>",
            "<ol start=\"1\">",
            "<code>pay</code>",
            "☑ checked",
            "<th scope=\"col\">a</th>",
            "<td>2</td>",
            "rm &lt;x&gt;",
        ] {
            assert!(drawn.contains(part), "{part}\n{drawn}");
        }
        for tag in ["<p>", "<li>", "<tr>", "<table>"] {
            assert_eq!(
                drawn.matches(tag).count(),
                drawn.matches(&tag.replace('<', "</")).count(),
                "{tag}"
            );
        }
    }

    #[test]
    fn a_link_says_where_it_leads_and_leads_nowhere_else() {
        let link = drawn("[https://bank.example](https://evil.example/pay \"bank.example\")");
        assert!(
            link.contains("href=\"https://evil.example/pay\"") && link.contains("(https://evil.example/pay)"),
            "{link}"
        );
        let look_alike = drawn("[bank](https://b\u{430}nk.example/)");
        assert!(look_alike.contains("(https://xn--"), "{look_alike}");
        for text in [
            "[a](javascript:alert(1))",
            "[a](https://bank.example@evil.example/)",
            "[a](JaVaScRiPt&#58;alert(1))",
            "[a](data:text/html,x)",
            "[a](/ns/x/runs/y/cancel)",
            "[a](//evil.example)",
            "[a](<vbscript:x>)",
            "[a][1]\n\n[1]: file:///etc/passwd",
        ] {
            let drawn = drawn(text);
            assert!(
                !drawn.contains("href") && drawn.contains("class=\"address\""),
                "{text}\n{drawn}"
            );
        }
    }

    #[test]
    fn no_tag_of_others_and_nothing_from_elsewhere_is_on_the_page() {
        let drawn = drawn(
            "<div onclick=x>\n<script>alert(1)</script>\n</div>\n\ninline <b onmouseover=x>b</b> <!-- hidden -->\n\n![alt](https://evil.example/p.png \"t\")\n\n&lt;script&gt; &#8238;\n\n# H {#id .class onclick=x}\n",
        );
        for raw in [
            "<script", "<div o", "<b ", "<!--", "<img", "src=", "\u{202e}", "id=\"",
        ] {
            assert!(!drawn.contains(raw), "{raw}\n{drawn}");
        }
        for said in [
            "alert(1)",
            "hidden",
            "(https://evil.example/p.png)",
            "\\u{202e}",
            "onmouseover",
        ] {
            assert!(drawn.contains(said), "{said}\n{drawn}");
        }
    }

    #[test]
    fn a_document_that_is_made_to_be_too_much_is_not_drawn() {
        assert!(
            document(&"> ".repeat(1_000)).is_none() || document(&"> ".repeat(1_000)).unwrap().len() < 100_000
        );
        assert!(document(&format!("{}a", "> ".repeat(500))).is_none());
        let wide = format!(
            "|{}\n|{}\n{}",
            "a|".repeat(1_000),
            "-|".repeat(1_000),
            "x\n".repeat(2_000)
        );
        assert!(document(&wide).is_none());
    }
}
