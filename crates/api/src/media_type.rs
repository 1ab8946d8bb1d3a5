//! Media types of what a question shows: those that people can be shown as what they are.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Pattern of a media type in the schema. Pictures and sounds have a subtype of their own.
const PATTERN: &str =
    "^(application/json|text/(markdown|x-diff|plain)|(image|audio)/[a-z0-9][a-z0-9.+-]{0,62})$";

/// How a shown item is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// Any value, as JSON.
    Json,
    /// A text in Markdown.
    Markdown,
    /// A text that says what changes.
    Diff,
    /// Any other text.
    Plain,
    /// A picture, in base64.
    Image(String),
    /// A sound, in base64.
    Audio(String),
}

/// Why a text is no media type that can be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not application/json, text/markdown, text/x-diff, text/plain, or a type of image or audio in lower case"
)]
pub struct MediaTypeError(String);

impl MediaType {
    /// Whether it is a picture or a sound.
    pub fn is_binary(&self) -> bool {
        match self {
            Self::Image(_) | Self::Audio(_) => true,
            Self::Json | Self::Markdown | Self::Diff | Self::Plain => false,
        }
    }
}

fn is_subtype(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_letter)
        && text.len() <= 63
        && text.chars().all(|c| is_letter(c) || matches!(c, '.' | '+' | '-'))
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let known = match text {
            "application/json" => Some(Self::Json),
            "text/markdown" => Some(Self::Markdown),
            "text/x-diff" => Some(Self::Diff),
            "text/plain" => Some(Self::Plain),
            _ => None,
        };
        let of = |kind: &str| {
            let subtype = text.strip_prefix(kind)?.strip_prefix('/')?;
            is_subtype(subtype).then(|| subtype.to_owned())
        };
        let binary = || {
            of("image")
                .map(Self::Image)
                .or_else(|| of("audio").map(Self::Audio))
        };
        known
            .or_else(binary)
            .ok_or_else(|| MediaTypeError(text.chars().take(60).collect()))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json => f.write_str("application/json"),
            Self::Markdown => f.write_str("text/markdown"),
            Self::Diff => f.write_str("text/x-diff"),
            Self::Plain => f.write_str("text/plain"),
            Self::Image(subtype) => write!(f, "image/{subtype}"),
            Self::Audio(subtype) => write!(f, "audio/{subtype}"),
        }
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MediaType {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MediaType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 128 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_read_as_it_is_written() {
        for good in [
            "application/json",
            "text/markdown",
            "text/x-diff",
            "text/plain",
            "image/png",
            "image/svg+xml",
            "audio/x-wav",
        ] {
            assert_eq!(good.parse::<MediaType>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "text/html",
            "image/",
            "image/PNG",
            "image/png; q=1",
            "image/.a",
            "video/mp4",
            "image/a/b",
        ] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad}");
        }
    }
}
