//! GitHub and GitHub Enterprise: <https://docs.github.com/en/rest>, version 2022-11-28.

mod answers;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use serde_json::json;

use self::answers::{Branch, Content, Entry, Event, Posted, Pull, PullReview, Team, User};
use super::{
    Account, Comment, CommentId, CommitState, CommitStatus, Forge, ForgeError, Login, NewFile,
    NewPullRequest, ProjectPath, PullRequest, PullRequestNumber, PullRequestState, Review,
    http::{Call, Http, MAX_ENTRIES},
    types::{closing, is_only_merged, shortened},
};
use crate::git::CommitId;

/// What the forge calls the size of a page.
const LIMIT: &str = "per_page";
/// Longest description of a commit status.
const DESCRIPTION: usize = 140;

/// A project on GitHub.
#[derive(Debug)]
pub(super) struct GitHub {
    http: Http,
    project: ProjectPath,
}

impl GitHub {
    pub(super) fn new(http: Http, project: ProjectPath) -> Self {
        Self { http, project }
    }

    fn path(&self, rest: &str) -> String {
        format!("repos/{}{rest}", self.project.as_str())
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        doing: &'static str,
    ) -> Result<T, ForgeError> {
        self.http.json(Call::new(Method::GET, path, doing)).await
    }

    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        doing: &'static str,
    ) -> Result<Vec<T>, ForgeError> {
        self.http.all(Call::new(Method::GET, path, doing), LIMIT).await
    }

    /// The teams of the organisation that an account is in. A person's own project has none, and those that this account may not look
    /// into have nobody.
    async fn teams(&self, login: &Login) -> Result<Vec<String>, ForgeError> {
        let owner = self.project.owner();
        let path = format!("orgs/{owner}/teams");
        let teams: Vec<Team> = match self.list(&path, "list the teams of the owner").await {
            Ok(teams) => teams,
            Err(ForgeError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut member_of = Vec::new();
        for team in teams {
            #[derive(serde::Deserialize)]
            struct Membership {
                state: String,
            }
            let path = format!("orgs/{owner}/teams/{}/memberships", team.slug);
            let call = Call::new(Method::GET, &path, "look for a member of a team").segment(login.as_str());
            match self.http.json::<Membership>(call).await {
                Ok(membership) if membership.state == "active" => {
                    member_of.push(format!("{owner}/{}", team.slug));
                }
                Ok(_) | Err(ForgeError::NotFound { .. } | ForgeError::Forbidden { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(member_of)
    }

    /// Who closed it: the pull request itself does not say, its events do. One that the message of a commit closed was closed by nobody: whoever
    /// wrote that message, another may have pushed or merged it.
    async fn completed(&self, pull: Pull) -> Result<PullRequest, ForgeError> {
        let mut pull = pull.read();
        if matches!(pull.state, PullRequestState::Closed(_)) {
            let path = self.path(&format!("/issues/{}/events", pull.number));
            let events: Vec<Event> = self.list(&path, "read who closed a pull request").await?;
            // the oldest come first, so of too many the last one is not among them
            let told = events.len() < MAX_ENTRIES;
            let events: Vec<_> = events
                .into_iter()
                .filter(|_| told)
                .filter_map(Event::read)
                .collect();
            pull.state = PullRequestState::Closed(closing(&events));
        }
        Ok(pull)
    }

    /// The pull requests that a commit belongs to. Of one on the default branch, those that brought it there.
    async fn pull_requests_of(&self, commit: CommitId) -> Result<Vec<PullRequest>, ForgeError> {
        let path = self.path(&format!("/commits/{commit}/pulls"));
        let pulls: Result<Vec<Pull>, _> = self.list(&path, "list the pull requests of a commit").await;
        match pulls {
            Ok(pulls) => Ok(pulls.into_iter().map(Pull::read).collect()),
            Err(ForgeError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn ask_to_review(&self, number: PullRequestNumber, reviewers: &[Login]) {
        for reviewer in reviewers {
            let path = self.path(&format!("/pulls/{number}/requested_reviewers"));
            let asked = json!({"reviewers": [reviewer.as_str()]});
            let call = Call::new(Method::POST, &path, "ask for a review").body(asked);
            if let Err(error) = self.http.done(call).await {
                tracing::warn!(%reviewer, %error, "somebody could not be asked to review");
            }
        }
    }
}

#[async_trait]
impl Forge for GitHub {
    async fn own_account(&self) -> Result<Account, ForgeError> {
        let ask = async {
            let user: User = self.get("user", "read its own account").await?;
            Ok(user.account())
        };
        self.http.own(ask).await
    }

    async fn account(&self, login: &Login) -> Result<Account, ForgeError> {
        let call = Call::new(Method::GET, "users", "read an account").segment(login.as_str());
        let user: User = self.http.json(call).await?;
        Ok(user.account())
    }

    async fn groups(&self, account: &Account) -> Result<Vec<String>, ForgeError> {
        self.teams(&account.login).await
    }

    async fn pull_request(&self, number: PullRequestNumber) -> Result<PullRequest, ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        let pull = self.get(&path, "read a pull request").await?;
        self.completed(pull).await
    }

    async fn changed_files(&self, number: PullRequestNumber) -> Result<Option<u64>, ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        let pull: Pull = self.get(&path, "read a pull request").await?;
        Ok(pull.changed_files)
    }

    async fn is_merge_of(
        &self,
        pull: &PullRequest,
        commit: CommitId,
        parents: &[CommitId],
    ) -> Result<Option<bool>, ForgeError> {
        let head = pull.head_commit;
        let by_itself = match parents {
            // squashed or rebased, which always makes a new commit here: the head itself gets there by a push only
            [_] => head != Some(commit),
            [_, merged] => head == Some(*merged),
            _ => false,
        };
        if !by_itself {
            return Ok(Some(false));
        }
        let mut named = self.pull_requests_of(commit).await?;
        if let Some(head) = head {
            named.extend(self.pull_requests_of(head).await?);
        }
        Ok(is_only_merged(pull, &named))
    }

    async fn pull_requests_from(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError> {
        let path = self.path("/pulls");
        let call = Call::new(Method::GET, &path, "list the pull requests")
            .query("state", "all")
            .query("head", format!("{}:{branch}", self.project.owner()));
        let pulls: Vec<Pull> = self.http.all(call, LIMIT).await?;
        let mut found = Vec::new();
        for pull in pulls
            .into_iter()
            .map(Pull::read)
            .filter(|pull| pull.head == branch && pull.same_project)
        {
            // who merged is told of a single one only
            found.push(match pull.state {
                PullRequestState::Open => pull,
                _ => self.pull_request(pull.number).await?,
            });
        }
        found.sort_by_key(|pull| std::cmp::Reverse(pull.number));
        Ok(found)
    }

    async fn open_pull_requests_into(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError> {
        let path = self.path("/pulls");
        let call = Call::new(Method::GET, &path, "list the open pull requests")
            .query("state", "open")
            .query("base", branch)
            .query("sort", "updated")
            .query("direction", "desc");
        let pulls: Vec<Pull> = self.http.all(call, LIMIT).await?;
        Ok(pulls.into_iter().map(Pull::read).collect())
    }

    async fn create_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        let path = self.path("/pulls");
        let mut body = json!({"title": new.title, "body": new.body, "head": new.head, "base": new.base});
        if new.draft {
            body["draft"] = json!(true);
        }
        let call = Call::new(Method::POST, &path, "open a pull request").body(body);
        let opened = self.http.json::<Pull>(call).await?.read();
        self.ask_to_review(opened.number, &new.reviewers).await;
        Ok(opened)
    }

    async fn change_pull_request(
        &self,
        number: PullRequestNumber,
        new: &NewPullRequest,
    ) -> Result<PullRequest, ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        let text = json!({"title": new.title, "body": new.body, "base": new.base});
        let call = Call::new(Method::PATCH, &path, "change a pull request").body(text);
        Ok(self.http.json::<Pull>(call).await?.read())
    }

    async fn close_pull_request(&self, number: PullRequestNumber) -> Result<(), ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        let closed = json!({"state": "closed"});
        let call = Call::new(Method::PATCH, &path, "close a pull request").body(closed);
        self.http.done(call).await
    }

    async fn reviews(&self, number: PullRequestNumber) -> Result<Vec<Review>, ForgeError> {
        let path = self.path(&format!("/pulls/{number}/reviews"));
        let reviews: Vec<PullReview> = self.list(&path, "list the reviews of a pull request").await?;
        Ok(reviews.into_iter().filter_map(PullReview::read).collect())
    }

    async fn comments(&self, number: PullRequestNumber) -> Result<Vec<Comment>, ForgeError> {
        let path = self.path(&format!("/issues/{number}/comments"));
        let comments: Vec<Posted> = self.list(&path, "list the comments of a pull request").await?;
        Ok(comments.into_iter().map(Posted::read).collect())
    }

    async fn add_comment(&self, number: PullRequestNumber, body: &str) -> Result<CommentId, ForgeError> {
        let path = self.path(&format!("/issues/{number}/comments"));
        let call = Call::new(Method::POST, &path, "comment on a pull request").body(json!({"body": body}));
        Ok(CommentId(self.http.json::<Posted>(call).await?.id))
    }

    async fn edit_comment(
        &self,
        _number: PullRequestNumber,
        comment: CommentId,
        body: &str,
    ) -> Result<(), ForgeError> {
        let path = self.path(&format!("/issues/comments/{}", comment.0));
        let call = Call::new(Method::PATCH, &path, "edit a comment").body(json!({"body": body}));
        self.http.done(call).await
    }

    async fn set_commit_status(&self, commit: CommitId, status: &CommitStatus) -> Result<(), ForgeError> {
        let path = self.path(&format!("/statuses/{commit}"));
        let state = match status.state {
            CommitState::Pending => "pending",
            CommitState::Success => "success",
            CommitState::Failure => "failure",
        };
        let mut body = json!({"context": status.context, "state": state,
            "description": shortened(&status.description, DESCRIPTION)});
        if let Some(target) = &status.target {
            body["target_url"] = json!(target);
        }
        let call = Call::new(Method::POST, &path, "set a commit status").body(body);
        self.http.done(call).await
    }

    async fn propose_file(&self, new: &NewFile) -> Result<(), ForgeError> {
        let base = self.path("/git/ref/heads");
        let doing = "read where a branch is";
        let branch = Call::new(Method::GET, &base, doing).segments(&new.branch);
        match self.http.done(branch).await {
            Ok(()) => self.delete_branch(&new.branch).await?,
            Err(ForgeError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let begin = Call::new(Method::GET, &base, doing).segments(&new.base);
        let begin: Branch = self.http.json(begin).await?;
        let refs = self.path("/git/refs");
        let made = json!({"ref": format!("refs/heads/{}", new.branch), "sha": begin.object.sha});
        let call = Call::new(Method::POST, &refs, "make a branch").body(made);
        self.http.done(call).await?;
        self.add_file(new).await
    }

    async fn file(&self, commit: CommitId, path: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        let contents = self.path("/contents");
        let doing = "read a file of a commit";
        let call = Call::new(Method::GET, &contents, doing)
            .segments(path)
            .query("ref", commit);
        match self.http.json::<Content>(call).await {
            Ok(content) => match content.decoded() {
                Ok(bytes) => Ok(bytes),
                Err(why) => Err(self.http.unreadable(doing, &why)),
            },
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError> {
        let path = self.path("/git/refs/heads");
        let call = Call::new(Method::DELETE, &path, "delete a branch").segments(branch);
        match self.http.done(call).await {
            // a ref that does not exist is answered with 422
            Err(ForgeError::NotFound { .. }) => Ok(()),
            Err(ForgeError::Rejected { message, .. }) if message.contains("does not exist") => Ok(()),
            result => result,
        }
    }
}

impl GitHub {
    /// Commits the file to its branch. Branch and file are two calls here.
    async fn add_file(&self, new: &NewFile) -> Result<(), ForgeError> {
        let path = self.path("/contents");
        let call = |method| Call::new(method, &path, "commit a file to a branch").segments(&new.path);
        let mut body = json!({"branch": new.branch, "message": new.message, "content": BASE64_STANDARD.encode(&new.content)});
        match self
            .http
            .json::<Entry>(call(Method::GET).query("ref", &new.branch))
            .await
        {
            // left there by an answered question of the same name
            Ok(entry) => body["sha"] = json!(entry.sha),
            Err(ForgeError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.http.done(call(Method::PUT).body(body)).await
    }
}
