//! The parts of Gitea's answers that are read.

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::super::{
    Account, AccountKind, Act, Actor, Comment, CommentId, Login, Opinion, PullRequest, PullRequestNumber,
    PullRequestState, Review, types::Happened,
};
use crate::git::CommitId;

#[derive(Debug, Deserialize)]
pub(super) struct User {
    /// Below one for accounts that are no longer there and for Gitea's own.
    id: i64,
    login: String,
    #[serde(default)]
    email: String,
}

impl User {
    /// Who it is, if it is an account that is there.
    pub(super) fn known(self) -> Option<Actor> {
        let id = u64::try_from(self.id).ok().filter(|id| *id > 0)?;
        Some(Actor {
            login: Login::new(self.login),
            id,
        })
    }

    pub(super) fn account(self, trust_email: bool) -> Account {
        // where the address is hidden, an invented one stands in its place; whether it was confirmed is not told at all
        let email = Some(self.email)
            .filter(|email| trust_email && email.contains('@') && !email.contains("@noreply."));
        Account {
            login: Login::new(self.login),
            id: u64::try_from(self.id).unwrap_or_default(),
            // its API does not tell bots from people
            kind: if self.id > 0 {
                AccountKind::User
            } else {
                AccountKind::Bot
            },
            email,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Settings {
    #[serde(default)]
    pub(super) autodetect_manual_merge: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Team {
    pub(super) id: u64,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    kind: String,
    user: Option<User>,
    created_at: Option<Timestamp>,
}

impl Event {
    pub(super) fn read(self) -> Option<(Happened, Act)> {
        let happened = match self.kind.as_str() {
            "close" => Happened::Closed,
            "delete_branch" => Happened::BranchDeleted,
            _ => return None,
        };
        let act = Act {
            by: self.user.and_then(User::known),
            at: self.created_at,
        };
        Some((happened, act))
    }
}

#[derive(Debug, Deserialize)]
struct Branch {
    label: String,
    #[serde(rename = "ref")]
    name: String,
    sha: String,
    repo_id: i64,
}

impl Branch {
    /// The name of the branch. Once it is deleted, only the label has it.
    fn branch(&self) -> &str {
        if self.name.starts_with("refs/pull/") {
            &self.label
        } else {
            &self.name
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Pull {
    number: u64,
    html_url: String,
    title: String,
    #[serde(default)]
    body: String,
    user: User,
    pub(super) state: String,
    #[serde(default)]
    pub(super) merged: bool,
    merged_by: Option<User>,
    merged_at: Option<Timestamp>,
    merge_commit_sha: Option<String>,
    pub(super) changed_files: Option<u64>,
    updated_at: Option<Timestamp>,
    head: Branch,
    base: Branch,
}

impl Pull {
    /// Whether it comes from this branch of the project itself.
    pub(super) fn comes_from(&self, branch: &str) -> bool {
        self.head.branch() == branch && self.head.repo_id == self.base.repo_id
    }

    /// Without who closed it, which it does not tell.
    pub(super) fn read(self) -> PullRequest {
        let state = if self.merged {
            PullRequestState::Merged {
                act: Act {
                    by: self.merged_by.and_then(User::known),
                    at: self.merged_at,
                },
                commit: self.merge_commit_sha.as_deref().and_then(CommitId::parse),
            }
        } else if self.state == "closed" {
            PullRequestState::Closed(Act { by: None, at: None })
        } else {
            PullRequestState::Open
        };
        PullRequest {
            number: PullRequestNumber(self.number),
            url: self.html_url,
            title: self.title,
            body: self.body,
            head_commit: CommitId::parse(&self.head.sha),
            same_project: self.head.repo_id == self.base.repo_id,
            head: self.head.branch().to_owned(),
            base: self.base.name,
            author: Login::new(self.user.login),
            updated_at: self.updated_at,
            state,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PullReview {
    id: u64,
    user: Option<User>,
    state: String,
    #[serde(default)]
    body: String,
    commit_id: Option<String>,
    #[serde(default)]
    dismissed: bool,
    submitted_at: Option<Timestamp>,
}

impl PullReview {
    /// None where it was dismissed, not submitted yet, or a team's.
    pub(super) fn read(self) -> Option<Review> {
        let opinion = match self.state.as_str() {
            _ if self.dismissed => return None,
            "APPROVED" => Opinion::Approved,
            "REQUEST_CHANGES" => Opinion::ChangesRequested,
            "COMMENT" => Opinion::Commented,
            _ => return None,
        };
        Some(Review {
            id: self.id.to_string(),
            by: self.user?.known()?,
            opinion,
            body: self.body,
            commit: self.commit_id.as_deref().and_then(CommitId::parse),
            at: self.submitted_at,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) sha: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Posted {
    pub(super) id: u64,
    user: Option<User>,
    #[serde(default)]
    body: String,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl Posted {
    pub(super) fn read(self) -> Comment {
        Comment {
            id: CommentId(self.id),
            by: Login::new(self.user.map(|user| user.login).unwrap_or_default()),
            body: self.body,
            edited: self.created_at != self.updated_at,
        }
    }
}
