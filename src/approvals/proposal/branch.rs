//! Questions put as branches, where there is no forge to ask: who merges one with a signed commit, or signs another answer on top, decides.
//!
//! A commit counts by its signature and nothing else, and only if it changes the question's file alone: a signature on a merge of
//! something else, which brings the file along, is not an answer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{ResourceExt as _, runtime::events::EventType};

use super::{
    ProposalContext, ProposalError,
    decision::{self, standing},
    person::holder,
    plan::ClaimState,
    reading,
    settle::{UNTIL_JUDGED, base, branch_of, is_open},
};
use crate::{
    cluster::{
        behalf::{self, Decided, Person},
        object_key::ApprovalKey,
    },
    git::{
        Change, CommitId, GitError, HostPause, Mirror, ProposedFile, RefName, RefSelector, Remote, RemoteUrl,
    },
    remotes::{credentials, trust},
};
use signoff_api::{
    Approval, Decision, DecisionSpec, Digest, Repository, Verdict,
    decision::{Via, ViaChannel},
    release::Verified,
    repository::Decisions,
};
use signoff_engine::{
    judge::values_digest,
    question::{PutAs, Question},
};

/// Where the branch of each Repository is that signed merges are looked for on, by the Repository's uid. Whoever holds an entry is alone at
/// the mirror.
#[derive(Debug, Default)]
pub(super) struct Heads(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Head>>>>);

/// Where the branch is, once it was looked at; nothing if the remote does not have it.
type Head = Option<Option<CommitId>>;

impl Heads {
    fn of(&self, uid: &str) -> Arc<tokio::sync::Mutex<Head>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(uid.to_owned()).or_default())
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// A Repository whose questions are put as branches.
pub(super) struct BranchQuestion<'a> {
    proposals: &'a ProposalContext,
    repository: Arc<Repository>,
    decisions: Decisions,
    into: RefName,
}

impl<'a> BranchQuestion<'a> {
    pub(super) fn new(
        proposals: &'a ProposalContext,
        repository: &Arc<Repository>,
        decisions: &Decisions,
    ) -> Result<Self, ProposalError> {
        let into = base(repository, decisions).parse::<RefName>();
        Ok(Self {
            proposals,
            repository: Arc::clone(repository),
            decisions: decisions.clone(),
            into: into.map_err(|error| ProposalError::Repository(error.into()))?,
        })
    }

    fn uid(&self) -> String {
        self.repository.uid().unwrap_or_default()
    }

    fn mirror(&self) -> Mirror {
        self.proposals.mirror(&self.repository)
    }

    /// The remote, unless it wants to be left alone.
    async fn remote(&self) -> Result<Remote, ProposalError> {
        if let Some(retry_after) = self.rest().left() {
            let url = self.repository.spec.url.parse::<RemoteUrl>();
            let host = url.map(|url| url.host().to_owned()).unwrap_or_default();
            return Err(GitError::RateLimited { host, retry_after }.into());
        }
        Ok(credentials::remote(self.proposals.context.client(), &self.repository).await?)
    }

    fn rest(&self) -> HostPause {
        let url = &self.repository.spec.url;
        self.proposals.settings.pauses.of(&self.repository, url)
    }

    /// Keeps in mind that the remote wants to be left alone.
    fn kept<T>(&self, result: Result<T, ProposalError>) -> Result<T, ProposalError> {
        result.inspect_err(|error| {
            if let ProposalError::Git(error) = error
                && let Some(pause) = error.retry_after()
            {
                self.rest().begin(pause);
            }
        })
    }

    /// Asks the remote where the branch is. Whether it moved.
    pub(super) async fn look(&self) -> Result<bool, ProposalError> {
        let slot = self.proposals.heads.of(&self.uid());
        let mut head = slot.lock().await;
        let found = Some(self.kept(self.find().await)?);
        let moved = *head != found;
        *head = found;
        Ok(moved)
    }

    async fn find(&self) -> Result<Option<CommitId>, ProposalError> {
        let remote = self.remote().await?;
        let wanted = vec![RefSelector::Name(self.into.clone())];
        let synced = self
            .mirror()
            .sync(remote, wanted, self.proposals.shutdown.clone())
            .await?;
        Ok(synced.refs.into_values().flatten().map(|at| at.commit).next())
    }

    /// Works on one question. `wanted` if it is to be put as a branch. Gives when to look again.
    pub(super) async fn settle(
        &self,
        key: &ApprovalKey,
        approval: Option<&Approval>,
        wanted: bool,
    ) -> Result<Option<Duration>, ProposalError> {
        self.kept(self.work(key, approval, wanted).await)
    }

    async fn work(
        &self,
        key: &ApprovalKey,
        approval: Option<&Approval>,
        wanted: bool,
    ) -> Result<Option<Duration>, ProposalError> {
        let slot = self.proposals.heads.of(&self.uid());
        let mut head = slot.lock().await;
        let Some(approval) = approval.filter(|approval| wanted && is_open(approval)) else {
            if self.proposals.has_put(key) {
                self.take_back(key).await?;
            }
            return Ok(None);
        };
        let at = match *head {
            Some(at) => at,
            None => *head.insert(self.find().await?),
        };
        let Some(at) = at else {
            return Err(ProposalError::NoBranch(self.into.to_string()));
        };
        let changes = self.mirror().changes(at, &self.path(key)).await?;
        if !self.proposals.has_put(key) && !self.is_there(key, approval, &changes).await {
            self.put(key, approval, at).await?;
        }
        self.proposals.put(key);
        self.judge(key, approval, &changes).await
    }

    /// Whether one of these changes brings the question. A file that is there already may be anybody's.
    async fn is_there(&self, key: &ApprovalKey, approval: &Approval, changes: &[Change]) -> bool {
        let question = self.question(key, approval);
        for change in changes {
            if reading::answer(&self.proposals.context, &question, change.content.as_deref())
                .await
                .is_ok()
            {
                return true;
            }
        }
        false
    }

    fn branch(&self, key: &ApprovalKey) -> Result<RefName, ProposalError> {
        branch_of(&self.repository, key)
            .parse::<RefName>()
            .map_err(|error| ProposalError::Repository(error.into()))
    }

    fn path(&self, key: &ApprovalKey) -> String {
        let folder = self.decisions.folder();
        format!("{folder}/{}/{}.yaml", key.namespace(), key.name())
    }

    fn question<'q>(&'q self, key: &'q ApprovalKey, approval: &'q Approval) -> Question<'q> {
        Question {
            spec: &approval.spec,
            namespace: key.namespace(),
            name: key.name(),
            uid: approval.metadata.uid.as_deref().unwrap_or_default(),
            put: PutAs::Branch(self.into.as_str().trim_start_matches("refs/heads/")),
        }
    }

    /// The change of a file that a commit of the branch made, asked of the remote afresh; none where the commit is not on the branch itself, or left
    /// the file alone. What other branches brought along is theirs.
    pub(super) async fn landed(&self, commit: CommitId, path: &str) -> Result<Option<Change>, ProposalError> {
        let slot = self.proposals.heads.of(&self.uid());
        // what is known of the branch stays as it was, so that it is news for those who wait for it
        let _alone = slot.lock().await;
        let Some(at) = self.find().await? else {
            return Ok(None);
        };
        let changes = self.mirror().changes(at, path).await?;
        Ok(changes.into_iter().find(|change| change.commit == commit))
    }

    async fn put(&self, key: &ApprovalKey, approval: &Approval, base: CommitId) -> Result<(), ProposalError> {
        let branch = self.branch(key)?;
        let question = self.question(key, approval);
        let file = ProposedFile {
            branch: branch.clone(),
            base,
            path: self.path(key),
            content: question.file(1, None),
            message: question.message(),
        };
        let remote = self.remote().await?;
        let stop = self.proposals.shutdown.clone();
        if self.is_another(&branch, &question, &file.path).await? {
            tracing::warn!(approval = %key, %branch, "a branch that does not put its question is made anew");
            self.mirror()
                .delete_branch(remote.clone(), branch.clone(), stop.clone())
                .await?;
        }
        if self.mirror().propose(remote, file, stop).await? {
            let note = format!(
                "the question is on {branch} of Repository {}: merge it into {} with a signed commit",
                self.repository.name_any(),
                self.into
            );
            let context = &self.proposals.context;
            context.event(approval, EventType::Normal, "Asked", &note).await;
        }
        Ok(())
    }

    /// Whether the remote has the branch with something else on it than the question: somebody may have been there first.
    async fn is_another(
        &self,
        branch: &RefName,
        question: &Question<'_>,
        path: &str,
    ) -> Result<bool, ProposalError> {
        let remote = self.remote().await?;
        let wanted = [&self.into, branch].map(|name| RefSelector::Name(name.clone()));
        let stop = self.proposals.shutdown.clone();
        let mut synced = self.mirror().sync(remote, wanted.to_vec(), stop).await?;
        let there = synced.refs.remove(&RefSelector::Name(branch.clone()));
        let Some(there) = there.flatten() else {
            return Ok(false);
        };
        let changes = self.mirror().changes(there.commit, path).await?;
        let newest = changes.last().and_then(|change| change.content.as_deref());
        Ok(reading::answer(&self.proposals.context, question, newest)
            .await
            .is_err())
    }

    async fn take_back(&self, key: &ApprovalKey) -> Result<(), ProposalError> {
        let remote = self.remote().await?;
        let stop = self.proposals.shutdown.clone();
        self.mirror()
            .delete_branch(remote, self.branch(key)?, stop)
            .await?;
        self.proposals.taken_back(key);
        Ok(())
    }

    /// Makes decisions of what was signed, the oldest first, and the next one only once that is judged: the judge goes by the order in which
    /// they are made.
    async fn judge(
        &self,
        key: &ApprovalKey,
        approval: &Approval,
        changes: &[Change],
    ) -> Result<Option<Duration>, ProposalError> {
        let made = if changes.is_empty() {
            BTreeMap::new()
        } else {
            decision::made(&self.proposals.context, key).await?
        };
        let mut again = false;
        for change in changes {
            let seen = (change.commit, self.repository.metadata.generation);
            let name = self.decision_name(key, change.commit);
            let refused = match standing(made.get(&name), self.proposals.has_refused(key, seen)) {
                ClaimState::New => match self.consider(key, approval, change, &name).await? {
                    Ok(()) => {
                        again = true;
                        break;
                    }
                    Err(why) => why,
                },
                ClaimState::Judging => {
                    again = true;
                    break;
                }
                ClaimState::Refused(why) => why,
                // it closes the question, which was still open when it was read
                ClaimState::Counted if made.get(&name).is_some_and(|made| closes(approval, made)) => break,
                ClaimState::Counted | ClaimState::Answered => continue,
            };
            let note = format!("commit {} decides nothing: {refused}", change.commit.short());
            let context = &self.proposals.context;
            context
                .event(approval, EventType::Warning, "AnswerNotCounted", &note)
                .await;
            self.proposals.refused(key, seen);
        }
        Ok(again.then_some(UNTIL_JUDGED))
    }

    fn decision_name(&self, key: &ApprovalKey, commit: CommitId) -> String {
        let act = Digest::of(format!("{}/{commit}", self.uid()).as_bytes());
        let begin: String = key.name().chars().take(200).collect();
        format!("{begin}-git-{}", act.short())
    }

    /// Makes a decision of a commit, or says why it is none.
    async fn consider(
        &self,
        key: &ApprovalKey,
        approval: &Approval,
        change: &Change,
        name: &str,
    ) -> Result<Result<(), String>, ProposalError> {
        if !change.alone {
            return Ok(Err("it changes other files as well".to_owned()));
        }
        let Some(content) = &change.content else {
            return Ok(Err("the file with the question is too large".to_owned()));
        };
        let file = match reading::answer(
            &self.proposals.context,
            &self.question(key, approval),
            Some(content),
        )
        .await
        {
            Ok(file) => file,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let Some(verdict) = file.verdict else {
            return Ok(Err("the file has no verdict".to_owned()));
        };
        let verified = match self.verified(change.commit).await? {
            Ok(verified) => verified,
            Err(why) => return Ok(Err(why)),
        };
        let person = match holder(self.repository.spec.identities.as_ref(), &verified.key) {
            Ok(person) => person,
            Err(why) => return Ok(Err(format!("key {:?}: {why}", verified.key))),
        };
        let approval_name = match key.name().parse() {
            Ok(name) => name,
            Err(why) => return Ok(Err(format!("{why}"))),
        };
        let context = &self.proposals.context;
        let decider = match behalf::decider(context, key, person).await? {
            Ok(decider) => decider,
            Err(Person { user, .. }) => {
                return Ok(Err(no_right(&user, key.namespace())));
            }
        };
        let filled = file.values.filter(|values| !values.0.is_empty());
        let values = filled.filter(|_| verdict == Verdict::Approve);
        let mut evidence = self.evidence(change.commit, content, &verified);
        let digest = values.as_ref().map(|values| values_digest(Some(values)));
        evidence.extend(digest.map(|digest| ("valuesDigest".to_owned(), digest.to_string())));
        let comment = file.comment.filter(|comment| !comment.trim().is_empty());
        let spec = DecisionSpec {
            approval: approval_name,
            digest: approval.spec.digest.clone(),
            verdict,
            comment: comment.map(|text| text.chars().take(4_000).collect()),
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
        Ok(match decider.decide(context, name, via, spec).await? {
            Decided::Made => {
                tracing::info!(approval = %key, key = %verified.key, commit = %change.commit, "somebody decided with a signed commit");
                Ok(())
            }
            Decided::Refused(why) => Err(why),
        })
    }

    /// Which of the accepted keys signed a commit, or why none did.
    async fn verified(&self, commit: CommitId) -> Result<Result<Verified, String>, ProposalError> {
        let Some(verify) = &self.repository.spec.verify else {
            let why = "`spec.verify` of the Repository names no keys whose signatures count";
            return Ok(Err(why.to_owned()));
        };
        let context = &self.proposals.context;
        let keys = trust::keys(context, &self.repository, verify).await?;
        let signed = self.mirror().signed_commit(&self.into, commit).await?;
        let verified = signed.and_then(|signed| keys.verify(&signed, context.now()));
        Ok(verified.map_err(|why| why.to_string()))
    }

    fn evidence(&self, commit: CommitId, file: &[u8], verified: &Verified) -> BTreeMap<String, String> {
        [
            ("repository", self.repository.name_any()),
            ("url", self.repository.spec.url.clone()),
            ("act", "signed-commit".to_owned()),
            ("branch", self.into.to_string()),
            ("commit", commit.to_string()),
            ("fileDigest", Digest::of(file).to_string()),
            ("key", verified.key.clone()),
            ("fingerprint", verified.fingerprint.clone()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// Whether a decision that counts leaves nothing to decide.
fn closes(approval: &Approval, decision: &Decision) -> bool {
    approval.spec.quorum == 1 || decision.spec.verdict != Verdict::Approve
}

/// What somebody is told who may not decide, and how that is mended.
fn no_right(user: &str, namespace: &str) -> String {
    format!(
        "the user {user:?} has no right to `approve` it. Somebody with the right to bind roles may give it: \
         `kubectl -n {namespace} create rolebinding approvers --clusterrole=signoff-approver --user={user}`. \
         Then push another signed commit that changes the file: this one is not judged again"
    )
}
