//! What a content type says of a body: whether it is JSON, and in which character set its text is.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use http::{HeaderMap, header};

/// A content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// Type and subtype in lower case; empty if nothing is said.
    pub essence: String,
    charset: &'static Encoding,
}

impl ContentType {
    /// The content type among the headers of a message.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = headers
            .get(header::CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default();
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let charset = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("charset")
                .then(|| value.trim().trim_matches('"').to_owned())
        });
        let charset = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
        Self {
            essence,
            charset: charset.unwrap_or(UTF_8),
        }
    }

    /// Whether it says JSON.
    pub fn is_json(&self) -> bool {
        let essence = self.essence.as_str();
        essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
    }

    /// The text of a body, without a byte order mark. The mark says more than the character set. What is no text in that
    /// set becomes replacement characters.
    pub fn decode<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        self.charset.decode(bytes).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> ContentType {
        ContentType::of(
            &[(header::CONTENT_TYPE, text.parse().unwrap())]
                .into_iter()
                .collect(),
        )
    }

    #[test]
    fn json_is_known_however_it_is_written() {
        for text in [
            "application/json",
            "Application/JSON; Charset=\"UTF-8\"",
            "application/problem+json;v=1",
            "text/json",
        ] {
            assert!(of(text).is_json(), "{text}");
        }
        for text in ["text/plain", "application/jsonp", "json", ""] {
            assert!(!of(text).is_json(), "{text}");
        }
        assert_eq!(ContentType::of(&HeaderMap::new()).essence, "");
    }

    #[test]
    fn text_is_read_in_its_character_set_and_without_its_mark() {
        assert_eq!(of("text/plain; charset=iso-8859-1").decode(b"caf\xe9"), "café");
        assert_eq!(of("text/plain; charset=utf-16le").decode(b"\xff\xfeo\0k\0"), "ok");
        assert_eq!(of("application/json").decode(b"\xef\xbb\xbf{}"), "{}");
        assert_eq!(of("text/plain; charset=nonsense").decode("ö".as_bytes()), "ö");
        assert_eq!(of("text/plain").decode(b"\xff"), "\u{fffd}");
    }
}
