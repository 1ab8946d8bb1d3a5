//! Names that come from data and go to a git remote: parsed where they come in, so that no other text gets there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::is_hidden;

/// Longest path of a file, in bytes.
const MAX_PATH: usize = 1024;
/// Longest name of a branch, in bytes: with `refs/heads/` it fits every forge.
const MAX_BRANCH: usize = 200;
/// Deepest path.
const MAX_DEPTH: usize = 64;

/// Why a text is no path of a file in a repository, or no name of a branch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {why}")]
pub struct GitNameError {
    text: String,
    why: &'static str,
}

/// Path of a file in a repository: relative, with `/`, and none that git or a file system takes for something else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RepositoryPath(String);

impl RepositoryPath {
    /// Reads a path.
    ///
    /// # Errors
    /// If it is none, or leads out of the repository or into git's own folder on any file system.
    pub fn parse(text: &str) -> Result<Self, GitNameError> {
        let refused = |why| {
            let text = text.chars().take(128).collect();
            Err(GitNameError { text, why })
        };
        if text.is_empty() || text.len() > MAX_PATH {
            return refused("is no path: it has 1 to 1024 bytes");
        }
        if text.chars().any(|c| is_hidden(c) || c == '\\') {
            return refused("is no path: it has a backslash, or a character that is hidden or controls");
        }
        if text.split('/').count() > MAX_DEPTH {
            return refused("is no path: it has more than 64 parts");
        }
        for part in text.split('/') {
            match part {
                "" => return refused("is no path: it begins or ends with a slash, or has two in a row"),
                "." | ".." => return refused("is no path: it has a part that is . or .."),
                part if is_dot_git(part) => {
                    return refused("is no path: it has a part that a file system may take for .git");
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether another path lies below this one.
    pub fn is_above(&self, other: &Self) -> bool {
        other
            .0
            .strip_prefix(&self.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a file system may take a name for `.git`: HFS+ passes over hidden characters, Windows over dots and spaces at the end and
/// over streams, and `git~1` is its short name there.
fn is_dot_git(part: &str) -> bool {
    let seen: String = part.chars().filter(|c| !is_hidden(*c)).collect();
    // a stream of a file, as in `.git::$INDEX_ALLOCATION`
    let name = seen.split(':').next().unwrap_or_default();
    let name = name.trim_end_matches(['.', ' ']);
    name.eq_ignore_ascii_case(".git") || name.eq_ignore_ascii_case("git~1")
}

/// Name of a branch, without `refs/heads/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BranchName(String);

impl BranchName {
    /// Reads a name as `git check-ref-format --branch` does.
    ///
    /// # Errors
    /// If git takes no branch of this name, or may take it for another ref.
    pub fn parse(text: &str) -> Result<Self, GitNameError> {
        let bad_part = |part: &str| {
            part.is_empty()
                || part.starts_with('.')
                || part.ends_with('.')
                // Windows and macOS fold cases
                || part.to_ascii_lowercase().ends_with(".lock")
        };
        let why = if text.is_empty() || text.len() > MAX_BRANCH {
            "is no branch: its name has 1 to 200 bytes"
        } else if text
            .chars()
            .any(|c| matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'))
        {
            "is no branch: its name has a character that git does not allow"
        } else if text.chars().any(is_hidden) {
            "is no branch: its name has a character that is hidden or controls"
        } else if text.contains("..") || text.contains("@{") || text == "@" {
            "is no branch: git reads its name as something else"
        } else if text.starts_with('-') || text.starts_with("refs/") || text.eq_ignore_ascii_case("head") {
            "is no branch: its name begins as that of something else; write it without refs/heads/"
        } else if text.split('/').any(bad_part) {
            "is no branch: a part of its name is empty, begins or ends with a dot, or ends with .lock"
        } else {
            return Ok(Self(text.to_owned()));
        };
        let text = text.chars().take(128).collect();
        Err(GitNameError { text, why })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_file_of_the_repository_and_nowhere_else() {
        for good in [
            "a",
            "a/b.yaml",
            ".gitignore",
            ".github/workflows/x.yaml",
            "ä ö/…",
            "git",
            "a/..b",
            "...a",
        ] {
            assert!(RepositoryPath::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            ".git",
            ".GIT/config",
            "a/.Git/hooks/x",
            ".git.",
            ".git ",
            ".git::$INDEX_ALLOCATION/config",
            "GIT~1/config",
            ".g\u{200c}it/config",
            "a\\b",
            "a\nb",
            "a\0b",
            "\u{feff}.git",
            "\u{202e}evil",
            "a/b\u{200b}.yaml",
        ] {
            assert!(RepositoryPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(RepositoryPath::parse(&"a".repeat(1025)).is_err());
        assert!(RepositoryPath::parse(&vec!["a"; 65].join("/")).is_err());
    }

    #[test]
    fn a_branch_is_one_that_git_takes() {
        for good in ["main", "signoff/run-1", "feature/ä", "a.b", "a@b", "heads"] {
            assert!(BranchName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "a..b",
            "a/",
            "/a",
            "a//b",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a.LOCK",
            "-a",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "@",
            "a@{b",
            "refs/heads/a",
            "HEAD",
            "a\n",
            "\u{202e}evil",
            "a\u{200d}b",
        ] {
            assert!(BranchName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_above_what_lies_below_it() {
        let path = |text| RepositoryPath::parse(text).unwrap();
        assert!(path("a").is_above(&path("a/b")));
        assert!(!path("a").is_above(&path("ab/c")) && !path("a").is_above(&path("a")));
    }
}
