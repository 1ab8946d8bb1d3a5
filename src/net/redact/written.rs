//! Finds one secret in a text, however it is written there.

use std::{fmt::Write as _, ops::Range};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A secret below this many bytes is found only where it stands by itself: within other words it would be found everywhere.
const SHORT: usize = 8;
/// Longest escape that stands for one character: `&#x10FFFF;` and a percent-encoded character of four bytes.
const LONGEST_ESCAPE: usize = 12;

/// One secret and the forms that do not keep its characters apart.
#[derive(Clone)]
pub(super) struct Written {
    secret: String,
    /// Hexadecimal, in lower case.
    hex: String,
    /// What the secret makes of base64 text, alone or within longer bytes that are encoded together.
    base64: Vec<String>,
}

impl Written {
    pub(super) fn new(secret: &str) -> Self {
        let mut written = Self {
            secret: secret.to_owned(),
            hex: String::new(),
            base64: Vec::new(),
        };
        if secret.len() >= SHORT {
            for byte in secret.bytes() {
                // writing to a String cannot fail
                let _ = write!(written.hex, "{byte:02x}");
            }
            for before in 0..3 {
                let core = base64_core(secret.as_bytes(), before);
                let url_safe = core.replace('+', "-").replace('/', "_");
                written.base64.extend([core, url_safe]);
            }
            written.base64.dedup();
        } else {
            // alone only, as everything of a short one
            let encoded = [STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret)];
            written.base64.extend(encoded);
        }
        written
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.secret == text
    }

    /// Adds where the secret is in a text.
    pub(super) fn find(&self, text: &str, found: &mut Vec<Range<usize>>) {
        self.find_escaped(text, found);
        for core in &self.base64 {
            for (at, _) in text.match_indices(core.as_str()) {
                self.keep(text, around_base64(text, at..at + core.len()), found);
            }
        }
        if !self.hex.is_empty() {
            // the same length, since only ASCII letters change
            let lower = text.to_ascii_lowercase();
            let places = lower.match_indices(&self.hex);
            found.extend(places.map(|(at, hex)| at..at + hex.len()));
        }
    }

    fn find_escaped(&self, text: &str, found: &mut Vec<Range<usize>>) {
        let Some(first) = self.secret.bytes().next() else {
            return;
        };
        let mut from = 0;
        while let Some(ahead) = text.as_bytes()[from..]
            .iter()
            .position(|byte| *byte == first || matches!(byte, b'%' | b'&' | b'\\' | b'+'))
        {
            let start = from + ahead;
            from = start + 1;
            // the first byte of a character is never one within another
            let Some(end) = escaped_end(text, start, &self.secret) else {
                continue;
            };
            self.keep(text, start..end, found);
            from = end;
        }
    }

    /// Keeps a place, of a short secret only where it stands by itself.
    fn keep(&self, text: &str, place: Range<usize>, found: &mut Vec<Range<usize>>) {
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let within =
            || word(text[..place.start].chars().next_back()) || word(text[place.end..].chars().next());
        if self.secret.len() >= SHORT || !within() {
            found.push(place);
        }
    }
}

/// The digits that depend on the secret alone when `before` other bytes come before it in a group of three.
fn base64_core(secret: &[u8], before: usize) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let encoded = STANDARD_NO_PAD.encode(&bytes);
    let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    encoded[first..last].to_owned()
}

/// The digits at both ends hold some bits of the secret as well, and the padding says its length.
fn around_base64(text: &str, core: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let start = core.start - usize::from(core.start > 0 && digit(&bytes[core.start - 1]));
    let mut end = core.end + usize::from(bytes.get(core.end).is_some_and(digit));
    while bytes.get(end) == Some(&b'=') {
        end += 1;
    }
    start..end
}

/// Where a secret that begins at `start` ends, each of its characters written as it is or escaped.
fn escaped_end(text: &str, start: usize, secret: &str) -> Option<usize> {
    // more than one where a character may be itself or the beginning of an escape
    let mut ends = vec![start];
    for wanted in secret.chars() {
        let mut next = Vec::with_capacity(1);
        for end in ends {
            let rest = text.get(end..)?;
            let as_it_is = rest.starts_with(wanted).then(|| wanted.len_utf8());
            for length in [as_it_is, escape(rest, wanted)].into_iter().flatten() {
                if !next.contains(&(end + length)) {
                    next.push(end + length);
                }
            }
        }
        if next.is_empty() {
            return None;
        }
        ends = next;
    }
    ends.into_iter().max()
}

/// Length of the escape that a text begins with, if it stands for this character.
fn escape(text: &str, wanted: char) -> Option<usize> {
    match text.as_bytes().first()? {
        b'%' => percent(text, wanted),
        b'+' => (wanted == ' ').then_some(1),
        b'&' => entity(text, wanted),
        b'\\' => backslash(text, wanted),
        _ => None,
    }
}

fn percent(text: &str, wanted: char) -> Option<usize> {
    let mut buffer = [0; 4];
    let bytes = wanted.encode_utf8(&mut buffer).bytes();
    let mut length = 0;
    for byte in bytes {
        let digits = text.get(length..length + 3)?.strip_prefix('%')?;
        if hex(digits)? != u32::from(byte) {
            return None;
        }
        length += 3;
    }
    Some(length)
}

fn entity(text: &str, wanted: char) -> Option<usize> {
    let end = text.bytes().take(LONGEST_ESCAPE).position(|byte| byte == b';')?;
    let name = &text[1..end];
    let stands_for = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => hex(digits)?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return None,
        },
    };
    (stands_for == wanted).then_some(end + 1)
}

fn backslash(text: &str, wanted: char) -> Option<usize> {
    let simple = match text.as_bytes().get(1)? {
        b'u' => return unicode(text, wanted),
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        other @ (b'"' | b'\'' | b'\\' | b'/') => char::from(*other),
        _ => return None,
    };
    (simple == wanted).then_some(2)
}

fn unicode(text: &str, wanted: char) -> Option<usize> {
    let mut buffer = [0; 2];
    let mut length = 0;
    for unit in wanted.encode_utf16(&mut buffer) {
        let digits = text.get(length..length + 6)?.strip_prefix("\\u")?;
        if hex(digits)? != u32::from(*unit) {
            return None;
        }
        length += 6;
    }
    Some(length)
}

fn hex(digits: &str) -> Option<u32> {
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}
