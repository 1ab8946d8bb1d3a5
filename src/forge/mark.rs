//! Comments of ours that are found again: written once, and changed where they stand.

use super::{Forge, ForgeError, PullRequestNumber};

/// Begins the line.
const BEGIN: &str = "<!-- ";
/// Ends it.
const END: &str = " -->";

/// The hidden first line of a comment: what kind it is of, and what it is about. Neither has a space or `-->` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// The mark of a comment of this kind, about this.
    pub fn new(kind: &str, about: &str) -> Self {
        Self(format!("{BEGIN}{kind} {about}{END}"))
    }

    /// A comment with this mark.
    pub fn on(&self, text: &str) -> String {
        format!("{}\n{text}", self.0)
    }

    /// What a comment of this kind is about; none where it is of another.
    pub fn read(kind: &str, comment: &str) -> Option<String> {
        let rest = comment.strip_prefix(BEGIN)?.strip_prefix(kind)?;
        let (about, _) = rest.strip_prefix(' ')?.split_once(END)?;
        Some(about.to_owned())
    }
}

/// Whether a comment is written where none has its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is written.
    Write,
    /// It is only worth a change of one that is there.
    Leave,
}

/// Writes the comment with a mark, or changes the one of this account that has it. One that says the same is left as it is.
///
/// # Errors
/// What the forge answers.
pub async fn put_comment(
    forge: &dyn Forge,
    number: PullRequestNumber,
    mark: &Mark,
    text: &str,
    missing: Missing,
) -> Result<(), ForgeError> {
    let body = mark.on(text);
    let own = forge.own_account().await?.login;
    let comments = forge.comments(number).await?;
    let ours = comments
        .iter()
        .find(|comment| comment.by == own && comment.body.starts_with(&mark.0));
    match (ours, missing) {
        // forges trim what they are given
        (Some(there), _) if there.body.trim_end() == body.trim_end() => Ok(()),
        (Some(there), _) => forge.edit_comment(number, there.id, &body).await,
        (None, Missing::Write) => forge.add_comment(number, &body).await.map(drop),
        (None, Missing::Leave) => Ok(()),
    }
}

/// Closes a pull request and says why. Closed first: should this process die in between, the closing is not made twice.
///
/// # Errors
/// What the forge answers.
pub async fn close_with_comment(
    forge: &dyn Forge,
    number: PullRequestNumber,
    why: &str,
) -> Result<(), ForgeError> {
    forge.close_pull_request(number).await?;
    forge.add_comment(number, why).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_by_its_kind_only_and_only_where_a_comment_begins() {
        let comment = Mark::new("signoff:answer", "review-7").on("no");
        assert_eq!(comment, "<!-- signoff:answer review-7 -->\nno");
        assert_eq!(
            Mark::read("signoff:answer", &comment).as_deref(),
            Some("review-7")
        );
        for other in ["signoff:difference", "signoff:ans", "signoff:answer review-7", ""] {
            assert_eq!(Mark::read(other, &comment), None, "{other}");
        }
        assert_eq!(Mark::read("signoff:answer", &format!("x{comment}")), None);
        assert_eq!(Mark::read("signoff:answer", "<!-- signoff:answer review-7"), None);
    }
}
