//! The parts of GitLab's answers that are read.

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::super::{
    Account, AccountKind, Act, Actor, Comment, CommentId, Login, PullRequest, PullRequestNumber,
    PullRequestState,
};
use crate::git::CommitId;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: u64,
    pub(super) username: String,
    /// True for access tokens of projects and groups and for GitLab's own accounts.
    #[serde(default)]
    bot: bool,
    /// One that was confirmed.
    public_email: Option<String>,
}

impl User {
    pub(super) fn actor(self) -> Actor {
        Actor {
            login: Login::new(self.username),
            id: self.id,
        }
    }

    pub(super) fn account(self) -> Account {
        Account {
            login: Login::new(self.username),
            id: self.id,
            kind: if self.bot {
                AccountKind::Bot
            } else {
                AccountKind::User
            },
            email: self.public_email.filter(|email| !email.is_empty()),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Member {
    pub(super) state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct MergeRequest {
    iid: u64,
    web_url: String,
    title: String,
    description: Option<String>,
    author: User,
    state: String,
    source_branch: String,
    target_branch: String,
    source_project_id: Option<u64>,
    target_project_id: u64,
    sha: Option<String>,
    merge_commit_sha: Option<String>,
    squash_commit_sha: Option<String>,
    merge_user: Option<User>,
    merged_at: Option<Timestamp>,
    closed_by: Option<User>,
    closed_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    /// A number, or one with a `+` where there are too many to count. Told of a single one only.
    changes_count: Option<String>,
}

impl MergeRequest {
    /// How many files it changes; more than it can be where GitLab does not count.
    pub(super) fn changed_files(&self) -> Option<u64> {
        let count = self.changes_count.as_ref()?;
        Some(count.parse().unwrap_or(u64::MAX))
    }

    /// Whether a commit is the last of it: its head, or what it was squashed to.
    pub(super) fn ends_with(&self, commit: CommitId) -> bool {
        self.sha.as_deref().and_then(CommitId::parse) == Some(commit) || self.is_squashed_as(commit)
    }

    pub(super) fn is_squashed_as(&self, commit: CommitId) -> bool {
        self.squash_commit_sha.as_deref().and_then(CommitId::parse) == Some(commit)
    }

    pub(super) fn read(self) -> PullRequest {
        let state = match self.state.as_str() {
            "merged" => PullRequestState::Merged {
                act: Act {
                    by: self.merge_user.map(User::actor),
                    at: self.merged_at,
                },
                // neither is there after a fast-forward
                commit: self
                    .merge_commit_sha
                    .or(self.squash_commit_sha)
                    .as_deref()
                    .and_then(CommitId::parse),
            },
            "closed" => PullRequestState::Closed(Act {
                by: self.closed_by.map(User::actor),
                at: self.closed_at,
            }),
            // "locked" is for the moment of merging
            _ => PullRequestState::Open,
        };
        PullRequest {
            number: PullRequestNumber(self.iid),
            url: self.web_url,
            title: self.title,
            body: self.description.unwrap_or_default(),
            head: self.source_branch,
            head_commit: self.sha.as_deref().and_then(CommitId::parse),
            same_project: self.source_project_id == Some(self.target_project_id),
            base: self.target_branch,
            author: Login::new(self.author.username),
            updated_at: self.updated_at,
            state,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Settings {
    /// `merge`, `rebase_merge` or `ff`.
    #[serde(default)]
    pub(super) merge_method: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) head_commit_sha: String,
    pub(super) created_at: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct Approvals {
    #[serde(default)]
    pub(super) approved_by: Vec<Approval>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Approval {
    pub(super) user: User,
    pub(super) approved_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reviewer {
    pub(super) user: User,
    pub(super) state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Note {
    pub(super) id: u64,
    pub(super) body: String,
    pub(super) author: User,
    #[serde(default)]
    pub(super) system: bool,
    pub(super) created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl Note {
    pub(super) fn read(self) -> Comment {
        Comment {
            id: CommentId(self.id),
            by: Login::new(self.author.username),
            body: self.body,
            edited: self.created_at != self.updated_at,
        }
    }
}
