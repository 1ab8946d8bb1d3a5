//! What forges tell, in one vocabulary: a pull request is GitLab's merge request, a review its approval or request for changes.

use std::fmt;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::git::CommitId;

/// How far apart two things may be that a forge did at once; it counts seconds.
const TOGETHER: SignedDuration = SignedDuration::from_secs(1);

/// A login name, as the forge spells it. Forges compare them without regard to case; so does this.
#[derive(Clone, Debug, Eq)]
pub struct Login(String);

impl Login {
    /// A login.
    pub fn new(login: impl Into<String>) -> Self {
        Self(login.into())
    }

    /// As the forge spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who did something, as the forge named the account when it told of it. A login can be given up and taken by somebody else; the number cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The account's login.
    pub login: Login,
    /// The forge's number for the account.
    pub id: u64,
}

/// Path of a project on its forge: `owner/name`, on GitLab with sub-groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectPath(String);

impl ProjectPath {
    /// Reads a path of two or more segments, each of letters, digits, `.`, `_` and `-` and neither `.` nor `..`.
    pub fn parse(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        let fits = |segment: &&str| {
            !matches!(*segment, "" | "." | "..")
                && segment
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        };
        (segments.len() >= 2 && text.len() <= 512 && segments.iter().all(fits)).then(|| Self(text.to_owned()))
    }

    /// `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All but the last segment: the owner, or GitLab's groups.
    pub fn owner(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(owner, _)| owner)
    }
}

/// An account on a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its login name.
    pub login: Login,
    /// The forge's number for it, which outlives a change of the login.
    pub id: u64,
    /// Whether a person is behind it, as far as the forge says.
    pub kind: AccountKind,
    /// Its e-mail address, if the forge shows it and says, or is trusted, to show none that it has not verified.
    pub email: Option<String>,
}

/// Whether a person is behind an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// An account as people have it.
    User,
    /// An app, a bot, a project's or group's access token.
    Bot,
}

/// Number of a pull request in its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PullRequestNumber(pub u64);

impl fmt::Display for PullRequestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number.
    pub number: PullRequestNumber,
    /// Its page, for people.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Its description.
    pub body: String,
    /// The branch it comes from, without `refs/heads/`.
    pub head: String,
    /// The commit at the head of that branch, when the forge last looked.
    pub head_commit: Option<CommitId>,
    /// Whether the branch lies in the project itself, and not in a fork.
    pub same_project: bool,
    /// The branch it goes into.
    pub base: String,
    /// Who opened it.
    pub author: Login,
    /// When anything about it last changed: a commit, a comment, a review.
    pub updated_at: Option<Timestamp>,
    /// How it stands.
    pub state: PullRequestState,
}

/// How a pull request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullRequestState {
    /// Open.
    Open,
    /// Merged.
    Merged {
        /// Who, and when.
        act: Act,
        /// The commit that the base got by it: a merge commit, a squashed one, or the last of those rebased. Not every forge tells.
        commit: Option<CommitId>,
    },
    /// Closed without being merged.
    Closed(Act),
}

/// Who did something and when, as the forge's API says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Who; none where the forge does not say, as for accounts that no longer exist.
    pub by: Option<Actor>,
    /// When.
    pub at: Option<Timestamp>,
}

/// What a pull request is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPullRequest {
    /// The branch it comes from, which exists.
    pub head: String,
    /// The branch it goes into.
    pub base: String,
    /// Its title, at most 255 characters.
    pub title: String,
    /// Its description, Markdown, at most 60 000 characters.
    pub body: String,
    /// Whether it is opened as a draft.
    pub draft: bool,
    /// Who is asked to review it. One that the forge does not know or does not let review is left out with a warning in the log.
    pub reviewers: Vec<Login>,
}

/// A file that is committed to a branch of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// The new branch.
    pub branch: String,
    /// The branch it begins at.
    pub base: String,
    /// Path of the file, without a leading slash.
    pub path: String,
    /// Its content.
    pub content: String,
    /// Message of the commit.
    pub message: String,
}

/// A review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The forge's id for it, unique in the pull request and the same for as long as the review stands.
    pub id: String,
    /// Who.
    pub by: Actor,
    /// What they think.
    pub opinion: Opinion,
    /// What they wrote.
    pub body: String,
    /// The commit they looked at, where the forge says.
    pub commit: Option<CommitId>,
    /// When.
    pub at: Option<Timestamp>,
}

/// What a reviewer thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Good.
    Approved,
    /// Not like this.
    ChangesRequested,
    /// Neither.
    Commented,
}

/// The forge's id of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommentId(pub u64);

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Its id.
    pub id: CommentId,
    /// Who wrote it.
    pub by: Login,
    /// What.
    pub body: String,
    /// Whether it was changed after it was written, by whomever, as far as the forge says.
    pub edited: bool,
}

/// What people see beside a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitStatus {
    /// What it is about, such as `signoff/flows`.
    pub context: String,
    /// How that stands.
    pub state: CommitState,
    /// One line, cut at 140 characters, which is what GitHub takes.
    pub description: String,
    /// A page that says more.
    pub target: Option<String>,
}

/// How what a status is about stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// Not known yet.
    Pending,
    /// Good.
    Success,
    /// Bad.
    Failure,
}

/// What happened to a pull request, of what tells who closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// It was closed.
    Closed,
    /// Its branch was deleted.
    BranchDeleted,
}

/// Who closed a pull request last. One that was closed because its branch went was closed by nobody: forges offer to delete the branch of whatever
/// is merged, which may be that of another pull request from the same branch.
pub(super) fn closing(events: &[(Happened, Act)]) -> Act {
    let is = |wanted: Happened| move |(what, act): &(Happened, Act)| (*what == wanted).then(|| act.clone());
    let Some(closed) = events.iter().rev().find_map(is(Happened::Closed)) else {
        return Act { by: None, at: None };
    };
    let went_with_it = |act: Act| {
        let apart = closed
            .at
            .zip(act.at)
            .map(|(one, other)| one.duration_since(other).abs());
        act.by == closed.by && apart.is_none_or(|apart| apart <= TOGETHER)
    };
    if events
        .iter()
        .filter_map(is(Happened::BranchDeleted))
        .any(went_with_it)
    {
        return Act { by: None, ..closed };
    }
    closed
}

/// Whether a pull request is the only one among those merged that a forge names for a commit; nothing where it names none.
pub(super) fn is_only_merged(pull: &PullRequest, named: &[PullRequest]) -> Option<bool> {
    let mut merged = named
        .iter()
        .filter(|named| matches!(named.state, PullRequestState::Merged { .. }))
        .peekable();
    merged.peek()?;
    Some(merged.all(|named| named.number == pull.number))
}

/// The longest beginning of at most this many characters, with an ellipsis where something is left out.
pub(super) fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    format!("{kept}…")
}
