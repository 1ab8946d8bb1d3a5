//! The list of refs with which a remote begins. libgit2 keeps all of it, and takes each name for UTF-8: git does not ask that of a name.

use bytes::{Bytes, BytesMut};

use super::error::GitError;

/// Stands for each byte of a name that is not UTF-8. No ref has it in its name, so such a ref is one that nobody can follow.
const MASK: u8 = b'?';

/// The list as it comes in.
#[derive(Debug)]
pub(super) struct Listing {
    /// Bytes that may still come.
    left: u64,
    limit: u64,
    /// The beginning of a character whose rest has not come yet.
    partial: Vec<u8>,
}

impl Listing {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            left: limit,
            limit,
            partial: Vec::new(),
        }
    }

    /// Takes what came, and gives what may be passed on: as many bytes, some of them later.
    pub(super) fn pass(&mut self, chunk: &Bytes) -> Result<Bytes, GitError> {
        let left = self.left.checked_sub(chunk.len() as u64);
        self.left = left.ok_or(GitError::TooManyRefs { limit: self.limit })?;
        let mut bytes = BytesMut::with_capacity(self.partial.len() + chunk.len());
        bytes.extend_from_slice(&self.partial);
        bytes.extend_from_slice(chunk);
        self.partial.clear();
        let mut at = 0;
        while let Err(error) = std::str::from_utf8(&bytes[at..]) {
            let bad = at + error.valid_up_to();
            let Some(length) = error.error_len() else {
                self.partial = bytes.split_off(bad).to_vec();
                break;
            };
            at = bad + length;
            bytes[bad..at].fill(MASK);
        }
        Ok(bytes.freeze())
    }

    /// What is left when nothing more comes.
    pub(super) fn rest(&mut self) -> Bytes {
        let length = std::mem::take(&mut self.partial).len();
        Bytes::from(vec![MASK; length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_stay_and_bad_bytes_are_masked_however_they_are_cut() {
        let text = "größe \u{1F600} ".as_bytes().to_vec();
        let bad = [text.as_slice(), b"\xff\xc3", b"x\xf0\x9f"].concat();
        let wanted = [text.as_slice(), b"??x??"].concat();
        for size in 1..bad.len() {
            let mut listing = Listing::new(1_000);
            let mut passed = Vec::new();
            for chunk in bad.chunks(size) {
                passed.extend_from_slice(&listing.pass(&Bytes::copy_from_slice(chunk)).unwrap());
            }
            passed.extend_from_slice(&listing.rest());
            assert_eq!(passed, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn a_list_longer_than_the_limit_is_refused() {
        let mut listing = Listing::new(5);
        assert!(listing.pass(&Bytes::from_static(b"abc")).is_ok());
        let error = listing.pass(&Bytes::from_static(b"abc")).unwrap_err();
        assert!(matches!(error, GitError::TooManyRefs { limit: 5 }));
    }
}
