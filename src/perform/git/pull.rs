//! The pull request of a `git` step.

use crate::forge::{Forge, ForgeError, Login, NewPullRequest, PullRequest, PullRequestState};
use signoff_api::git::BranchName;
use signoff_engine::effect::GitPull;

/// Opens the pull request, or updates the one that is open. One of the same branches that somebody else has opened is left as it is. Gives
/// its number and its page.
pub(super) async fn open(
    forge: &dyn Forge,
    branch: &BranchName,
    pull: &GitPull,
) -> Result<(i64, String), ForgeError> {
    let new = NewPullRequest {
        head: branch.to_string(),
        base: pull.into.to_string(),
        title: pull.title.clone(),
        body: pull.body.clone(),
        draft: pull.draft,
        reviewers: pull.reviewers.iter().map(Login::new).collect(),
    };
    let own = forge.own_account().await?.login;
    let is_of_another = |found: &PullRequest| {
        found.state == PullRequestState::Open && found.base == new.base && found.author != own
    };
    let found = forge.pull_requests_from(&new.head).await?;
    let opened = match found.into_iter().find(is_of_another) {
        Some(found) => found,
        None => match forge.open_pull_request(&new).await {
            // another process may have been quicker
            Err(refused @ ForgeError::Rejected { .. }) => {
                let is_open =
                    |found: &PullRequest| found.state == PullRequestState::Open && found.base == new.base;
                let found = forge.pull_requests_from(&new.head).await?;
                found.into_iter().find(is_open).ok_or(refused)?
            }
            other => other?,
        },
    };
    Ok((i64::try_from(opened.number.0).unwrap_or(i64::MAX), opened.url))
}
