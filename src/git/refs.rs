//! Names of refs.

use std::{fmt, str::FromStr};

use super::{commit::CommitId, tags::TagPattern};

/// A full ref name such as `refs/heads/main`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

/// The text is neither a branch name nor a full ref.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a ref; write a branch name such as main, or a full ref such as refs/tags/v1")]
pub struct RefNameError(String);

/// Which ref of a remote is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefSelector {
    /// The one of this name.
    Name(RefName),
    /// The tag with the highest version.
    HighestTag(TagPattern),
}

impl RefSelector {
    /// The ref that is meant, of those that a remote has.
    pub(super) fn select<'a>(&self, mut refs: impl Iterator<Item = &'a str>) -> Option<RefName> {
        match self {
            Self::Name(name) => refs.any(|one| one == name.as_str()).then(|| name.clone()),
            Self::HighestTag(pattern) => pattern.highest(refs),
        }
    }
}

impl fmt::Display for RefSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::HighestTag(pattern) => write!(f, "tag {pattern}"),
        }
    }
}

/// Where a ref is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefAt {
    /// Which ref it is.
    pub name: RefName,
    /// The commit it is or, as an annotated tag, points at.
    pub commit: CommitId,
}

impl RefName {
    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The head of a pull request where forges keep it: `refs/<folder>/<number>/head`. The folder is one word.
    pub(crate) fn numbered(folder: &'static str, number: u64) -> Self {
        Self(format!("refs/{folder}/{number}/head"))
    }

    /// The tag's name, if it is a tag.
    pub(super) fn tag(&self) -> Option<&str> {
        self.0.strip_prefix("refs/tags/")
    }

    /// Where the mirror keeps what this ref of the remote was last seen at.
    pub(super) fn mirrored(&self) -> String {
        format!("refs/mirror/{}", self.0.trim_start_matches("refs/"))
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RefName {
    type Err = RefNameError;

    fn from_str(text: &str) -> Result<Self, RefNameError> {
        let full = if text.starts_with("refs/") {
            text.to_owned()
        } else {
            format!("refs/heads/{text}")
        };
        // a wildcard would be a pattern of a refspec rather than a name
        if full.len() <= 255 && !full.contains('*') && git2::Reference::is_valid_name(&full) {
            Ok(Self(full))
        } else {
            Err(RefNameError(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_a_branch() {
        assert_eq!("main".parse::<RefName>().unwrap().as_str(), "refs/heads/main");
        assert_eq!(
            "refs/tags/v1".parse::<RefName>().unwrap().mirrored(),
            "refs/mirror/tags/v1"
        );
    }

    #[test]
    fn refuses_what_git_refuses() {
        for text in [
            "",
            "a..b",
            "a b",
            "-a*",
            "x:y",
            "refs/heads/",
            "a.lock",
            "a~1",
            "+main",
        ] {
            let parsed = text.parse::<RefName>();
            // a leading plus is a legal name, and never reaches a refspec unescaped
            assert_eq!(parsed.is_ok(), text == "+main", "{text}");
        }
    }
}
