//! The lines at the end of a message that say what a commit was made for.

use std::fmt::Write as _;

use git2::Commit;

use super::NewCommit;

/// Name of the line with the key.
const KEY: &str = "Signoff-Key: ";

/// The message of a commit, with its trailers.
pub(super) fn message(new: &NewCommit) -> String {
    let mut message = format!("{}\n\n", new.message.trim_end());
    // writing to a String cannot fail
    for (name, value) in &new.about {
        let _ = writeln!(message, "{name}: {value}");
    }
    let _ = writeln!(message, "{KEY}{}", new.key);
    message
}

/// What the trailers of a commit say.
pub(super) struct Trailers {
    key: Option<String>,
}

impl Trailers {
    pub(super) fn of(commit: &Commit<'_>) -> Self {
        let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
        Self::read(&message)
    }

    fn read(message: &str) -> Self {
        let last = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let key = last.lines().find_map(|line| line.strip_prefix(KEY));
        Self {
            key: key.map(str::to_owned),
        }
    }

    /// Whether the commit was made for this.
    pub(super) fn is_key(&self, key: &str) -> bool {
        self.key.as_deref() == Some(key)
    }

    /// Whether the run of this key has made the commit.
    pub(super) fn is_of_same_run(&self, key: &str) -> bool {
        let run = |key: &str| key.split('/').next().map(str::to_owned);
        self.key.as_deref().is_some_and(|own| run(own) == run(key))
    }

    /// Whether a step has made the commit.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_read_back_and_only_from_the_end() {
        let new = NewCommit {
            files: vec![],
            message: "Fix\n\nSigned-off-by: A <a@example.com>\n".to_owned(),
            about: vec![("Signoff-Run", "default/r".to_owned())],
            key: "uid/fix/1".to_owned(),
            if_exists: None,
            author: None,
            signing_key: None,
        };
        let text = message(&new);
        assert_eq!(
            text,
            "Fix\n\nSigned-off-by: A <a@example.com>\n\nSignoff-Run: default/r\nSignoff-Key: uid/fix/1\n"
        );
        let trailers = Trailers::read(&text);
        assert!(trailers.is_key("uid/fix/1") && trailers.has_key());
        assert!(trailers.is_of_same_run("uid/other/2") && !trailers.is_of_same_run("uid2/fix/1"));
        for other in ["", "Fix", "Signoff-Key: x\n\nmore", "Fix\n\n> Signoff-Key: x"] {
            assert!(!Trailers::read(other).has_key(), "{other}");
        }
    }
}
