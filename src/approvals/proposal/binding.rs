//! What binds an act on the forge to the question: that it was about this one, as it was put, and about nothing else.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    ProposalError,
    branch::BranchQuestion,
    claim::Claim,
    plan::{Flaw, ProposedPull},
    propose::{first, number},
    reading,
    settle::{PullRequestQuestion, base},
    texts,
};
use crate::forge::{NewPullRequest, PullRequest, PullRequestState};
use signoff_api::{Approval, Verdict};
use signoff_engine::question::{PutAs, Question};

/// How long after a merge the forge and the remote may not know all of it yet.
const NEWS: SignedDuration = SignedDuration::from_mins(2);

/// What came of looking at what was approved.
pub(super) enum Looked {
    /// The file, as it was approved.
    File(Option<Vec<u8>>),
    /// It is no approval of this question.
    Not(String),
    /// Not all of it is known yet.
    Later,
}

impl PullRequestQuestion<'_> {
    pub(super) fn question<'a>(&'a self, approval: &'a Approval) -> Question<'a> {
        Question {
            spec: &approval.spec,
            namespace: self.key.namespace(),
            name: self.key.name(),
            uid: approval.metadata.uid.as_deref().unwrap_or_default(),
            put: PutAs::PullRequest,
        }
    }

    pub(super) fn base(&self) -> String {
        base(&self.repository, &self.decisions)
    }

    /// Whether a pull request from our branch is of this account, and puts this question as far as it says.
    pub(super) fn is_ours(&self, request: &PullRequest) -> bool {
        let of_another = self
            .approval
            .as_ref()
            .is_some_and(|approval| self.question(approval).is_not_of(&request.body));
        request.author == self.own && !of_another
    }

    /// Why a claim on a pull request is not about the question as it was put: whoever may write to the repository may edit its text, and have it
    /// merged elsewhere.
    pub(super) fn unbound(&self, approval: &Approval, put: &ProposedPull, claim: &Claim) -> Option<String> {
        if is_earlier(approval, number(&put.request), claim.at) {
            return Some("it was done before the question was asked".to_owned());
        }
        // what it says is its own text, and it closes nothing for good
        if claim.verdict == Verdict::RequestChanges {
            return None;
        }
        let (found, wanted) = (&put.request, self.request(approval));
        if found.base != wanted.base {
            return Some(format!(
                "it goes into {:?}, but the question was put for {:?}",
                found.base, wanted.base
            ));
        }
        (!shows(found, &wanted)).then(|| {
            format!(
                "somebody edited the title or the description, so it is not known what was {}",
                if claim.verdict == Verdict::Approve {
                    "approved"
                } else {
                    "rejected"
                }
            )
        })
    }

    /// Puts the text and the base of an open pull request back that somebody edited.
    pub(super) async fn restore(
        &self,
        approval: &Approval,
        puts: &[ProposedPull],
    ) -> Result<(), ProposalError> {
        let open = puts
            .iter()
            .find(|put| put.request.state == PullRequestState::Open);
        let wanted = self.request(approval);
        if open.is_some_and(|put| put.request.base != wanted.base || !shows(&put.request, &wanted)) {
            self.forge.open_pull_request(&wanted).await?;
            tracing::warn!(approval = %self.key, "a question's pull request was edited and is put back");
        }
        Ok(())
    }

    /// What is wrong with the branch of an open pull request: it must bring the file with the question, as it was put, and nothing else.
    pub(super) async fn flaw(
        &self,
        approval: &Approval,
        request: &PullRequest,
    ) -> Result<Option<Flaw>, ProposalError> {
        let Some(head) = request.head_commit else {
            return Ok(None);
        };
        if self.proposals.is_sound(self.key, head) {
            return Ok(None);
        }
        let files = self.forge.changed_files(request.number).await?;
        let why = if files.is_some_and(|files| files > 1) {
            "the branch changes other files than the question's as well".to_owned()
        } else {
            let content = self.forge.file(head, &self.path()).await?;
            match reading::answer(
                &self.proposals.context,
                &self.question(approval),
                content.as_deref(),
            )
            .await
            {
                Ok(_) => {
                    if files == Some(1) {
                        self.proposals.sound(self.key, head);
                    }
                    return Ok(None);
                }
                Err(why) => why.to_string(),
            }
        };
        let told = self.answered(request.number).await?;
        let told = told.contains(&texts::of_head(head));
        Ok(Some(Flaw { head, why, told }))
    }

    /// The file that somebody approved, by a review or a merge.
    pub(super) async fn approved(&self, put: &ProposedPull, claim: &Claim) -> Result<Looked, ProposalError> {
        let Some(commit) = claim.commit else {
            let why = "the forge does not say which commit was looked at";
            return Ok(Looked::Not(why.to_owned()));
        };
        if claim.is_merge() {
            return self.merged(put, claim, commit).await;
        }
        let content = self.forge.file(commit, &self.path()).await?;
        Ok(Looked::File(content))
    }

    /// The file that a merge brought into the base. What it changed is read from git's own objects, whatever the forge makes of it.
    async fn merged(
        &self,
        put: &ProposedPull,
        claim: &Claim,
        commit: crate::git::CommitId,
    ) -> Result<Looked, ProposalError> {
        let request = &put.request;
        let board = BranchQuestion::new(self.proposals, &self.repository, &self.decisions)?;
        let Some(change) = board.landed(commit, &self.path()).await? else {
            let why = format!(
                "commit {} does not bring the file with the question to {:?} by itself",
                commit.short(),
                request.base
            );
            return Ok(self.or_later(claim, why));
        };
        if !change.alone {
            return Ok(Looked::Not(format!(
                "commit {} changes other files as well",
                change.commit.short()
            )));
        }
        // what was before the last of several commits is not in its own change
        if change.parents.len() < 2 {
            match self.forge.changed_files(request.number).await? {
                Some(1) => {}
                Some(_) => {
                    let why = "the pull request changes other files as well";
                    return Ok(Looked::Not(why.to_owned()));
                }
                None => {
                    let why = "the forge does not say how many files it changes";
                    return Ok(self.or_later(claim, why.to_owned()));
                }
            }
        }
        let by_itself = self.forge.is_merge_of(request, commit, &change.parents);
        Ok(match by_itself.await? {
            Some(true) => Looked::File(change.content),
            Some(false) => Looked::Not(
                "it was not merged by itself: its commits came along with a push or with another pull request"
                    .to_owned(),
            ),
            None => {
                let why = "the forge does not say by which pull request its commits came";
                self.or_later(claim, why.to_owned())
            }
        })
    }

    /// That a claim does not count, unless it is so new that more may be known of it soon.
    fn or_later(&self, claim: &Claim, why: String) -> Looked {
        let now = self.proposals.context.now();
        match claim.at {
            Some(at) if now.duration_since(at) < NEWS => Looked::Later,
            _ => Looked::Not(why),
        }
    }
}

/// Whether what was done on a pull request was done before the question was asked. Numbers only grow, and what is done on one is done after it
/// was opened; the clocks of a forge and of a cluster may differ, and are compared only where it is not known which was the first.
fn is_earlier(approval: &Approval, number: i64, at: Option<Timestamp>) -> bool {
    let asked = approval.metadata.creation_timestamp.as_ref().map(|at| at.0);
    match first(approval) {
        Some(first) => number < first,
        None => at.zip(asked).is_some_and(|(at, asked)| at < asked),
    }
}

fn shows(found: &PullRequest, wanted: &NewPullRequest) -> bool {
    let same = |one: &str, other: &str| plain(one) == plain(other);
    same(&found.title, &wanted.title) && same(&found.body, &wanted.body)
}

/// A text without what forges change when they store it: the ends of lines, and space at its ends.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_clock_of_a_forge_says_nothing_where_the_numbers_of_pull_requests_do() {
        let asked = "2026-11-23T10:00:00Z";
        let mut approval = json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "r-review", "creationTimestamp": asked},
            "spec": {"subject": {"run": "r", "step": "review", "iteration": 1}, "purpose": "Step", "digest": signoff_api::Digest::of(b"shown"),
                "title": "go?", "quorum": 1, "selfApproval": false, "verdicts": ["Approve"]},
        });
        let unlinked: Approval = serde_json::from_value(approval.clone()).unwrap();
        approval["status"] = json!({"phase": "Pending", "pullRequest": {"number": 9, "url": "", "first": 7}});
        let linked: Approval = serde_json::from_value(approval).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().ok();
        let (slow, good) = (at("2026-11-23T09:50:00Z"), at("2026-11-23T10:10:00Z"));
        for at in [slow, good, None] {
            assert!(!is_earlier(&linked, 7, at) && !is_earlier(&linked, 9, at));
            assert!(is_earlier(&linked, 6, at));
        }
        assert!(is_earlier(&unlinked, 9, slow));
        assert!(!is_earlier(&unlinked, 9, good) && !is_earlier(&unlinked, 9, None));
    }
}
