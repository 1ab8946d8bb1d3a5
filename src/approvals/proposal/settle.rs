//! One question: reads what the forge and the API server say of it, and does what follows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};

use super::{
    Look, ProposalContext, ProposalError,
    binding::Looked,
    branch::BranchQuestion,
    claim::{Claim, claims},
    decision::{self, standing},
    person::{hidden, needs_groups, person},
    plan::{ClaimState, ProposedPull, Step, when_closed, when_elsewhere, while_open},
    reading, tell, texts,
};
use crate::{
    cluster::{
        behalf::{self, Decided, Person},
        object_key::ApprovalKey,
    },
    forge::{
        Account, CommitStatus, Forge, ForgeError, Login, PullRequest, PullRequestNumber, PullRequestState,
        close_with_comment,
    },
    remotes::forges,
};
use signoff_api::{
    Approval, DecisionSpec, Digest, Repository, Verdict,
    approval::AskVia,
    decision::{Via, ViaChannel},
    json::JsonObject,
    reason::{Classified as _, ErrorClass},
    repository::Decisions,
};
use signoff_engine::{
    judge::values_digest,
    question::{Answer, FileProblem},
};

/// Pause before a decision that was just made is looked at again.
pub(super) const UNTIL_JUDGED: Duration = Duration::from_millis(300);
/// What the forge calls the status that shows the quorum, after the prefix.
const QUORUM: &str = "quorum";

/// What holds where a Repository has no `decisions` any more: what was put is taken back.
const NOT_AT_ALL: Decisions = Decisions {
    propose: AskVia::None,
    into: None,
    path: None,
    reviewers: Vec::new(),
};

/// A question on its forge.
pub(super) struct PullRequestQuestion<'a> {
    pub proposals: &'a ProposalContext,
    pub key: &'a ApprovalKey,
    pub repository: Arc<Repository>,
    pub decisions: Decisions,
    pub forge: Arc<dyn Forge>,
    pub own: Login,
    /// None where it is gone.
    pub approval: Option<Approval>,
    via: AskVia,
}

/// Works on one question. Gives when to look again.
pub(super) async fn settle(
    proposals: &ProposalContext,
    key: &ApprovalKey,
) -> Result<Option<Duration>, ProposalError> {
    let read = proposals.context.namespaced::<Approval>(key.namespace());
    let approval = read.get_opt(key.name()).await;
    let approval = approval.map_err(|error| ProposalError::Api("read the approval", error))?;
    let again = at_home(proposals, key, approval.clone()).await?;
    if let Some(open) = approval.as_ref().filter(|approval| is_open(approval)) {
        tell::is_put(&proposals.context, open).await;
    }
    if !approval.as_ref().is_some_and(is_open) {
        proposals.lock().remove(key);
    }
    Ok(again)
}

async fn at_home(
    proposals: &ProposalContext,
    key: &ApprovalKey,
    approval: Option<Approval>,
) -> Result<Option<Duration>, ProposalError> {
    let home = proposals.home(key, approval.as_ref());
    let repository = home.and_then(|home| {
        let name = ObjectRef::new(&home).within(key.namespace());
        proposals.repositories.get(&name)
    });
    let Some(repository) = repository.filter(|it| it.spec.suspend != Some(true)) else {
        return Ok(None);
    };
    let asked_via = approval.as_ref().and_then(|approval| approval.spec.ask_via);
    let (decisions, via) = match repository.spec.decisions.clone() {
        Some(decisions) => {
            let via = asked_via.unwrap_or(decisions.propose);
            (decisions, via)
        }
        None if proposals.may_be_left(key, approval.as_ref()) => (NOT_AT_ALL, AskVia::None),
        None => return Ok(None),
    };
    let mut again = None;
    if via == AskVia::Branch || proposals.has_put(key) {
        let board = BranchQuestion::new(proposals, &repository, &decisions)?;
        // each is large, and few are ever both
        again = Box::pin(board.settle(key, approval.as_ref(), via == AskVia::Branch)).await?;
    }
    let forge = forges::of_repository(proposals.context.client(), &proposals.settings, &repository).await?;
    let Some(forge) = forge else {
        let unheard = via == AskVia::PullRequest && approval.as_ref().is_some_and(is_open);
        return if unheard {
            Err(ProposalError::NoForge)
        } else {
            Ok(again)
        };
    };
    let own = forge.own_account().await?.login;
    let table = PullRequestQuestion {
        proposals,
        key,
        repository,
        decisions,
        forge,
        own,
        approval,
        via,
    };
    Ok(Box::pin(table.work()).await?.or(again))
}

impl PullRequestQuestion<'_> {
    async fn work(&self) -> Result<Option<Duration>, ProposalError> {
        let at = self.proposals.context.now();
        let open = self.approval.as_ref().filter(|approval| is_open(approval));
        let (puts, strays) = self.puts().await?;
        let wanted = open.is_some() && self.via == AskVia::PullRequest;
        let steps = match open {
            Some(approval) if wanted => {
                let status = approval.status.clone().unwrap_or_default();
                while_open(&status, approval.spec.quorum, &puts)
            }
            // no longer put this way; without `decisions` nobody decides on the forge
            Some(approval) if self.repository.spec.decisions.is_some() => {
                when_elsewhere(approval.spec.quorum, &puts, &texts::late(self.approval.as_ref()))
            }
            _ => when_closed(&puts, &texts::late(self.approval.as_ref())),
        };
        let mut again = puts
            .iter()
            .flat_map(|put| &put.claims)
            .any(|(_, standing)| *standing == ClaimState::Judging);
        for stray in &strays {
            self.clear(stray, wanted).await?;
        }
        let (mut made, mut failed) = (false, None);
        for step in steps {
            // the judge goes by the order in which decisions are made, so the next one waits until this one is judged
            if made && matches!(step, Step::Consider(..)) {
                continue;
            }
            let claim = matches!(step, Step::Consider(..));
            match self.take(step, &puts).await {
                Ok(more) => made |= more,
                // what only a user can mend about one holds nobody else's answer back
                Err(error) if claim && error.class() == ErrorClass::Invalid => {
                    failed.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        again |= made;
        if let (true, Some(approval)) = (wanted, open) {
            self.restore(approval, &puts).await?;
            self.relink(approval, &puts).await?;
        }
        // told once there is nothing else to wait for
        if let Some(error) = failed.filter(|_| !again) {
            return Err(error);
        }
        let newest = puts.first().map(|put| &put.request).or(strays.first());
        let updated_at = newest.and_then(|request| request.updated_at);
        let away = !wanted && !puts.iter().any(ProposedPull::waits);
        self.proposals.looked(self.key, Look { at, updated_at }, away);
        Ok(again.then_some(UNTIL_JUDGED))
    }

    pub(super) fn branch(&self) -> String {
        branch_of(&self.repository, self.key)
    }

    pub(super) fn path(&self) -> String {
        let folder = self.decisions.folder();
        format!("{folder}/{}/{}.yaml", self.key.namespace(), self.key.name())
    }

    /// The pull requests that put this question, the newest first, and how what was done on them stands; and the open ones from its branch that
    /// put none or another.
    async fn puts(&self) -> Result<(Vec<ProposedPull>, Vec<PullRequest>), ProposalError> {
        let quorum = self.approval.as_ref().map_or(1, |approval| approval.spec.quorum);
        let made = decision::made(&self.proposals.context, self.key).await?;
        let (mut puts, mut strays) = (Vec::new(), Vec::new());
        for request in self.forge.pull_requests_from(&self.branch()).await? {
            if !request.same_project {
                continue;
            }
            if !self.is_ours(&request) {
                if request.state == PullRequestState::Open {
                    strays.push(request);
                }
                continue;
            }
            let reviews = self.forge.reviews(request.number).await?;
            let found = claims(&request, &reviews, quorum, &self.own);
            let answered = if found.is_empty() {
                Vec::new()
            } else {
                self.answered(request.number).await?
            };
            let claims = found.into_iter().map(|claim| {
                let name = self.decision_name(request.number, &claim);
                let standing = standing(made.get(&name), answered.contains(&claim.id));
                (claim, standing)
            });
            let claims = claims.collect();
            let open = self.approval.as_ref().filter(|approval| is_open(approval));
            let flaw = match open {
                Some(approval) if request.state == PullRequestState::Open => {
                    self.flaw(approval, &request).await?
                }
                _ => None,
            };
            puts.push(ProposedPull {
                values: self.values_at_head(&request).await?,
                request,
                claims,
                flaw,
            });
        }
        Ok((puts, strays))
    }

    /// What is filled in at the head of a pull request that is open, where there is something to fill in.
    async fn values_at_head(&self, request: &PullRequest) -> Result<Option<JsonObject>, ProposalError> {
        let asks = |approval: &&Approval| approval.spec.form.is_some() && is_open(approval);
        let (Some(approval), Some(head)) = (self.approval.as_ref().filter(asks), request.head_commit) else {
            return Ok(None);
        };
        if request.state != PullRequestState::Open {
            return Ok(None);
        }
        // one that is no answer is told so when it is given
        let content = self.forge.file(head, &self.path()).await?;
        let read = self.read(approval, content.as_deref()).await.ok();
        Ok(read.and_then(|answer| answer.values))
    }

    /// The answer in a file, or why it is none. Values in which nothing is filled in are none.
    async fn read(&self, approval: &Approval, content: Option<&[u8]>) -> Result<Answer, FileProblem> {
        let answer = reading::answer(&self.proposals.context, &self.question(approval), content).await?;
        Ok(Answer {
            values: answer.values.filter(|values| !values.0.is_empty()),
            ..answer
        })
    }

    /// What was answered with a comment of ours that nobody changed since, as far as the forge tells; whoever may write to the repository may
    /// edit ours, too.
    pub(super) async fn answered(&self, number: PullRequestNumber) -> Result<Vec<String>, ProposalError> {
        let comments = match self.forge.comments(number).await {
            // whoever may comment can make them too large to be read: at worst somebody is answered once more
            Err(error @ ForgeError::Unreadable { .. }) => {
                tracing::warn!(approval = %self.key, pull_request = %number, %error, "the comments on a question are left aside");
                Vec::new()
            }
            comments => comments?,
        };
        let ours = comments
            .iter()
            .filter(|comment| comment.by == self.own && !comment.edited);
        let mut answered: Vec<String> = ours.filter_map(|comment| texts::answers(&comment.body)).collect();
        answered.extend(self.proposals.told(self.key, number));
        Ok(answered)
    }

    /// Closes a pull request from the question's branch that is not its own: while it is open, forges take no other one, and what is merged by it
    /// is no answer.
    async fn clear(&self, stray: &PullRequest, wanted: bool) -> Result<(), ProposalError> {
        let ours = stray.author == self.own;
        if !ours && !wanted {
            return Ok(());
        }
        let text = if ours {
            texts::closed(None)
        } else {
            texts::INTRUDER.to_owned()
        };
        close_with_comment(&*self.forge, stray.number, &text).await?;
        tracing::warn!(approval = %self.key, pull_request = %stray.number, author = %stray.author,
            "a pull request from the branch of a question that does not put it was closed");
        Ok(())
    }

    /// The same for the same act, however often it is looked at.
    fn decision_name(&self, number: PullRequestNumber, claim: &Claim) -> String {
        let project = self.repository.uid().unwrap_or_default();
        let act = Digest::of(format!("{project}/{number}/{}/{}", claim.id, claim.by.id).as_bytes());
        let begin: String = self.key.name().chars().take(200).collect();
        format!("{begin}-pr{number}-{}", act.short())
    }

    /// Takes one step. Whether a decision was made that will be judged.
    async fn take(&self, step: Step, puts: &[ProposedPull]) -> Result<bool, ProposalError> {
        match step {
            Step::Consider(number, claim) => {
                let put = puts.iter().find(|put| put.request.number == number);
                return match put {
                    Some(put) => self.consider(put, &claim).await,
                    None => Ok(false),
                };
            }
            Step::Answer(number, claim, why) => self.answer(number, &claim, &why).await?,
            Step::Propose(attempt) => self.propose(attempt).await?,
            Step::Warn(number, head, why) => {
                self.forge
                    .add_comment(number, &texts::warning(head, &why))
                    .await?;
                self.proposals.tell(self.key, number, texts::of_head(head));
            }
            Step::GiveUp => return Err(ProposalError::GivenUp),
            Step::ShowQuorum(commit, state, text) => {
                let status = CommitStatus {
                    context: format!("{}/{QUORUM}", self.repository.spec.prefix()),
                    state,
                    description: text,
                    target: None,
                };
                let statuses = self.proposals.statuses(self.key);
                statuses.set(&*self.forge, commit, status).await?;
                statuses.keep(&[commit]);
            }
            Step::Close(number) => {
                let text = texts::closed(self.approval.as_ref());
                close_with_comment(&*self.forge, number, &text).await?;
                tracing::info!(approval = %self.key, pull_request = %number, "the pull request of a question was closed");
            }
            Step::DeleteBranch => self.forge.delete_branch(&self.branch()).await?,
        }
        Ok(false)
    }

    /// Makes a decision of a claim, or answers why not.
    async fn consider(&self, put: &ProposedPull, claim: &Claim) -> Result<bool, ProposalError> {
        let Some(approval) = &self.approval else {
            return Ok(false);
        };
        let number = put.request.number;
        if let Some(why) = self.unbound(approval, put, claim) {
            self.answer(number, claim, &why).await?;
            return Ok(false);
        }
        let identities = self.repository.spec.identities.as_ref();
        let account = match self.forge.account(&claim.by.login).await {
            // anybody may have such an account, and review where everybody may read
            Err(ForgeError::NotFound { .. }) => match hidden(identities, &claim.by) {
                Ok(account) => account,
                Err(why) => {
                    self.answer(number, claim, &why.to_string()).await?;
                    return Ok(false);
                }
            },
            account => account?,
        };
        let groups = if needs_groups(identities, &account) {
            self.forge.groups(&account).await?
        } else {
            Vec::new()
        };
        let person = match person(identities, &claim.by, &account, &groups) {
            Ok(person) => person,
            Err(why) => {
                self.answer(number, claim, &why.to_string()).await?;
                return Ok(false);
            }
        };
        // what is there has a name
        let Ok(approval_name) = self.key.name().parse() else {
            return Ok(false);
        };
        let decider = match behalf::decider(&self.proposals.context, self.key, person).await? {
            Ok(decider) => decider,
            Err(Person { user, .. }) => {
                let namespace = self.key.namespace();
                let why = format!(
                    "the user {user:?} of the cluster has no right to `approve` it in namespace {namespace:?}"
                );
                self.answer(number, claim, &why).await?;
                return Ok(false);
            }
        };
        let values = match self.values(approval, put, claim).await? {
            Some(Ok(values)) => values,
            // more of it will be known soon
            None => return Ok(true),
            Some(Err(why)) => {
                self.answer(number, claim, &why).await?;
                return Ok(false);
            }
        };
        let evidence = self.evidence(number, claim, &account, values.as_ref());
        let spec = DecisionSpec {
            approval: approval_name,
            digest: approval.spec.digest.clone(),
            verdict: claim.verdict,
            comment: claim
                .comment
                .as_deref()
                .map(|text| text.chars().take(4_000).collect()),
            values,
            shown: None,
            to: None,
            by: None,
            groups: None,
            via: None,
        };
        let via = Via {
            channel: ViaChannel::Git,
            evidence,
        };
        let name = self.decision_name(number, claim);
        match decider.decide(&self.proposals.context, &name, via, spec).await? {
            Decided::Made => {
                tracing::info!(approval = %self.key, by = %claim.by.login, act = claim.act, "somebody decided on the forge");
                Ok(true)
            }
            Decided::Refused(why) => {
                self.answer(number, claim, &why).await?;
                Ok(false)
            }
        }
    }

    /// The values that the file of an approval holds, or why it is no answer; nothing where that is not known yet. A rejection says nothing but that.
    async fn values(
        &self,
        approval: &Approval,
        put: &ProposedPull,
        claim: &Claim,
    ) -> Result<Option<Result<Option<JsonObject>, String>>, ProposalError> {
        if claim.verdict != Verdict::Approve {
            return Ok(Some(Ok(None)));
        }
        let content = match self.approved(put, claim).await? {
            Looked::File(content) => content,
            Looked::Not(why) => return Ok(Some(Err(why))),
            Looked::Later => return Ok(None),
        };
        let read = self.read(approval, content.as_deref()).await;
        let read = read.map_err(|why| why.to_string());
        Ok(Some(read.and_then(
            |answer| match answer.verdict.filter(|verdict| *verdict != Verdict::Approve) {
                Some(verdict) => Err(format!(
                    "the file says {verdict}, but merging a pull request approves"
                )),
                None => Ok(answer.values),
            },
        )))
    }

    fn evidence(
        &self,
        number: PullRequestNumber,
        claim: &Claim,
        account: &Account,
        values: Option<&JsonObject>,
    ) -> BTreeMap<String, String> {
        let values = values.map(|values| values_digest(Some(values)).to_string());
        [
            ("repository", Some(self.repository.name_any())),
            ("url", Some(self.repository.spec.url.clone())),
            ("pullRequest", Some(number.to_string())),
            ("act", Some(claim.id.clone())),
            ("login", Some(account.login.to_string())),
            ("accountId", Some(account.id.to_string())),
            ("commit", claim.commit.map(|commit| commit.to_string())),
            ("valuesDigest", values),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }

    async fn answer(&self, number: PullRequestNumber, claim: &Claim, why: &str) -> Result<(), ProposalError> {
        let text = texts::answer(claim, why);
        self.forge.add_comment(number, &text).await?;
        self.proposals.tell(self.key, number, claim.id.clone());
        tracing::info!(approval = %self.key, by = %claim.by.login, act = claim.act, why, "what somebody did on the forge does not count");
        Ok(())
    }
}

/// The branch that brings a question.
pub(super) fn branch_of(repository: &Repository, key: &ApprovalKey) -> String {
    format!("{}{}", branches_of(repository, key.namespace()), key.name())
}

/// What begins the names of the branches that bring questions of a namespace.
pub(super) fn branches_of(repository: &Repository, namespace: &str) -> String {
    format!("{}/{namespace}/", repository.spec.prefix())
}

/// The branch that pull requests with questions go into.
pub(super) fn base(repository: &Repository, decisions: &Decisions) -> String {
    let draft = &repository.spec.draft.name;
    let branch = decisions.into.as_ref().unwrap_or(draft);
    branch.strip_prefix("refs/heads/").unwrap_or(branch).to_owned()
}

pub(super) fn is_open(approval: &Approval) -> bool {
    let phase = approval.status.as_ref().map(|status| status.phase);
    !phase.unwrap_or_default().is_closed() && approval.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests;
