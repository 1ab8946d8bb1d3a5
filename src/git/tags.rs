//! Which tag is the newest: the highest semantic version among those that a pattern names.

use std::{fmt, str::FromStr};

use semver::Version;

use super::refs::RefName;

/// Tags of versions, such as `v*`, `flows/v1.*` or `release-*`: at most one `*`, which stands for any text without `/`.
///
/// The version is what follows the letters that the last part of the pattern begins with, by [SemVer 2.0](https://semver.org). A tag
/// that has none is passed over. Pre-releases count only where the pattern has a `-` after those letters, as in
/// `v2.0.0-*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagPattern {
    before: String,
    /// What follows the `*`; nothing if there is no `*`.
    after: Option<String>,
}

/// The text is no pattern for tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a pattern for tags; write one such as v*, with at most one *")]
pub struct TagPatternError(String);

impl TagPattern {
    /// The highest version among refs of a remote, by full name.
    pub(super) fn highest<'a>(&self, refs: impl Iterator<Item = &'a str>) -> Option<RefName> {
        let versions = refs.filter_map(|name| {
            let tag = name.strip_prefix("refs/tags/")?;
            let version = self.version(tag)?;
            Some((version, name))
        });
        // of versions that differ in their build only, the order is arbitrary, but the same each time
        let (_, name) = versions.max()?;
        name.parse().ok()
    }

    fn version(&self, tag: &str) -> Option<Version> {
        let rest = tag.strip_prefix(&self.before)?;
        match &self.after {
            None if !rest.is_empty() => return None,
            None => {}
            Some(after) => {
                let any = rest.strip_suffix(after.as_str())?;
                if any.contains('/') {
                    return None;
                }
            }
        }
        let letters = self.letters();
        let version = Version::parse(tag[letters..].trim_start_matches(['v', 'V'])).ok()?;
        let fixed = self.before.get(letters..).unwrap_or_default();
        let names_pre = fixed.contains('-') || self.after.as_ref().is_some_and(|after| after.contains('-'));
        (version.pre.is_empty() || names_pre).then_some(version)
    }

    /// How many bytes of a tag come before its version.
    fn letters(&self) -> usize {
        let last = self.before.rfind('/').map_or(0, |slash| slash + 1);
        let digit = self.before[last..].find(|c: char| c.is_ascii_digit());
        digit.map_or(self.before.len(), |digit| last + digit)
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.before)?;
        self.after.as_ref().map_or(Ok(()), |after| write!(f, "*{after}"))
    }
}

impl FromStr for TagPattern {
    type Err = TagPatternError;

    fn from_str(text: &str) -> Result<Self, TagPatternError> {
        let error = || TagPatternError(text.to_owned());
        let pattern = match text.split_once('*') {
            None => Self {
                before: text.to_owned(),
                after: None,
            },
            Some((before, after)) => Self {
                before: before.to_owned(),
                after: Some(after.to_owned()),
            },
        };
        // what is left must be the name of a tag once the star stands for something
        let named = format!("refs/tags/{}", text.replacen('*', "0", 1));
        named.parse::<RefName>().map_err(|_| error())?;
        Ok(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highest(pattern: &str, tags: &[&str]) -> Option<String> {
        let refs: Vec<String> = tags.iter().map(|tag| format!("refs/tags/{tag}")).collect();
        let found = pattern
            .parse::<TagPattern>()
            .unwrap()
            .highest(refs.iter().map(String::as_str));
        found.map(|name| name.as_str().strip_prefix("refs/tags/").unwrap().to_owned())
    }

    #[test]
    fn the_highest_version_is_found_by_number_and_not_by_name() {
        for (pattern, tags, wanted) in [
            ("v*", &["v1.9.0", "v1.10.0", "v1.2.11"][..], Some("v1.10.0")),
            ("v*", &["v2.0.0-rc.1", "v1.0.0"], Some("v1.0.0")),
            (
                "v2.0.0-*",
                &["v2.0.0-rc.2", "v2.0.0-rc.10", "v1.0.0"],
                Some("v2.0.0-rc.10"),
            ),
            ("v1.*", &["v2.0.0", "v1.4.0", "v1.3.9"], Some("v1.4.0")),
            ("*", &["v1.0.0", "2.0.0", "nightly", "v3"], Some("2.0.0")),
            (
                "release-*",
                &["release-1.0.0", "release-1.0.1", "v9.0.0"],
                Some("release-1.0.1"),
            ),
            (
                "release-*",
                &["release-2.0.0-rc.1", "release-1.0.1"],
                Some("release-1.0.1"),
            ),
            (
                "flows/v*",
                &["flows/v1.0.0", "v9.0.0", "flows/v2.0.0/x"],
                Some("flows/v1.0.0"),
            ),
            ("flows2/v*", &["flows2/v1.0.0"], Some("flows2/v1.0.0")),
            (
                "v*-stable",
                &["v1.0.0-stable", "v2.0.0", "v1.1.0-stable"],
                Some("v1.1.0-stable"),
            ),
            ("v1.2.3", &["v1.2.3", "v1.2.30"], Some("v1.2.3")),
            ("v*", &["v1", "vx", "v01.0.0"], None),
            ("v*", &[], None),
        ] {
            assert_eq!(highest(pattern, tags).as_deref(), wanted, "{pattern} of {tags:?}");
        }
    }

    #[test]
    fn what_cannot_name_a_tag_is_refused() {
        for text in ["", "v**", "v*.*", "a b*", "v*~1", "/v*", "v..*"] {
            assert!(text.parse::<TagPattern>().is_err(), "{text}");
        }
        for text in ["*", "v*", "a/b-*", "v1.0.0"] {
            assert_eq!(text.parse::<TagPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_branch_is_no_tag() {
        let pattern: TagPattern = "v*".parse().unwrap();
        assert_eq!(
            pattern.highest(["refs/heads/v1.0.0", "refs/pull/1/head"].into_iter()),
            None
        );
    }
}
