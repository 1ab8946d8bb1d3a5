//! The parts of GitHub's answers that are read.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::super::{
    Account, AccountKind, Act, Actor, Comment, CommentId, Login, Opinion, PullRequest, PullRequestNumber,
    PullRequestState, Review, types::Happened,
};
use crate::git::CommitId;

#[derive(Debug, Deserialize)]
pub(super) struct User {
    id: u64,
    pub(super) login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The public address, which must be a verified one.
    email: Option<String>,
}

impl User {
    pub(super) fn actor(self) -> Actor {
        Actor {
            login: Login::new(self.login),
            id: self.id,
        }
    }

    pub(super) fn account(self) -> Account {
        Account {
            login: Login::new(self.login),
            id: self.id,
            kind: if self.kind.as_deref() == Some("User") {
                AccountKind::User
            } else {
                AccountKind::Bot
            },
            email: self.email,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Team {
    pub(super) slug: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "event")]
    what: String,
    actor: Option<User>,
    /// The commit whose message did it.
    commit_id: Option<String>,
    created_at: Option<Timestamp>,
}

impl Event {
    pub(super) fn read(self) -> Option<(Happened, Act)> {
        let happened = match self.what.as_str() {
            "closed" => Happened::Closed,
            "head_ref_deleted" => Happened::BranchDeleted,
            _ => return None,
        };
        let actor = self.actor.filter(|_| self.commit_id.is_none());
        let act = Act {
            by: actor.map(User::actor),
            at: self.created_at,
        };
        Some((happened, act))
    }
}

#[derive(Debug, Deserialize)]
struct Project {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct End {
    #[serde(rename = "ref")]
    name: String,
    sha: String,
    /// None where a fork was deleted.
    repo: Option<Project>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pull {
    number: u64,
    html_url: String,
    title: String,
    body: Option<String>,
    user: Option<User>,
    state: String,
    merged_at: Option<Timestamp>,
    merged_by: Option<User>,
    merge_commit_sha: Option<String>,
    /// Told of a single one only.
    pub(super) changed_files: Option<u64>,
    updated_at: Option<Timestamp>,
    head: End,
    base: End,
}

impl Pull {
    /// Without who closed it, which it does not tell.
    pub(super) fn read(self) -> PullRequest {
        let state = if let Some(at) = self.merged_at {
            PullRequestState::Merged {
                act: Act {
                    by: self.merged_by.map(User::actor),
                    at: Some(at),
                },
                commit: self.merge_commit_sha.as_deref().and_then(CommitId::parse),
            }
        } else if self.state == "closed" {
            PullRequestState::Closed(Act { by: None, at: None })
        } else {
            PullRequestState::Open
        };
        let project = |end: &End| end.repo.as_ref().map(|project| project.id);
        PullRequest {
            number: PullRequestNumber(self.number),
            url: self.html_url,
            title: self.title,
            body: self.body.unwrap_or_default(),
            head_commit: CommitId::parse(&self.head.sha),
            same_project: project(&self.head).is_some() && project(&self.head) == project(&self.base),
            head: self.head.name,
            base: self.base.name,
            author: Login::new(self.user.map(|user| user.login).unwrap_or_default()),
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
    body: Option<String>,
    commit_id: Option<String>,
    submitted_at: Option<Timestamp>,
}

impl PullReview {
    /// None where it was dismissed, or not submitted yet.
    pub(super) fn read(self) -> Option<Review> {
        let opinion = match self.state.as_str() {
            "APPROVED" => Opinion::Approved,
            "CHANGES_REQUESTED" => Opinion::ChangesRequested,
            "COMMENTED" => Opinion::Commented,
            _ => return None,
        };
        Some(Review {
            id: self.id.to_string(),
            by: self.user?.actor(),
            opinion,
            body: self.body.unwrap_or_default(),
            commit: self.commit_id.as_deref().and_then(CommitId::parse),
            at: self.submitted_at,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Posted {
    pub(super) id: u64,
    user: Option<User>,
    body: Option<String>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl Posted {
    pub(super) fn read(self) -> Comment {
        Comment {
            id: CommentId(self.id),
            by: Login::new(self.user.map(|user| user.login).unwrap_or_default()),
            body: self.body.unwrap_or_default(),
            edited: self.created_at != self.updated_at,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Branch {
    pub(super) object: Entry,
}

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) sha: String,
}

/// A file, or something else of that path.
#[derive(Debug, Deserialize)]
pub(super) struct Content {
    #[serde(rename = "type")]
    kind: String,
    encoding: Option<String>,
    #[serde(rename = "content")]
    text: Option<String>,
}

impl Content {
    /// What the file holds; none where it is no file.
    pub(super) fn decoded(self) -> Result<Option<Vec<u8>>, String> {
        if self.kind != "file" {
            return Ok(None);
        }
        // files above 1 MB are given without content
        if self.encoding.as_deref() != Some("base64") {
            return Err("the file is too large to be given".to_owned());
        }
        let text: String = self.text.unwrap_or_default().split_whitespace().collect();
        BASE64_STANDARD
            .decode(text)
            .map(Some)
            .map_err(|error| error.to_string())
    }
}
