//! Forges: GitHub, GitLab and Gitea (and its fork Forgejo) behind one trait.
//!
//! What a forge says of people is what it says at that moment through its API, over a connection we opened: who merged, who closed, who
//! reviewed. Nothing here believes a commit's author line or the body of a webhook.

mod error;
mod gitea;
mod github;
mod gitlab;
mod http;
mod mark;
mod statuses;
mod types;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

pub use self::{
    error::ForgeError,
    mark::{Mark, Missing, close_with_comment, put_comment},
    statuses::SetStatuses,
    types::{
        Account, AccountKind, Act, Actor, Comment, CommentId, CommitState, CommitStatus, Login, NewFile,
        NewPullRequest, Opinion, ProjectPath, PullRequest, PullRequestNumber, PullRequestState, Review,
    },
};
/// Most pull requests of one list: where there are so many, there may be more.
pub const MOST_LISTED: usize = http::MAX_ENTRIES;
/// Longest title that every forge takes, in characters.
const MAX_TITLE: usize = 255;

use crate::{
    git::{CommitId, HostPause, Secret},
    net::Network,
};
use signoff_api::repository::ForgeKind;

/// How one project of a forge is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// What kind of forge it is.
    pub kind: ForgeKind,
    /// Address of its API.
    pub api: Url,
    /// An access token.
    pub token: Secret,
    /// The project.
    pub project: ProjectPath,
    /// Whether the e-mail addresses that it shows are believed where it does not say that it has verified them.
    pub trust_email: bool,
    /// Until when it is left alone; while it is, every call fails at once with [`ForgeError::RateLimited`].
    pub rest: HostPause,
}

/// A client for one project of a forge.
///
/// # Errors
/// [`ForgeError::AddressRefused`] where the address is one that may not be called.
pub fn connect(access: Access, network: &Network) -> Result<Arc<dyn Forge>, ForgeError> {
    let project = access.project;
    let http = http::Http::new(access.api, &access.token, access.rest, network)?;
    Ok(match access.kind {
        ForgeKind::Gitea => Arc::new(gitea::Gitea::new(http, project, access.trust_email)),
        ForgeKind::GitHub => Arc::new(github::GitHub::new(http, project)),
        ForgeKind::GitLab => Arc::new(gitlab::GitLab::new(http, project)),
    })
}

/// One project on a forge, seen with one account's token.
///
/// Every method is one question or one change; a change that was made before is made again without harm, because whoever calls may have
/// died between the change and its record.
///
/// # Errors
/// Any [`ForgeError`], for each of them; [`ForgeError::NotFound`] where the thing named does not exist or this account may not see it.
#[async_trait]
pub trait Forge: Send + Sync + std::fmt::Debug {
    /// The account whose token is used.
    async fn own_account(&self) -> Result<Account, ForgeError>;

    /// The account that has a login now, with its verified e-mail address where it is public.
    async fn account(&self, login: &Login) -> Result<Account, ForgeError>;

    /// The teams (GitHub, Gitea: `owner/team`) or groups (GitLab: full path) of the project's owner that an account is in, of those that this
    /// account may look into. A person's own project has none.
    async fn groups(&self, account: &Account) -> Result<Vec<String>, ForgeError>;

    /// A pull request as it is now; when it is closed, with who did that.
    async fn pull_request(&self, number: PullRequestNumber) -> Result<PullRequest, ForgeError>;

    /// How many files a pull request changes; none where the forge does not know yet.
    async fn changed_files(&self, number: PullRequestNumber) -> Result<Option<u64>, ForgeError>;

    /// Whether a commit with these parents is the merge of this pull request itself. Forges take a pull request for merged as soon as its commits
    /// are in the base, and then name whoever brought them there, be it with another pull request or a push. Nothing where the forge
    /// does not know yet.
    async fn is_merge_of(
        &self,
        pull: &PullRequest,
        commit: CommitId,
        parents: &[CommitId],
    ) -> Result<Option<bool>, ForgeError>;

    /// The pull requests from this branch of this project (not of a fork), whatever their state, the newest first.
    async fn pull_requests_from(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError>;

    /// The open pull requests into this branch, at most [`MOST_LISTED`], the most recently changed first.
    async fn open_pull_requests_into(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError>;

    /// Opens a pull request. Where this account has one open from that branch already, its title, body and base are set and it is returned.
    async fn open_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        let own = self.own_account().await?.login;
        let same = |pull: &PullRequest| pull.state == PullRequestState::Open && pull.author == own;
        let open = self.pull_requests_from(&new.head).await?.into_iter().find(same);
        match open {
            Some(open) => {
                // people say when a draft is ready
                let is_ready = !open.title.starts_with(self.draft_mark());
                let new = if is_ready { new.clone() } else { self.marked(new) };
                if open.title == new.title && open.body == new.body && open.base == new.base {
                    return Ok(open);
                }
                self.change_pull_request(open.number, &new).await
            }
            None => self.create_pull_request(&self.marked(new)).await,
        }
    }

    /// What begins the title of a draft, where that makes it one.
    fn draft_mark(&self) -> &'static str {
        ""
    }

    /// The same, with the title of a draft if it is one.
    fn marked(&self, new: &NewPullRequest) -> NewPullRequest {
        let mark = self.draft_mark();
        if !new.draft || mark.is_empty() {
            return new.clone();
        }
        let title = types::shortened(&new.title, MAX_TITLE - mark.len());
        NewPullRequest {
            title: format!("{mark}{title}"),
            ..new.clone()
        }
    }

    /// Opens a pull request from a branch that has none, and asks its reviewers.
    async fn create_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError>;

    /// Sets title, body and base of a pull request.
    async fn change_pull_request(
        &self,
        number: PullRequestNumber,
        new: &NewPullRequest,
    ) -> Result<PullRequest, ForgeError>;

    /// Closes a pull request without merging it. One that is closed stays as it is.
    async fn close_pull_request(&self, number: PullRequestNumber) -> Result<(), ForgeError>;

    /// The submitted reviews, the oldest first; those that were dismissed are left out.
    async fn reviews(&self, number: PullRequestNumber) -> Result<Vec<Review>, ForgeError>;

    /// The comments of a pull request, without those on lines, the oldest first.
    async fn comments(&self, number: PullRequestNumber) -> Result<Vec<Comment>, ForgeError>;

    /// Adds a comment.
    async fn add_comment(&self, number: PullRequestNumber, body: &str) -> Result<CommentId, ForgeError>;

    /// Replaces the text of one of our comments.
    async fn edit_comment(
        &self,
        number: PullRequestNumber,
        comment: CommentId,
        body: &str,
    ) -> Result<(), ForgeError>;

    /// Sets the status of a commit for one context; the newest stands.
    async fn set_commit_status(&self, commit: CommitId, status: &CommitStatus) -> Result<(), ForgeError>;

    /// Commits one file to a new branch, on top of another. A branch of this name that is there already is made anew, whoever made it: what else
    /// is on it would be merged with the file.
    async fn propose_file(&self, new: &NewFile) -> Result<(), ForgeError>;

    /// The content of a file in a commit; none where there is none.
    async fn file(&self, commit: CommitId, path: &str) -> Result<Option<Vec<u8>>, ForgeError>;

    /// Deletes a branch. One that does not exist is as good.
    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError>;
}
