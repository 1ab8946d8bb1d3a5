//! A text with its escapes decoded, which still knows where everything was written.

use std::ops::Range;

/// Longest entity that is decoded: `&#x10FFFF;`, with a few zeros.
const LONGEST_ENTITY: usize = 12;

/// The ways in which others escape characters. A server uses one of them, and sometimes one within another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Escapes {
    /// `%41`, as in URLs.
    percent: bool,
    /// `+` is a space, as in forms.
    plus: bool,
    /// `&amp;`, as in HTML.
    entity: bool,
    /// `\n`, as in JSON.
    backslash: bool,
}

/// Each way alone, since an escape of one may be ordinary text in another, and all together.
const READINGS: [Escapes; 7] = [
    reading(true, false, false, false),
    reading(true, true, false, false),
    reading(false, false, true, false),
    reading(false, false, false, true),
    reading(false, false, true, true),
    reading(true, false, true, true),
    reading(true, true, true, true),
];

const fn reading(percent: bool, plus: bool, entity: bool, backslash: bool) -> Escapes {
    Escapes {
        percent,
        plus,
        entity,
        backslash,
    }
}

impl Escapes {
    /// Those of these that are in a text at all.
    fn within(self, text: &str) -> Self {
        let has = |byte| memchr::memchr(byte, text.as_bytes()).is_some();
        Self {
            percent: self.percent && has(b'%'),
            plus: self.plus && has(b'+'),
            entity: self.entity && has(b'&'),
            backslash: self.backslash && has(b'\\'),
        }
    }

    fn any(self) -> bool {
        self.percent || self.plus || self.entity || self.backslash
    }

    /// What the escape at the beginning of a text stands for, and its length.
    fn decode(self, text: &str) -> Option<(Decoded, usize)> {
        match text.as_bytes().first()? {
            b'%' if self.percent => Some((Decoded::Byte(percent(text)?), 3)),
            b'+' if self.plus => Some((Decoded::Char(' '), 1)),
            b'&' if self.entity => entity(text).map(|(c, length)| (Decoded::Char(c), length)),
            b'\\' if self.backslash => backslash(text).map(|(c, length)| (Decoded::Char(c), length)),
            _ => None,
        }
    }
}

/// What an escape stands for: a byte, or a whole character.
enum Decoded {
    Byte(u8),
    Char(char),
}

/// A text as one reading has it.
pub(super) struct Unescaped {
    bytes: Vec<u8>,
    /// Where each byte was written, and the end.
    places: Vec<usize>,
}

impl Unescaped {
    /// Every reading of a text that differs from the text itself.
    pub(super) fn readings(text: &str) -> impl Iterator<Item = Self> {
        let mut seen: Vec<Escapes> = Vec::new();
        READINGS.into_iter().filter_map(move |escapes| {
            let escapes = escapes.within(text);
            if !escapes.any() || seen.contains(&escapes) {
                return None;
            }
            seen.push(escapes);
            Some(Self::of(text, escapes))
        })
    }

    fn of(text: &str, escapes: Escapes) -> Self {
        let mut read = Self {
            bytes: Vec::with_capacity(text.len()),
            places: Vec::with_capacity(text.len() + 1),
        };
        let mut at = 0;
        while let Some(byte) = text.as_bytes().get(at) {
            // an escape begins with an ASCII character, never within another
            let escape = if byte.is_ascii() {
                escapes.decode(&text[at..])
            } else {
                None
            };
            let length = match escape {
                Some((Decoded::Byte(byte), length)) => {
                    read.push(at, &[byte]);
                    length
                }
                Some((Decoded::Char(c), length)) => {
                    read.push(at, c.encode_utf8(&mut [0; 4]).as_bytes());
                    length
                }
                None => {
                    read.push(at, &[*byte]);
                    1
                }
            };
            at += length;
        }
        read.places.push(at);
        read
    }

    fn push(&mut self, at: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.places.resize(self.bytes.len(), at);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in the text something of what was read is written.
    pub(super) fn place(&self, read: Range<usize>) -> Range<usize> {
        self.places[read.start]..self.places[read.end]
    }
}

fn percent(text: &str) -> Option<u8> {
    u8::try_from(hex(text.get(1..3)?)?).ok()
}

fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(LONGEST_ENTITY).position(|byte| byte == b';')?;
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
    Some((stands_for, end + 1))
}

fn backslash(text: &str) -> Option<(char, usize)> {
    let stands_for = match text.as_bytes().get(1)? {
        b'u' => return unicode(text),
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        other @ (b'"' | b'\'' | b'\\' | b'/') => char::from(*other),
        _ => return None,
    };
    Some((stands_for, 2))
}

/// `\u0041`, or two of them for a character beyond 16 bits.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::try_from(hex(digits)?).ok()
    };
    let first = unit(0)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Some((c, 6));
    }
    let both = char::decode_utf16([first, unit(6)?]).next()?;
    both.ok().map(|c| (c, 12))
}

fn hex(digits: &str) -> Option<u32> {
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}
