//! Items that are shown with a question of ours: as much of them as fits.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use signoff_api::{Digest, MediaType, approval::ShownItem, bounds};

/// Largest shown item, in bytes.
const MAX_ITEM: usize = bounds::MAX_SHOWN;

/// An item with this text. Of one that is too large the beginning is shown, with how much is left out and the digest of all of it.
pub(crate) fn item(name: &str, media_type: &str, text: String) -> ShownItem {
    let (media_type, inline) = if text.len() <= MAX_ITEM {
        (media_type, text)
    } else {
        // what is cut is no document of its type any more
        ("text/plain", beginning(&text))
    };
    ShownItem {
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        inline,
        editable: None,
    }
}

/// What is said of a picture or a sound where it is not shown itself: size and digest of its bytes.
pub fn binary(item: &ShownItem) -> Option<String> {
    let media_type: MediaType = item.media_type.parse().ok()?;
    let bytes = media_type
        .is_binary()
        .then(|| STANDARD.decode(&item.inline).ok())
        .flatten()?;
    let digest = Digest::of(&bytes);
    Some(format!("{media_type}, {} bytes, {digest}", bytes.len()))
}

fn beginning(text: &str) -> String {
    let (size, digest) = (text.len(), Digest::of(text.as_bytes()));
    let told = |end: usize| {
        format!(
            "\n… {} of {size} bytes are left out; the digest of all of it is {digest}\n",
            size - end
        )
    };
    let end = text.floor_char_boundary(MAX_ITEM - told(0).len());
    format!("{}{}", &text[..end], told(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_picture_its_size_and_digest_are_said() {
        let picture = item("a", "image/png", "AAAA".to_owned());
        let digest = Digest::of(&[0, 0, 0]);
        assert_eq!(binary(&picture).unwrap(), format!("image/png, 3 bytes, {digest}"));
        assert_eq!(binary(&item("a", "text/plain", "AAAA".to_owned())), None);
        assert_eq!(binary(&item("a", "image/png", "?".to_owned())), None);
    }

    #[test]
    fn of_what_is_too_large_the_beginning_is_shown_with_size_and_digest() {
        let small = item("a", "application/json", "{}".to_owned());
        assert_eq!(
            (small.media_type.as_str(), small.inline.as_str()),
            ("application/json", "{}")
        );
        let large = "é".repeat(100_000);
        let shown = item("a", "application/json", large.clone());
        assert!(shown.inline.len() <= MAX_ITEM, "{}", shown.inline.len());
        let (start, told) = shown.inline.split_once("\n… ").unwrap();
        assert!(large.starts_with(start));
        let left = large.len() - start.len();
        let digest = Digest::of(large.as_bytes());
        assert_eq!(
            told,
            format!("{left} of 200000 bytes are left out; the digest of all of it is {digest}\n")
        );
        assert_eq!(shown.media_type, "text/plain");
    }
}
