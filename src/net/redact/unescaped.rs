//! A text with its escapes decoded, which still knows where everything was written.

use std::ops::Range;

/// Longest entity that is decoded: `&#x10FFFF;`, with a few zeros.
const LONGEST_ENTITY: usize = 12;

/// A way in which others escape characters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// `%41`, as in URLs.
    Percent,
    /// `+` is a space, as in forms.
    Plus,
    /// `&amp;`, as in HTML.
    Entity,
    /// `\n`, as in JSON.
    Backslash,
}

use Escape::{Backslash, Entity, Percent, Plus};

/// The sets of escapes that a text is read with. A server uses one way, and sometimes one within another. So each way stands
/// alone, since an escape of one may be ordinary text in another, and they stand together.
const READINGS: [&[Escape]; 7] = [
    &[Percent],
    &[Percent, Plus],
    &[Entity],
    &[Backslash],
    &[Entity, Backslash],
    &[Percent, Entity, Backslash],
    &[Percent, Plus, Entity, Backslash],
];

impl Escape {
    /// The byte with which it begins.
    fn mark(self) -> u8 {
        match self {
            Percent => b'%',
            Plus => b'+',
            Entity => b'&',
            Backslash => b'\\',
        }
    }

    /// What the escape at the beginning of a text stands for, and its length.
    fn decode(self, text: &str) -> Option<(Decoded, usize)> {
        match self {
            Percent => Some((Decoded::Byte(percent(text)?), 3)),
            Plus => Some((Decoded::Char(' '), 1)),
            Entity => entity(text).map(|(c, length)| (Decoded::Char(c), length)),
            Backslash => backslash(text).map(|(c, length)| (Decoded::Char(c), length)),
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
        let mut seen: Vec<Vec<Escape>> = Vec::new();
        READINGS.into_iter().filter_map(move |escapes| {
            let is_there = |escape: &Escape| memchr::memchr(escape.mark(), text.as_bytes()).is_some();
            let escapes: Vec<Escape> = escapes.iter().copied().filter(is_there).collect();
            if escapes.is_empty() || seen.contains(&escapes) {
                return None;
            }
            let read = Self::of(text, &escapes);
            seen.push(escapes);
            Some(read)
        })
    }

    fn of(text: &str, escapes: &[Escape]) -> Self {
        let mut read = Self {
            bytes: Vec::with_capacity(text.len()),
            places: Vec::with_capacity(text.len() + 1),
        };
        let mut at = 0;
        while let Some(byte) = text.as_bytes().get(at) {
            // an escape begins with an ASCII character, never within another
            let escape = escapes.iter().find(|escape| escape.mark() == *byte);
            let escape = escape.and_then(|escape| escape.decode(&text[at..]));
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
