//! Puts a question on its forge: the branch, the file, the pull request, and what the Approval says of it.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{ProposalError, plan::ProposedPull, settle::PullRequestQuestion};
use crate::{
    cluster::status::is_missing,
    forge::{Login, NewFile, NewPullRequest, PullRequest, PullRequestState},
};
use signoff_api::{Approval, approval::ProposedPullRequest, json::JsonObject, names};

impl PullRequestQuestion<'_> {
    pub(super) async fn propose(&self, attempt: usize) -> Result<(), ProposalError> {
        let Some(approval) = &self.approval else {
            return Ok(());
        };
        let question = self.question(approval);
        let file = NewFile {
            branch: self.branch(),
            base: self.base(),
            path: self.path(),
            content: question.file(
                u32::try_from(attempt).unwrap_or(u32::MAX),
                self.approved_values().await?.as_ref(),
            ),
            message: question.message(),
        };
        self.forge.propose_file(&file).await?;
        let opened = self.forge.open_pull_request(&self.request(approval)).await?;
        tracing::info!(approval = %self.key, url = %opened.url, "a question was put as a pull request");
        self.link(approval, &opened).await
    }

    /// Has the Approval name the open pull request that puts it, which it does not if this process died after opening it.
    pub(super) async fn relink(
        &self,
        approval: &Approval,
        puts: &[ProposedPull],
    ) -> Result<(), ProposalError> {
        let open = puts
            .iter()
            .find(|put| put.request.state == PullRequestState::Open);
        let named = linked(approval).map(|linked| linked.number);
        match open {
            Some(put) if named.is_none_or(|named| named < number(&put.request)) => {
                self.link(approval, &put.request).await
            }
            _ => Ok(()),
        }
    }

    async fn link(&self, approval: &Approval, opened: &PullRequest) -> Result<(), ProposalError> {
        let number = number(opened);
        let link = ProposedPullRequest {
            number,
            url: opened.url.clone(),
            first: Some(first(approval).unwrap_or(number)),
        };
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let approvals = self
            .proposals
            .context
            .namespaced::<Approval>(self.key.namespace());
        let told = Patch::Merge(json!({"status": {"pullRequest": link}}));
        match approvals.patch_status(self.key.name(), &params, &told).await {
            Err(error) if !is_missing(&error) => {
                Err(ProposalError::Api("write the approval's status", error))
            }
            _ => Ok(()),
        }
    }

    /// What those have filled in who have approved so far: what is put once more is what they approved. Read now, since it was judged since the
    /// approval was.
    async fn approved_values(&self) -> Result<Option<JsonObject>, ProposalError> {
        let approvals = self
            .proposals
            .context
            .namespaced::<Approval>(self.key.namespace());
        let approval = approvals.get_opt(self.key.name()).await;
        let approval = approval.map_err(|error| ProposalError::Api("read the approval", error))?;
        Ok(approval
            .and_then(|approval| approval.status)
            .and_then(|status| status.values))
    }

    /// The pull request as it has to be.
    pub(super) fn request(&self, approval: &Approval) -> NewPullRequest {
        let question = self.question(approval);
        NewPullRequest {
            head: self.branch(),
            base: self.base(),
            title: question.title(),
            body: question.body(),
            draft: false,
            reviewers: self.decisions.reviewers.iter().map(Login::new).collect(),
        }
    }
}

/// The pull request that an approval names as the one that puts it.
pub(super) fn linked(approval: &Approval) -> Option<&ProposedPullRequest> {
    approval.status.as_ref()?.pull_request.as_ref()
}

/// The number of the first pull request that put a question; one before it put another question, whatever it says now.
pub(super) fn first(approval: &Approval) -> Option<i64> {
    let linked = linked(approval)?;
    Some(linked.first.unwrap_or(linked.number))
}

/// A number that the API can hold.
pub(super) fn number(request: &PullRequest) -> i64 {
    i64::try_from(request.number.0).unwrap_or(i64::MAX)
}
