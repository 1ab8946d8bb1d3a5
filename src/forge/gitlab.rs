//! GitLab: <https://docs.gitlab.com/api/rest/>, version 4 of the API. A merge request is its pull request.

mod answers;

use async_trait::async_trait;
use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use self::answers::{Approvals, Member, MergeRequest, Note, Reviewer, Settings, User, Version};
use super::{
    Account, Comment, CommentId, CommitState, CommitStatus, Forge, ForgeError, Login, NewFile,
    NewPullRequest, Opinion, ProjectPath, PullRequest, PullRequestNumber, PullRequestState, Review,
    http::{Call, Http},
    types::{is_only_merged, shortened},
};
use crate::git::CommitId;

/// What the forge calls the size of a page.
const LIMIT: &str = "per_page";
/// Longest description of a commit status.
const DESCRIPTION: usize = 255;

/// A project on GitLab.
#[derive(Debug)]
pub(super) struct GitLab {
    http: Http,
    project: ProjectPath,
}

impl GitLab {
    pub(super) fn new(http: Http, project: ProjectPath) -> Self {
        Self { http, project }
    }

    /// A request about the project, whose path with sub-groups is one segment.
    fn call<'a>(&'a self, method: Method, rest: &'a str, doing: &'static str) -> Call<'a> {
        Call::new(method, "projects", doing)
            .segment(self.project.as_str())
            .segments(rest)
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        rest: &str,
        doing: &'static str,
    ) -> Result<T, ForgeError> {
        self.http.json(self.call(Method::GET, rest, doing)).await
    }

    async fn user(&self, login: &Login) -> Result<User, ForgeError> {
        let doing = "read an account";
        let call = Call::new(Method::GET, "users", doing).query("username", login);
        let found: Vec<User> = self.http.json(call).await?;
        found
            .into_iter()
            .find(|user| Login::new(&user.username) == *login)
            .ok_or_else(|| self.http.missing(doing))
    }

    /// The group of the project, if the account is in it, directly or through a group above.
    async fn groups_of(&self, id: u64) -> Result<Vec<String>, ForgeError> {
        let (group, id) = (self.project.owner(), id.to_string());
        let call = Call::new(Method::GET, "groups", "look for a member of a group")
            .segment(group)
            .segments("members/all")
            .segment(&id);
        match self.http.json::<Member>(call).await {
            Ok(member) if member.state == "active" => Ok(vec![group.to_owned()]),
            Ok(_) | Err(ForgeError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The merge requests that a commit belongs to.
    async fn merge_requests_of(&self, commit: CommitId) -> Result<Vec<PullRequest>, ForgeError> {
        let rest = format!("repository/commits/{commit}/merge_requests");
        let call = self.call(Method::GET, &rest, "list the merge requests of a commit");
        match self.http.all::<MergeRequest>(call, LIMIT).await {
            Ok(requests) => Ok(requests.into_iter().map(MergeRequest::read).collect()),
            Err(ForgeError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether the project merges by moving the branch along.
    async fn moves_along(&self) -> Result<bool, ForgeError> {
        let settings: Settings = self.get("", "read the settings of the project").await?;
        Ok(settings.merge_method == "ff")
    }

    async fn notes(&self, number: PullRequestNumber) -> Result<Vec<Note>, ForgeError> {
        let rest = format!("merge_requests/{number}/notes");
        let call = self
            .call(Method::GET, &rest, "list the notes of a merge request")
            .query("sort", "asc")
            .query("order_by", "created_at");
        self.http.all(call, LIMIT).await
    }
}

#[async_trait]
impl Forge for GitLab {
    async fn own_account(&self) -> Result<Account, ForgeError> {
        let call = Call::new(Method::GET, "user", "read its own account");
        let ask = async { Ok(self.http.json::<User>(call).await?.account()) };
        self.http.own(ask).await
    }

    async fn account(&self, login: &Login) -> Result<Account, ForgeError> {
        let id = self.user(login).await?.id;
        let text = id.to_string();
        let call = Call::new(Method::GET, "users", "read an account").segment(&text);
        let user: User = self.http.json(call).await?;
        Ok(user.account())
    }

    async fn groups(&self, account: &Account) -> Result<Vec<String>, ForgeError> {
        self.groups_of(account.id).await
    }

    async fn pull_request(&self, number: PullRequestNumber) -> Result<PullRequest, ForgeError> {
        let rest = format!("merge_requests/{number}");
        let request: MergeRequest = self.get(&rest, "read a merge request").await?;
        Ok(request.read())
    }

    async fn changed_files(&self, number: PullRequestNumber) -> Result<Option<u64>, ForgeError> {
        let rest = format!("merge_requests/{number}");
        let request: MergeRequest = self.get(&rest, "read a merge request").await?;
        Ok(request.changed_files())
    }

    async fn is_merge_of(
        &self,
        pull: &PullRequest,
        commit: CommitId,
        parents: &[CommitId],
    ) -> Result<Option<bool>, ForgeError> {
        let rest = format!("merge_requests/{}", pull.number);
        let request: MergeRequest = self.get(&rest, "read a merge request").await?;
        let by_itself = match parents {
            [_, merged] => request.ends_with(*merged),
            [_] if request.is_squashed_as(commit) => true,
            // where a project merges otherwise, the head itself gets there by a push only
            [_] => request.ends_with(commit) && self.moves_along().await?,
            _ => false,
        };
        if !by_itself {
            return Ok(Some(false));
        }
        let mut named = self.merge_requests_of(commit).await?;
        if let Some(head) = pull.head_commit {
            named.extend(self.merge_requests_of(head).await?);
        }
        Ok(is_only_merged(pull, &named))
    }

    async fn pull_requests_from(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError> {
        let call = self
            .call(Method::GET, "merge_requests", "list the merge requests")
            .query("state", "all")
            .query("source_branch", branch);
        let requests: Vec<MergeRequest> = self.http.all(call, LIMIT).await?;
        let requests = requests.into_iter().map(MergeRequest::read);
        let mut found: Vec<PullRequest> = requests.filter(|pull| pull.same_project).collect();
        found.sort_by_key(|pull| std::cmp::Reverse(pull.number));
        Ok(found)
    }

    async fn open_pull_requests_into(&self, branch: &str) -> Result<Vec<PullRequest>, ForgeError> {
        let call = self
            .call(Method::GET, "merge_requests", "list the open merge requests")
            .query("state", "opened")
            .query("target_branch", branch)
            .query("order_by", "updated_at")
            .query("sort", "desc");
        let requests: Vec<MergeRequest> = self.http.all(call, LIMIT).await?;
        Ok(requests.into_iter().map(MergeRequest::read).collect())
    }

    fn draft_mark(&self) -> &'static str {
        "Draft: "
    }

    async fn create_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        let mut reviewers = Vec::new();
        for login in &new.reviewers {
            match self.user(login).await {
                Ok(user) => reviewers.push(user.id),
                Err(error) => tracing::warn!(%login, %error, "somebody could not be asked to review"),
            }
        }
        let body = json!({"title": new.title, "description": new.body, "source_branch": new.head,
            "target_branch": new.base, "reviewer_ids": reviewers});
        let call = self
            .call(Method::POST, "merge_requests", "open a merge request")
            .body(body);
        Ok(self.http.json::<MergeRequest>(call).await?.read())
    }

    async fn change_pull_request(
        &self,
        number: PullRequestNumber,
        new: &NewPullRequest,
    ) -> Result<PullRequest, ForgeError> {
        let rest = format!("merge_requests/{number}");
        let text = json!({"title": new.title, "description": new.body, "target_branch": new.base});
        let call = self.call(Method::PUT, &rest, "change a merge request").body(text);
        Ok(self.http.json::<MergeRequest>(call).await?.read())
    }

    async fn close_pull_request(&self, number: PullRequestNumber) -> Result<(), ForgeError> {
        if self.pull_request(number).await?.state != PullRequestState::Open {
            return Ok(());
        }
        let rest = format!("merge_requests/{number}");
        let closed = json!({"state_event": "close"});
        let call = self
            .call(Method::PUT, &rest, "close a merge request")
            .body(closed);
        self.http.done(call).await
    }

    /// GitLab keeps no list of reviews: who approves, and who wants changes, is a state of the merge request. The text of those who want changes is
    /// their newest note. What somebody approved is the newest version that was there at that moment: an approval outlives a push
    /// where the project is set so.
    async fn reviews(&self, number: PullRequestNumber) -> Result<Vec<Review>, ForgeError> {
        let rest = format!("merge_requests/{number}/approvals");
        let approvals: Approvals = self.get(&rest, "list who approves a merge request").await?;
        let rest = format!("merge_requests/{number}/versions");
        let call = self.call(Method::GET, &rest, "list the versions of a merge request");
        let versions: Vec<Version> = self.http.all(call, LIMIT).await?;
        let mut reviews: Vec<Review> = approvals
            .approved_by
            .into_iter()
            .map(|approval| Review {
                id: format!("approval-{}-{}", approval.user.id, moment(approval.approved_at)),
                by: approval.user.actor(),
                opinion: Opinion::Approved,
                body: String::new(),
                commit: approval.approved_at.and_then(|at| seen(&versions, at)),
                at: approval.approved_at,
            })
            .collect();
        let rest = format!("merge_requests/{number}/reviewers");
        let reviewers: Vec<Reviewer> = self.get(&rest, "list the reviewers of a merge request").await?;
        let wanting: Vec<Reviewer> = reviewers
            .into_iter()
            .filter(|reviewer| reviewer.state == "requested_changes")
            .collect();
        if !wanting.is_empty() {
            let notes = self.notes(number).await?;
            // every further note would be another review otherwise
            let newest = versions.iter().max_by_key(|version| version.created_at);
            let version = newest.map_or("", |version| version.head_commit_sha.as_str());
            reviews.extend(wanting.into_iter().map(|reviewer| {
                let of_them = |note: &&Note| !note.system && note.author.id == reviewer.user.id;
                let note = notes.iter().rfind(of_them);
                Review {
                    id: format!("changes-{}-{version}", reviewer.user.id),
                    by: reviewer.user.actor(),
                    opinion: Opinion::ChangesRequested,
                    body: note.map(|note| note.body.clone()).unwrap_or_default(),
                    commit: None,
                    at: note.and_then(|note| note.created_at),
                }
            }));
        }
        Ok(reviews)
    }

    async fn comments(&self, number: PullRequestNumber) -> Result<Vec<Comment>, ForgeError> {
        let notes = self.notes(number).await?;
        let by_people = notes.into_iter().filter(|note| !note.system);
        Ok(by_people.map(Note::read).collect())
    }

    async fn add_comment(&self, number: PullRequestNumber, body: &str) -> Result<CommentId, ForgeError> {
        let rest = format!("merge_requests/{number}/notes");
        let call = self
            .call(Method::POST, &rest, "comment on a merge request")
            .body(json!({"body": body}));
        Ok(CommentId(self.http.json::<Note>(call).await?.id))
    }

    async fn edit_comment(
        &self,
        number: PullRequestNumber,
        comment: CommentId,
        body: &str,
    ) -> Result<(), ForgeError> {
        let rest = format!("merge_requests/{number}/notes/{}", comment.0);
        let call = self
            .call(Method::PUT, &rest, "edit a comment")
            .body(json!({"body": body}));
        self.http.done(call).await
    }

    async fn set_commit_status(&self, commit: CommitId, status: &CommitStatus) -> Result<(), ForgeError> {
        let rest = format!("statuses/{commit}");
        let state = match status.state {
            CommitState::Pending => "pending",
            CommitState::Success => "success",
            CommitState::Failure => "failed",
        };
        let mut body = json!({"name": status.context, "state": state,
            "description": shortened(&status.description, DESCRIPTION)});
        if let Some(target) = &status.target {
            body["target_url"] = json!(target);
        }
        let call = self.call(Method::POST, &rest, "set a commit status").body(body);
        match self.http.done(call).await {
            // the state is that already: GitLab has no way from a state to itself
            Err(ForgeError::Rejected {
                status: 400, message, ..
            }) if message.contains("Cannot transition status") => Ok(()),
            result => result,
        }
    }

    async fn propose_file(&self, new: &NewFile) -> Result<(), ForgeError> {
        let existing = self
            .call(Method::GET, "repository/branches", "look for a branch")
            .segment(&new.branch);
        match self.http.done(existing).await {
            Ok(()) => self.delete_branch(&new.branch).await?,
            Err(ForgeError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let there = self
            .call(Method::HEAD, "repository/files", "look for a file")
            .segment(&new.path)
            .query("ref", &new.base);
        // left there by an answered question of the same name: then it is replaced
        let action = match self.http.done(there).await {
            Ok(()) => "update",
            Err(ForgeError::NotFound { .. }) => "create",
            Err(error) => return Err(error),
        };
        let file = json!({"action": action, "file_path": new.path, "content": new.content});
        let body = json!({"branch": new.branch, "start_branch": new.base, "commit_message": new.message, "actions": [file]});
        let call = self
            .call(
                Method::POST,
                "repository/commits",
                "commit a file to a new branch",
            )
            .body(body);
        self.http.done(call).await
    }

    async fn file(&self, commit: CommitId, path: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        let call = self
            .call(Method::GET, "repository/files", "read a file of a commit")
            .segment(path)
            .segment("raw")
            .query("ref", commit);
        match self.http.bytes(call).await {
            Ok(content) => Ok(Some(content.into())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError> {
        let call = self
            .call(Method::DELETE, "repository/branches", "delete a branch")
            .segment(branch);
        match self.http.done(call).await {
            Err(ForgeError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}

/// The commit of the newest version that was there at a moment.
fn seen(versions: &[Version], at: Timestamp) -> Option<CommitId> {
    let there = versions.iter().filter(|version| version.created_at <= at);
    let newest = there.max_by_key(|version| version.created_at)?;
    CommitId::parse(&newest.head_commit_sha)
}

fn moment(at: Option<Timestamp>) -> String {
    at.map(|at| at.as_millisecond().to_string()).unwrap_or_default()
}
