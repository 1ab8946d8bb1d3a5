//! Puts open questions on forges as pull requests, and makes decisions of what people do there.
//!
//! What the forge's API says at that moment is believed, and nothing else: a webhook is only a reason to ask, and a commit's author is
//! never looked at. A decision made here is judged like any other.

mod binding;
mod branch;
mod claim;
mod decision;
mod person;
mod plan;
mod poll;
mod propose;
mod reading;
mod settle;
mod tell;
mod texts;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt as _,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use self::propose::linked;
use crate::{
    cluster::{
        backoff::Backoffs,
        behalf::BehalfError,
        context::Context,
        error_chain,
        object_key::ApprovalKey,
        parts::beside,
        queue::{self, Touched},
        shared::{Change, Question, QuestionChange, RepositoryQuestions, SharedStores},
        timers::Wake,
    },
    forge::{ForgeError, PullRequestNumber, SetStatuses},
    git::{CommitId, GitError, Mirror},
    remotes::{RepositoryError, RepositorySettings, forges::ForgeSettingsError, mirrors::Purpose},
};
use signoff_api::{
    Approval, Repository,
    reason::{Classified, ErrorClass},
};

/// How many questions are worked on at the same time.
const CONCURRENCY: usize = 8;
/// How long a pull request must have been as it is before its time of change is believed.
const SETTLED: SignedDuration = SignedDuration::from_secs(30);
/// Pause before what only a user can mend is tried again.
const AFTER_INVALID: Duration = Duration::from_mins(5);

/// Why a question could not be put or settled on its forge now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    /// The API server refused or did not answer.
    #[error("cannot {0}")]
    Api(&'static str, #[source] kube::Error),
    /// It could not be decided on somebody's behalf.
    #[error(transparent)]
    Behalf(#[from] BehalfError),
    /// The forge is not set up.
    #[error(transparent)]
    Settings(#[from] ForgeSettingsError),
    /// The forge refuses.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// The remote or the mirror failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The settings, the credentials or the keys for git cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The branch that answers are looked for on is not there.
    #[error("the remote has no {0}, where signed merges would be")]
    NoBranch(String),
    /// Questions are put as pull requests, and it is not said where.
    #[error("questions are to be put as pull requests, but `spec.forge` of the Repository names no forge")]
    NoForge,
    /// Every pull request that put it was used up.
    #[error(
        "it was put {} times and no answer counted: decide it in another way",
        plan::MAX_ATTEMPTS
    )]
    GivenUp,
}

impl ProposalError {
    /// How long the forge wants to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Forge(error) | Self::Settings(ForgeSettingsError::Forge(error)) => error.retry_after(),
            Self::Git(error) => error.retry_after(),
            Self::Api(..)
            | Self::Behalf(_)
            | Self::Settings(_)
            | Self::Repository(_)
            | Self::NoBranch(_)
            | Self::NoForge
            | Self::GivenUp => None,
        }
    }
}

impl Classified for ProposalError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(..) | Self::Behalf(_) => ErrorClass::Transient,
            Self::Settings(error) => error.class(),
            Self::Forge(error) => error.class(),
            Self::Git(error) => error.class(),
            Self::Repository(error) => error.class(),
            Self::NoBranch(_) => ErrorClass::Waiting,
            Self::NoForge | Self::GivenUp => ErrorClass::Invalid,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(..) | Self::Behalf(_) => "APIFailed",
            Self::Settings(error) => error.reason(),
            Self::Forge(error) => error.reason(),
            Self::Git(error) => error.reason(),
            Self::Repository(error) => error.reason(),
            Self::NoBranch(_) => "RefNotFound",
            Self::NoForge => "ForgeMissing",
            Self::GivenUp => "AnswerNotCounted",
        }
    }
}

/// What is known of a question between two looks at it.
#[derive(Debug, Default)]
struct Known {
    /// Name of the Repository on whose forge it is put.
    home: String,
    /// Whether it is not put as a pull request, and nothing of it is on the forge that waits for us.
    away: bool,
    /// The last look at it; nothing before the first.
    look: Option<Look>,
    /// The status of the newest commit that has one.
    statuses: SetStatuses,
    /// What its people were last told is wrong.
    warned: Option<String>,
    /// Whether it was put as a branch.
    put: bool,
    /// Commits that were told to decide nothing, with the Repository as it was.
    refused: HashSet<(CommitId, Option<i64>)>,
    /// The head of its pull request that was found to bring the question and nothing else.
    sound: Option<CommitId>,
    /// What was answered or warned of on its pull requests since this process began.
    told: HashSet<(PullRequestNumber, String)>,
}

/// A look at the pull request of a question.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// When it began.
    at: Timestamp,
    /// When the pull request had last changed, by the forge's clock.
    updated_at: Option<Timestamp>,
}

impl Look {
    /// Whether a pull request may have changed since: it says so, or it had changed so short before that its clock, of whole seconds and
    /// perhaps off, cannot tell.
    fn may_be_outdated_by(self, updated_at: Option<Timestamp>) -> bool {
        let Some(updated_at) = updated_at else { return true };
        self.updated_at != Some(updated_at) || self.at.duration_since(updated_at) < SETTLED
    }
}

/// What questions need to be put and settled on forges.
struct ProposalContext {
    context: Arc<Context>,
    settings: RepositorySettings,
    repositories: Store<Repository>,
    /// The open questions of Repositories.
    questions: RepositoryQuestions,
    known: Mutex<HashMap<ApprovalKey, Known>>,
    heads: branch::Heads,
    backoffs: Backoffs<ApprovalKey>,
    shutdown: CancellationToken,
}

impl ProposalContext {
    /// The Repository on whose forge a question is put.
    fn home(&self, key: &ApprovalKey, approval: Option<&Approval>) -> Option<String> {
        let named = approval.and_then(|approval| approval.spec.repository.clone());
        named.or_else(|| self.lock().get(key).map(|known| known.home.clone()))
    }

    /// A question was worked on, with its pull request as it was then.
    fn looked(&self, key: &ApprovalKey, look: Look, away: bool) {
        if let Some(known) = self.lock().get_mut(key) {
            known.look = Some(look);
            known.away = away;
        }
    }

    /// Whether a question was put as a branch.
    fn has_put(&self, key: &ApprovalKey) -> bool {
        self.lock().get(key).is_some_and(|known| known.put)
    }

    /// Whether something that put a question may still be there.
    fn may_be_left(&self, key: &ApprovalKey, approval: Option<&Approval>) -> bool {
        let known = self.lock();
        let known = known.get(key);
        let is_away = known.is_some_and(|known| known.away);
        known.is_some_and(|known| known.put) || approval.and_then(linked).is_some() && !is_away
    }

    fn put(&self, key: &ApprovalKey) {
        self.lock().entry(key.clone()).or_default().put = true;
    }

    fn taken_back(&self, key: &ApprovalKey) {
        if let Some(known) = self.lock().get_mut(key) {
            known.put = false;
        }
    }

    fn has_refused(&self, key: &ApprovalKey, commit: (CommitId, Option<i64>)) -> bool {
        self.lock()
            .get(key)
            .is_some_and(|known| known.refused.contains(&commit))
    }

    fn refused(&self, key: &ApprovalKey, commit: (CommitId, Option<i64>)) {
        if let Some(known) = self.lock().get_mut(key) {
            known.refused.insert(commit);
        }
    }

    fn is_sound(&self, key: &ApprovalKey, head: CommitId) -> bool {
        self.lock()
            .get(key)
            .is_some_and(|known| known.sound == Some(head))
    }

    fn sound(&self, key: &ApprovalKey, head: CommitId) {
        if let Some(known) = self.lock().get_mut(key) {
            known.sound = Some(head);
        }
    }

    /// What was told on a pull request, however its comments were edited since.
    fn told(&self, key: &ApprovalKey, number: PullRequestNumber) -> Vec<String> {
        let known = self.lock();
        let told = known.get(key).into_iter().flat_map(|known| &known.told);
        told.filter(|(on, _)| *on == number)
            .map(|(_, what)| what.clone())
            .collect()
    }

    fn tell(&self, key: &ApprovalKey, number: PullRequestNumber, what: String) {
        if let Some(known) = self.lock().get_mut(key) {
            known.told.insert((number, what));
        }
    }

    /// A mirror of its own, with the history that tells who signed what.
    fn mirror(&self, repository: &Repository) -> Mirror {
        self.settings.mirror(repository, Purpose::Questions)
    }

    fn statuses(&self, key: &ApprovalKey) -> SetStatuses {
        let known = self.lock();
        known
            .get(key)
            .map(|known| known.statuses.clone())
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ApprovalKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts and settles questions until `shutdown`. `hooks` tells of Repositories whose forge has news. The stores must be filled before.
pub async fn run(
    context: Arc<Context>,
    stores: SharedStores,
    settings: RepositorySettings,
    hooks: broadcast::Receiver<ObjectRef<Repository>>,
    shutdown: CancellationToken,
) {
    let proposals = Arc::new(ProposalContext {
        context,
        settings,
        repositories: stores.repositories.store(),
        questions: stores.questions.clone(),
        known: Mutex::default(),
        heads: branch::Heads::default(),
        backoffs: Backoffs::default(),
        shutdown: shutdown.clone(),
    });
    let (touch, touched) = mpsc::unbounded_channel();
    let following = follow(Arc::clone(&proposals), stores, touch.clone());
    let polling = poll::run(Arc::clone(&proposals), hooks, touch);
    let watching = async move { tokio::join!(following, polling) };
    let watching = shutdown.clone().run_until_cancelled_owned(watching);
    // boxed: it is large
    Box::pin(beside(watching, settle_all(proposals, touched, shutdown))).await;
}

async fn settle_all(
    proposals: Arc<ProposalContext>,
    touched: mpsc::UnboundedReceiver<Touched<Approval>>,
    shutdown: CancellationToken,
) {
    let context = Arc::clone(&proposals.context);
    let touched = stream::unfold(touched, async |mut touched| {
        Some((touched.recv().await?, touched))
    });
    queue::run("Proposal", &context, touched, CONCURRENCY, shutdown, |key, _| {
        let proposals = Arc::clone(&proposals);
        async move {
            let worked = proposals
                .context
                .counted("Proposal", settle::settle(&proposals, &key))
                .await;
            match worked {
                Ok(again) => {
                    proposals.backoffs.succeeded(&key);
                    again.map(Wake::After)
                }
                Err(error) => Some(Wake::After(failed(&proposals, &key, &error).await)),
            }
        }
    })
    .await;
}

/// Says once what is wrong. Gives the pause before the next try.
async fn failed(proposals: &ProposalContext, key: &ApprovalKey, error: &ProposalError) -> Duration {
    let message = error_chain(error);
    tracing::warn!(approval = %key, error = %message, "a question could not be put or settled on its forge; trying again");
    // how long it still is to be left alone is another text each time
    let what = match error.retry_after() {
        Some(_) => error.reason().to_owned(),
        None => message.clone(),
    };
    let news = proposals.lock().get_mut(key).is_some_and(|known| {
        let told = known.warned.replace(what.clone());
        told.as_ref() != Some(&what)
    });
    if error.class() != ErrorClass::Transient {
        tell::cannot_be_put(&proposals.context, key, error.reason(), &message, news).await;
    }
    match error.class() {
        ErrorClass::Invalid => AFTER_INVALID,
        _ => error
            .retry_after()
            .unwrap_or_else(|| proposals.backoffs.failed(key.clone())),
    }
}

/// Has questions worked on that have come or changed, and those of Repositories that have.
async fn follow(
    proposals: Arc<ProposalContext>,
    stores: SharedStores,
    touch: mpsc::UnboundedSender<Touched<Approval>>,
) {
    let mut repositories = Box::pin(stores.repositories.subscribe());
    let mut questions = Box::pin(stores.questions.subscribe());
    loop {
        let touched = tokio::select! {
            Some(repository) = repositories.next() => proposals.repository_changed(&repository).await,
            Some(question) = questions.next() => proposals.question_changed(question).into_iter().collect(),
            else => return,
        };
        for key in touched {
            // the receiver is gone only when the operator ends
            let _ = touch.send(Touched::Named(key));
        }
    }
}

impl ProposalContext {
    /// Forgets a Repository that is gone, and its mirror.
    async fn forget(&self, repository: &Repository) {
        let uid = repository.uid().unwrap_or_default();
        self.heads.forget(&uid);
        self.settings.pauses.forget(&uid);
        if let Err(error) = self.mirror(repository).remove().await {
            tracing::warn!(%error, "the mirror of a deleted repository's questions could not be removed");
        }
    }

    /// Gives the questions that a Repository which has changed may put otherwise.
    async fn repository_changed(&self, change: &Change<Repository>) -> Vec<ApprovalKey> {
        let repository = match change {
            Change::Removed(gone) => {
                self.forget(gone).await;
                return Vec::new();
            }
            // its status is no matter here
            Change::Updated { before, now } if before.metadata.generation == now.metadata.generation => {
                return Vec::new();
            }
            Change::Present(repository)
            | Change::Added(repository)
            | Change::Updated { now: repository, .. } => repository,
        };
        let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
        let of = self.questions.of(&namespace, &name).into_iter();
        of.filter_map(|(key, question)| self.question_changed(QuestionChange::Open(key, question)))
            .collect()
    }

    /// Gives the question if there is something to be done for it.
    fn question_changed(&self, change: QuestionChange) -> Option<ApprovalKey> {
        match change {
            QuestionChange::Open(key, question) => {
                let is_known = self.lock().contains_key(&key);
                if !is_known && !self.may_put(&key, &question) {
                    return None;
                }
                let home = question.repository.to_string();
                self.lock().entry(key.clone()).or_default().home = home;
                Some(key)
            }
            QuestionChange::Over(key) => self.lock().contains_key(&key).then_some(key),
        }
    }

    /// Whether a question may be put at all. One whose Repository is not known yet is looked at.
    fn may_put(&self, key: &ApprovalKey, question: &Question) -> bool {
        let home = ObjectRef::new(&question.repository).within(key.namespace());
        let repository = self.repositories.get(&home);
        repository.is_none_or(|repository| repository.spec.decisions.is_some() || question.linked)
    }

    /// The questions of a Repository that are put as branches.
    fn put_at(&self, namespace: &str, repository: &str) -> Vec<ApprovalKey> {
        let known = self.lock();
        let at = known
            .iter()
            .filter(|(key, known)| key.namespace() == namespace && known.home == repository && known.put);
        at.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_the_second_of_the_look_is_not_missed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let look = |at_second, updated| Look {
            at: at(at_second),
            updated_at: Some(at(updated)),
        };
        assert!(look(1_000, 900).may_be_outdated_by(Some(at(901))), "it changed");
        assert!(
            look(1_000, 999).may_be_outdated_by(Some(at(999))),
            "it may have changed in that second"
        );
        assert!(!look(1_000, 900).may_be_outdated_by(Some(at(900))));
        assert!(
            look(1_000, 900).may_be_outdated_by(None),
            "the forge does not say"
        );
    }
}
