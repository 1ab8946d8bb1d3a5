//! Pictures: the formats that every browser draws and that hold no script.

use signoff_api::MediaType;

/// A format of pictures that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Picture {
    Png,
    Jpeg,
    Gif,
    WebP,
}

impl Picture {
    /// The format, if the content is of the type that it is said to be.
    pub(in crate::web) fn of(media_type: &MediaType, content: &[u8]) -> Option<Self> {
        let MediaType::Image(subtype) = media_type else {
            return None;
        };
        let format = match subtype.as_str() {
            "png" => Self::Png,
            "jpeg" => Self::Jpeg,
            "gif" => Self::Gif,
            "webp" => Self::WebP,
            // others may hold scripts, or browsers differ in them
            _ => return None,
        };
        format.begins(content).then_some(format)
    }

    /// Its media type.
    pub(in crate::web) fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    fn begins(self, content: &[u8]) -> bool {
        match self {
            Self::Png => content.starts_with(b"\x89PNG\r\n\x1a\n"),
            Self::Jpeg => content.starts_with(b"\xff\xd8\xff"),
            Self::Gif => content.starts_with(b"GIF87a") || content.starts_with(b"GIF89a"),
            Self::WebP => content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_picture_and_says_so_is_drawn() {
        let of = |media_type: &str, content: &[u8]| Picture::of(&media_type.parse().unwrap(), content);
        assert_eq!(of("image/png", b"\x89PNG\r\n\x1a\n..."), Some(Picture::Png));
        assert_eq!(of("image/gif", b"GIF89a..."), Some(Picture::Gif));
        assert_eq!(of("image/webp", b"RIFF\0\0\0\0WEBPVP8 "), Some(Picture::WebP));
        assert_eq!(of("image/jpeg", b"\xff\xd8\xff\xe0"), Some(Picture::Jpeg));
        for (media_type, content) in [
            ("image/png", &b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..]),
            ("image/png", b"GIF89a"),
            ("image/svg+xml", b"\x89PNG\r\n\x1a\n"),
            ("audio/wav", b"RIFF\0\0\0\0WAVE"),
            ("text/plain", b"GIF89a"),
            ("image/gif", b""),
        ] {
            assert_eq!(of(media_type, content), None, "{media_type}");
        }
    }
}
