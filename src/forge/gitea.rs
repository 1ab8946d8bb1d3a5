//! Gitea and Forgejo: <https://docs.gitea.com/api/>, version 1 of the API.

mod answers;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use serde_json::json;

use self::answers::{Entry, Event, Posted, Pull, PullReview, Settings, Team, User};
use super::{
    Account, Act, Comment, CommentId, CommitState, CommitStatus, Forge, ForgeError, Login, NewFile,
    NewPullRequest, ProjectPath, PullRequest, PullRequestNumber, PullRequestState, Review,
    http::{Call, Http},
    types::{closing, shortened},
};
use crate::git::CommitId;

/// What the forge calls the size of a page.
const LIMIT: &str = "limit";
/// Longest description of a commit status.
const DESCRIPTION: usize = 140;

/// A project on Gitea or Forgejo.
#[derive(Debug)]
pub(super) struct Gitea {
    http: Http,
    project: ProjectPath,
    /// Whether it is said to show verified addresses only.
    trust_email: bool,
}

impl Gitea {
    pub(super) fn new(http: Http, project: ProjectPath, trust_email: bool) -> Self {
        Self {
            http,
            project,
            trust_email,
        }
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

    /// The teams of the owner that an account is in. A person's own project has none, and those that this account may not look
    /// into have nobody.
    async fn teams(&self, login: &Login) -> Result<Vec<String>, ForgeError> {
        let owner = self.project.owner();
        let doing = "list the teams of the owner";
        let teams: Vec<Team> = match self.list(&format!("orgs/{owner}/teams"), doing).await {
            Ok(teams) => teams,
            Err(ForgeError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut member_of = Vec::new();
        for team in teams {
            let path = format!("teams/{}/members", team.id);
            let call = Call::new(Method::GET, &path, "look for a member of a team").segment(login.as_str());
            match self.http.done(call).await {
                Ok(()) => member_of.push(format!("{owner}/{}", team.name)),
                Err(ForgeError::NotFound { .. } | ForgeError::Forbidden { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(member_of)
    }

    /// Who closed a pull request: the pull request itself does not say, its timeline does.
    async fn closed(&self, number: PullRequestNumber) -> Result<Act, ForgeError> {
        let path = self.path(&format!("/issues/{number}/timeline"));
        let call = Call::new(Method::GET, &path, "read what happened to a pull request");
        let events: Vec<Event> = self.http.thinned(call, LIMIT).await?;
        let events: Vec<_> = events.into_iter().filter_map(Event::read).collect();
        Ok(closing(&events))
    }

    async fn completed(&self, pull: Pull) -> Result<PullRequest, ForgeError> {
        let closed = pull.state == "closed" && !pull.merged;
        let mut pull = pull.read();
        if closed {
            pull.state = PullRequestState::Closed(self.closed(pull.number).await?);
        }
        if let PullRequestState::Merged { act, .. } = &mut pull.state
            && self.guesses_merges().await?
        {
            tracing::warn!(project = self.project.as_str(), number = %pull.number,
                "the project detects merges made by hand, and then says of somebody who only pushed that they merged: nobody is believed");
            act.by = None;
        }
        Ok(pull)
    }

    /// Whether the project takes a pull request for merged whose commits turn up in the base, and names the last who pushed there.
    async fn guesses_merges(&self) -> Result<bool, ForgeError> {
        let settings: Settings = self
            .get(&self.path(""), "read the settings of the project")
            .await?;
        Ok(settings.autodetect_manual_merge)
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
impl Forge for Gitea {
    async fn own_account(&self) -> Result<Account, ForgeError> {
        let ask = async {
            let user: User = self.get("user", "read its own account").await?;
            Ok(user.account(self.trust_email))
        };
        self.http.own(ask).await
    }

    async fn account(&self, login: &Login) -> Result<Account, ForgeError> {
        let call = Call::new(Method::GET, "users", "read an account").segment(login.as_str());
        let user: User = self.http.json(call).await?;
        Ok(user.account(self.trust_email))
    }

    async fn groups(&self, account: &Account) -> Result<Vec<String>, ForgeError> {
        self.teams(&account.login).await
    }

    async fn pull_request(&self, number: PullRequestNumber) -> Result<PullRequest, ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        self.completed(self.get(&path, "read a pull request").await?)
            .await
    }

    async fn changed_files(&self, number: PullRequestNumber) -> Result<Option<u64>, ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        let pull: Pull = self.get(&path, "read a pull request").await?;
        Ok(pull.changed_files)
    }

    /// Unless it guesses, and then nobody is believed to have merged, Gitea takes for merged only what was merged by itself.
    async fn is_merge_of(
        &self,
        _pull: &PullRequest,
        _commit: CommitId,
        _parents: &[CommitId],
    ) -> Result<Option<bool>, ForgeError> {
        Ok(Some(true))
    }

    async fn pull_requests_from(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError> {
        let path = self.path("/pulls");
        let call = Call::new(Method::GET, &path, "list the pull requests")
            .query("state", "all")
            .query("sort", "recentupdate")
            .query("head", branch);
        let pulls: Vec<Pull> = self.http.all(call, LIMIT).await?;
        let mut found = Vec::new();
        for pull in pulls.into_iter().filter(|pull| pull.comes_from(branch)) {
            let pull = pull.read();
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
            .query("sort", "recentupdate")
            .query("base_branch", branch);
        let pulls: Vec<Pull> = self.http.all(call, LIMIT).await?;
        let into = pulls.into_iter().map(Pull::read);
        Ok(into.filter(|pull| pull.base == branch).collect())
    }

    fn draft_mark(&self) -> &'static str {
        "WIP: "
    }

    async fn create_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        let path = self.path("/pulls");
        let body = json!({"title": new.title, "body": new.body, "head": new.head, "base": new.base});
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
        if self.pull_request(number).await?.state != PullRequestState::Open {
            return Ok(());
        }
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
        let comments: Vec<Posted> = self.get(&path, "list the comments of a pull request").await?;
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
        let body = json!({"context": status.context, "state": state, "target_url": status.target,
            "description": shortened(&status.description, DESCRIPTION)});
        self.http
            .done(Call::new(Method::POST, &path, "set a commit status").body(body))
            .await
    }

    async fn propose_file(&self, new: &NewFile) -> Result<(), ForgeError> {
        let branch = self.path("/branches");
        let existing = Call::new(Method::GET, &branch, "look for a branch").segment(&new.branch);
        match self.http.done(existing).await {
            Ok(()) => self.delete_branch(&new.branch).await?,
            Err(ForgeError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let path = self.path("/contents");
        // the file may be there from an answered question of the same name: then it is replaced
        let mut body = json!({"branch": new.base, "new_branch": new.branch, "message": new.message,
            "content": BASE64_STANDARD.encode(&new.content)});
        let call = |method| Call::new(method, &path, "commit a file to a new branch").segments(&new.path);
        let there = call(Method::GET).query("ref", &new.base);
        let method = match self.http.json::<Entry>(there).await {
            Ok(entry) => {
                body["sha"] = json!(entry.sha);
                Method::PUT
            }
            Err(ForgeError::NotFound { .. }) => Method::POST,
            Err(error) => return Err(error),
        };
        self.http.done(call(method).body(body)).await
    }

    async fn file(&self, commit: CommitId, path: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        let raw = self.path("/raw");
        let call = Call::new(Method::GET, &raw, "read a file of a commit")
            .segments(path)
            .query("ref", commit);
        match self.http.bytes(call).await {
            Ok(content) => Ok(Some(content.into())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError> {
        let path = self.path("/branches");
        let call = Call::new(Method::DELETE, &path, "delete a branch").segment(branch);
        match self.http.done(call).await {
            Err(ForgeError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}
