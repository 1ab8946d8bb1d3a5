//! Takes secrets out of bytes that come in pieces, in memory that does not grow with them. A secret is found as it is, as base64
//! and as hexadecimal digits.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use super::REDACTED;

/// Fewer bytes than these are not looked at before more of them come.
const ENOUGH: usize = 16 * 1024;

/// Bytes on their way.
#[derive(Debug)]
pub struct StreamRedactor {
    needles: Vec<Finder<'static>>,
    /// Length of the longest needle.
    longest: usize,
    held: BytesMut,
}

impl StreamRedactor {
    pub(super) fn new(needles: impl Iterator<Item = Finder<'static>>) -> Self {
        let needles: Vec<_> = needles.collect();
        let longest = needles.iter().map(|needle| needle.needle().len()).max();
        Self {
            needles,
            longest: longest.unwrap_or_default(),
            held: BytesMut::new(),
        }
    }

    /// Takes in a piece, and gives out what is known to hold no secret.
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        if self.needles.is_empty() {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        if self.held.len() < self.longest + ENOUGH {
            return Bytes::new();
        }
        // a secret may begin in what is left
        self.take(self.longest - 1)
    }

    /// The rest.
    pub fn finish(mut self) -> Bytes {
        self.take(0)
    }

    /// Takes out everything but so many bytes at the end.
    fn take(&mut self, left: usize) -> Bytes {
        let end = self.held.len() - left;
        let mut taken = BytesMut::with_capacity(end);
        let mut at = 0;
        while at < end {
            let Some((found, length)) = self.first(at) else {
                break;
            };
            if found >= end {
                break;
            }
            taken.extend_from_slice(&self.held[at..found]);
            taken.extend_from_slice(REDACTED.as_bytes());
            at = found + length;
        }
        let end = end.max(at);
        taken.extend_from_slice(&self.held[at..end]);
        let _ = self.held.split_to(end);
        taken.freeze()
    }

    /// Where the first secret is, and how long it is.
    fn first(&self, from: usize) -> Option<(usize, usize)> {
        let found = self.needles.iter().filter_map(|needle| {
            let at = needle.find(&self.held[from..])?;
            Some((from + at, needle.needle().len()))
        });
        // of two at one place the longer one
        found.min_by_key(|(at, length)| (*at, std::cmp::Reverse(*length)))
    }
}
