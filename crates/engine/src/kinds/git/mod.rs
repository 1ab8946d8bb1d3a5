//! `git` steps: files committed to a branch, and a pull request from it.

mod files;
mod request;
mod shown;

use std::sync::Arc;

use serde_json::json;
use signoff_expression::Declarations;

pub(super) use self::shown::{described, shown};
use super::{Done, Kind, KindPlan, Next};
use crate::{
    difference::Field,
    effect::{GitTarget, Request},
    expression::{JsonTemplate, Template},
    facts::{GitResponse, Response},
    plan::{Place, check},
    turn::StepView,
};
use signoff_api::{
    name::ObjectName,
    run::StepOutcome,
    step::{GitPullRequest, GitStep, IfExists},
};

/// A `git` step with its expressions parsed.
#[derive(Debug)]
struct GitPlan {
    target: Option<GitTarget>,
    branch: Option<Template>,
    base: Option<Template>,
    commit: Option<CommitPlan>,
    pull_request: Option<PullPlan>,
}

#[derive(Debug)]
struct CommitPlan {
    message: Template,
    files: JsonTemplate,
    if_exists: Option<IfExists>,
}

#[derive(Debug)]
struct PullPlan {
    into: Template,
    title: Template,
    body: Option<Template>,
    draft: bool,
    reviewers: Option<JsonTemplate>,
}

impl Kind for GitStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        // what is committed can be read by many
        let mut place = place.kept();
        Arc::new(request::compile(self, &mut place))
    }

    fn results(&self, _: &Declarations) -> Vec<check::StepResult> {
        vec![check::StepResult::new(StepOutcome::Succeeded).with_output(check::committed())]
    }

    fn fields(&self) -> Vec<Field> {
        let Self {
            repository,
            connection,
            branch,
            base,
            files,
            message,
            if_exists,
            pull_request,
        } = self;
        let pull = pull_request.as_ref();
        let of_pull = |field: fn(&GitPullRequest) -> Option<&String>| pull.and_then(field);
        vec![
            Field::new("git.repository", repository.as_ref()),
            Field::new("git.connection", connection.as_ref()),
            Field::required("git.branch", branch),
            Field::new("git.base", base.as_ref()).default("the default branch"),
            Field::new("git.files", files.as_ref()),
            Field::new("git.message", message.as_ref()),
            Field::new("git.ifExists", if_exists.as_ref()).default("Append to its own branch, else Fail"),
            Field::new("git.pullRequest.into", of_pull(|pull| Some(&pull.into))),
            Field::new("git.pullRequest.title", of_pull(|pull| Some(&pull.title))),
            Field::new("git.pullRequest.body", of_pull(|pull| pull.body.as_ref())),
            Field::new(
                "git.pullRequest.draft",
                pull.and_then(|GitPullRequest { draft, .. }| draft.as_ref()),
            )
            .default("false"),
            Field::new(
                "git.pullRequest.reviewers",
                pull.and_then(|pull| pull.reviewers.as_ref()),
            ),
        ]
    }
}

impl KindPlan for GitPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.request(step) {
            Ok(request) => Next::Call(Request::Git(request)),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn answered(&self, _: &StepView<'_>, response: &Response) -> Next {
        let Some(response) = response.as_git() else {
            return Next::Stay;
        };
        let GitResponse {
            changed,
            commit,
            branch,
            pull_request,
        } = response;
        let mut output = json!({ "changed": changed, "commit": commit, "branch": branch });
        if let Some((number, url)) = pull_request {
            output["number"] = json!(number);
            output["url"] = json!(url);
        }
        Next::Done(Done::new(StepOutcome::Succeeded).with_output(output))
    }

    fn connection(&self) -> Option<&ObjectName> {
        match &self.target {
            Some(GitTarget::Connection(name)) => Some(name),
            Some(GitTarget::Repository(_)) | None => None,
        }
    }

    fn repository(&self) -> Option<&ObjectName> {
        match &self.target {
            Some(GitTarget::Repository(name)) => Some(name),
            Some(GitTarget::Connection(_)) | None => None,
        }
    }
}
