//! `git`: a commit on a branch, and a pull request.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Rules};
use crate::{Json, name::ObjectName};

/// Commits files to a branch of a git remote, and opens a pull request from it. The output is
/// `{changed, commit, branch, number, url}`. If nothing changes, nothing is committed, and `changed` is false. The commit
/// names run, step and pass. A repeated attempt finds it and does not commit again.
// rules about `files` are checked when a release is cut: API servers know no field without a type in rules
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.repository) != has(self.connection)").message("a git step has either repository or connection")
)]
#[x_kube(
    validation = Rule::new("!has(self.pullRequest) || has(self.repository)").message("pullRequest needs a repository with a forge")
)]
pub struct GitStep {
    /// Name of a Repository in the run's namespace. Its Connection and its forge are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<ObjectName>,
    /// Name of a `git` Connection with `url` in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ObjectName>,
    /// Branch that gets the commit, without `refs/heads/`. It may contain `${…}` expressions. It is not a draft or live
    /// branch of a Repository in this namespace, nor one under its prefix.
    #[schemars(length(min = 1, max = 1024))]
    pub branch: String,
    /// Branch that a new branch begins at. It may contain `${…}` expressions. Defaults to the default branch of the
    /// remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub base: Option<String>,
    /// Files of the commit: a list of `{path, content}`, `{path, from}` or `{path, delete: true}`, at most 200 and 1 MiB
    /// together, or one `${…}` expression that gives such a list. Strings may contain `${…}` expressions. `from` is a
    /// resource. `mode` is `File` or `Executable`, and defaults to what the file is. Paths with `..` or `.git`, and paths
    /// over links, are refused. Without files, only the pull request is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Json>,
    /// Message of the commit, at most 4096 characters. It may contain `${…}` expressions. Trailers that name run, step and
    /// pass are appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub message: Option<String>,
    /// What happens if the branch exists. `Append`: the commit is added to it. `Reset`: the branch begins anew at `base`,
    /// unless it has commits of others. `Fail`: the step fails. The default is `Append` if this run has committed to the
    /// branch, and otherwise `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_exists: Option<IfExists>,
    /// Pull request from `branch`. An open one of the same branches is updated. If the branch has nothing that `into` does
    /// not have, none is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<GitPullRequest>,
}

/// What happens if the branch exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IfExists {
    /// The commit is added to the branch.
    Append,
    /// The branch begins anew at its base, unless it has commits of others.
    Reset,
    /// The step fails.
    Fail,
}

/// A pull request of a `git` step.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitPullRequest {
    /// Branch that the pull request goes into. It may contain `${…}` expressions.
    #[schemars(length(min = 1, max = 1024))]
    pub into: String,
    /// Title, at most 255 characters. It may contain `${…}` expressions.
    #[schemars(length(min = 1, max = 4096))]
    pub title: String,
    /// Description in Markdown, at most 60 000 characters. It may contain `${…}` expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
    /// Whether it is opened as a draft. Defaults to false. One that people have marked as ready stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<bool>,
    /// Logins of accounts that are asked to review a new pull request. They may contain `${…}` expressions, and an element
    /// that is one `${…}` and gives a list becomes several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 1024)))]
    pub reviewers: Option<Vec<String>>,
}

impl Kind for GitStep {
    fn rules(&self) -> &'static Rules {
        &Rules {
            key: "git",
            attempts: true,
            retries: false,
            // a commit that is there is adopted, so there is nothing to choose
            delivery: false,
            has_effect: true,
            is_billable: true,
        }
    }
}
