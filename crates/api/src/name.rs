//! Names that become part of an API path: parsed where they come in, so that no other text gets there.

use std::{borrow::Cow, fmt, ops::Deref, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A DNS subdomain, as Kubernetes names most objects.
pub const SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A DNS label, as Kubernetes names namespaces and Signoff names steps.
pub const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A key of a Secret.
pub const SECRET_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// An object id of git, perhaps cut.
pub const COMMIT: &str = "^[0-9a-f]{7,64}$";

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected} of at most {max} characters{hint}")]
pub struct NameError {
    text: String,
    expected: &'static str,
    max: usize,
    hint: &'static str,
}

impl NameError {
    fn new(text: &str, expected: &'static str, max: usize) -> Self {
        Self {
            text: text.chars().take(64).collect(),
            expected,
            max,
            hint: if text.contains("${") {
                "; expressions are not taken here"
            } else {
                ""
            },
        }
    }
}

/// What all names have in common: text behind a parser, whose schema says what the parser takes.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident $(<const $max:ident: usize>)?, $length:expr, $pattern:expr, $expected:literal, $is:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type $(<const $max: usize>)? (String);

        // as the text it is: messages quote names
        impl $(<const $max: usize>)? fmt::Debug for $type $(<$max>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl $(<const $max: usize>)? $type $(<$max>)? {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $(<const $max: usize>)? FromStr for $type $(<$max>)? {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if text.len() <= $length && $is(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError::new(text, $expected, $length))
                }
            }
        }

        impl<'de $(, const $max: usize)?> Deserialize<'de> for $type $(<$max>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl $(<const $max: usize>)? JsonSchema for $type $(<$max>)? {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "minLength": 1, "maxLength": $length })
            }
        }

        impl $(<const $max: usize>)? Deref for $type $(<$max>)? {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl $(<const $max: usize>)? AsRef<str> for $type $(<$max>)? {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl $(<const $max: usize>)? fmt::Display for $type $(<$max>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl $(<const $max: usize>)? From<$type $(<$max>)?> for String {
            fn from(name: $type $(<$max>)?) -> Self {
                name.0
            }
        }

        impl $(<const $max: usize>)? PartialEq<str> for $type $(<$max>)? {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl $(<const $max: usize>)? PartialEq<&str> for $type $(<$max>)? {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl $(<const $max: usize>)? PartialEq<String> for $type $(<$max>)? {
            fn eq(&self, other: &String) -> bool {
                &self.0 == other
            }
        }

        impl $(<const $max: usize>)? PartialEq<$type $(<$max>)?> for String {
            fn eq(&self, other: &$type $(<$max>)?) -> bool {
                self == &other.0
            }
        }
    };
}

name! {
    /// A DNS subdomain of at most `MAX` characters.
    DnsName<const MAX: usize>, MAX, SUBDOMAIN,
    "a name: lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit,", is_subdomain
}
name! {
    /// A DNS label, such as the name of a namespace or a step.
    DnsLabel, 63, LABEL,
    "a name: lower-case letters, digits and dashes, beginning and ending with a letter or digit,", is_label
}
name! {
    /// A key in a Secret's `data`.
    SecretKey, 253, SECRET_KEY,
    "a key of a Secret: letters, digits, dashes, dots and underscores", is_secret_key
}

/// Name of any object.
pub type ObjectName = DnsName<253>;
/// Name of a Flow.
pub type FlowName = DnsName<{ super::names::MAX_NAME }>;
/// Name of a Release.
pub type ReleaseName = DnsName<63>;
/// Name of a Run.
pub type RunName = DnsName<63>;

/// Whether a text is a DNS label but for its length.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text is a DNS subdomain but for its length.
fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// Whether a text is a key of a Secret but for its length.
fn is_secret_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_told_that_it_is_not_taken() {
        let told = |text: &str| text.parse::<DnsLabel>().unwrap_err().to_string();
        assert!(told("${inputs.q}").ends_with("; expressions are not taken here"));
        assert!(told("A b").ends_with("63 characters"));
    }

    #[test]
    fn what_would_lead_elsewhere_in_a_path_is_no_name() {
        for text in [
            "",
            ".",
            "..",
            "../../other/connections/conn",
            "repo/status",
            "repo%2Fstatus",
            "repo?x=1",
            "repo#x",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "A",
            "a_b",
            "a b",
            "a\n",
            "ä",
            &"a".repeat(254),
        ] {
            assert!(text.parse::<ObjectName>().is_err(), "{text}");
            assert!(text.parse::<DnsLabel>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_as_long_as_their_kind_allows() {
        for text in ["a", "a.b-c.d0", "0", &"a".repeat(253)] {
            assert_eq!(text.parse::<ObjectName>().unwrap(), text);
        }
        assert!("a".repeat(52).parse::<FlowName>().is_ok() && "a".repeat(53).parse::<FlowName>().is_err());
        assert!("a".repeat(63).parse::<DnsLabel>().is_ok() && "a".repeat(64).parse::<DnsLabel>().is_err());
        assert!("a.b".parse::<DnsLabel>().is_err());
        assert!("tls.crt_A-1".parse::<SecretKey>().is_ok() && "a/b".parse::<SecretKey>().is_err());
    }
}
