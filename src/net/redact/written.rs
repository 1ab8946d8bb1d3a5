//! Finds one secret in a text, however it is written there, in time that grows with the text and with the secret, never
//! with both multiplied.

use std::{fmt::Write as _, ops::Range};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem::Finder;

use super::unescaped::Unescaped;

/// A secret below this many bytes is found only where it stands by itself: within other words it would be found everywhere.
const SHORT: usize = 8;

/// One secret and the forms that do not keep its characters apart.
#[derive(Clone)]
pub(super) struct Written {
    secret: Finder<'static>,
    /// Hexadecimal, in lower case.
    hex: Option<Finder<'static>>,
    /// What the secret makes of base64 text, alone or within longer bytes that are encoded together.
    base64: Vec<Finder<'static>>,
}

impl Written {
    pub(super) fn new(secret: &str) -> Self {
        let is_short = secret.len() < SHORT;
        let base64 = if is_short {
            // alone only, as everything of a short one
            vec![STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret)]
        } else {
            let mut cores = Vec::new();
            for before in 0..3 {
                let core = base64_core(secret.as_bytes(), before);
                let url_safe = core.replace('+', "-").replace('/', "_");
                cores.extend([core, url_safe]);
            }
            cores.dedup();
            cores
        };
        Self {
            secret: finder(secret),
            hex: (!is_short).then(|| finder(&hex(secret))),
            base64: base64.iter().map(|core| finder(core)).collect(),
        }
    }

    /// What is looked for in bytes. A short secret would be found in many that have nothing to do with it.
    pub(super) fn needles(&self) -> impl Iterator<Item = Finder<'static>> {
        let is_long = self.secret.needle().len() >= SHORT;
        let all = [&self.secret].into_iter().chain(&self.hex).chain(&self.base64);
        all.filter(move |_| is_long).cloned()
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.secret.needle() == text.as_bytes()
    }

    /// Whether a text is too short to hold the secret in any form: none is shorter than the secret itself.
    pub(super) fn is_longer_than(&self, text: &str) -> bool {
        self.secret.needle().len() > text.len()
    }

    /// Adds where the secret is in a text, as it is, as base64 and as hexadecimal digits.
    pub(super) fn find(&self, text: &Text<'_>, found: &mut Vec<Range<usize>>) {
        let bytes = text.as_it_is.as_bytes();
        let mut keep = |place| self.keep(text.as_it_is, place, found);
        let length = self.secret.needle().len();
        self.secret.find_iter(bytes).for_each(|at| keep(at..at + length));
        for core in &self.base64 {
            let length = core.needle().len();
            core.find_iter(bytes)
                .for_each(|at| keep(around_base64(text.as_it_is, at..at + length)));
        }
        if let Some(hex) = &self.hex {
            let length = hex.needle().len();
            hex.find_iter(text.lower.as_bytes())
                .for_each(|at| keep(at..at + length));
        }
    }

    /// Adds where the secret is in a text whose escapes were decoded.
    pub(super) fn find_unescaped(&self, text: &str, read: &Unescaped, found: &mut Vec<Range<usize>>) {
        let length = self.secret.needle().len();
        for at in self.secret.find_iter(read.bytes()) {
            self.keep(text, read.place(at..at + length), found);
        }
    }

    /// Keeps a place, of a short secret only where it stands by itself.
    fn keep(&self, text: &str, place: Range<usize>, found: &mut Vec<Range<usize>>) {
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let within =
            || word(text[..place.start].chars().next_back()) || word(text[place.end..].chars().next());
        if self.secret.needle().len() >= SHORT || !within() {
            found.push(place);
        }
    }
}

/// A text that is searched.
pub(super) struct Text<'a> {
    as_it_is: &'a str,
    /// Of the same length, since only ASCII letters change.
    lower: String,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            as_it_is: text,
            lower: text.to_ascii_lowercase(),
        }
    }
}

fn finder(text: &str) -> Finder<'static> {
    Finder::new(text.as_bytes()).into_owned()
}

fn hex(secret: &str) -> String {
    secret.bytes().fold(String::new(), |mut digits, byte| {
        // writing to a String cannot fail
        let _ = write!(digits, "{byte:02x}");
        digits
    })
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
