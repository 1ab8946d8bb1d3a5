//! Open questions about flows of a Repository: which Repository, for those who put them there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use compact_str::CompactString;
use futures::Stream;
use kube::ResourceExt as _;
use tokio::sync::mpsc::{self, UnboundedSender};

use super::feed::received;
use crate::cluster::object_key::ApprovalKey;
use signoff_api::{Approval, names};

/// An open question about a flow of a Repository.
#[derive(Clone, Debug)]
pub struct Question {
    /// Name of the Repository.
    pub repository: CompactString,
    /// Whether it names a pull request that puts it.
    pub linked: bool,
}

impl Question {
    /// What is kept of an approval, if it is about a flow of a Repository.
    fn of(approval: &Approval) -> Option<Self> {
        approval.labels().contains_key(names::REPOSITORY).then(|| Self {
            repository: approval.spec.repository.as_deref().unwrap_or_default().into(),
            linked: linked(approval),
        })
    }
}

/// Whether an approval names a pull request that puts it.
fn linked(approval: &Approval) -> bool {
    approval
        .status
        .as_ref()
        .is_some_and(|status| status.pull_request.is_some())
}

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub enum QuestionChange {
    /// It is open: it was when the subscriber joined, or is new, or its approval has changed.
    Open(ApprovalKey, Question),
    /// It is closed or gone.
    Over(ApprovalKey),
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<ApprovalKey, Question>,
    /// What a new listing has brought so far.
    listing: Option<HashMap<ApprovalKey, Question>>,
    senders: Vec<UnboundedSender<QuestionChange>>,
}

/// The open questions about flows of Repositories. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct RepositoryQuestions(Arc<Mutex<Inner>>);

impl RepositoryQuestions {
    /// What is open now, then each change.
    pub fn subscribe(&self) -> impl Stream<Item = QuestionChange> + Send + use<> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = self.lock();
        for (key, question) in &inner.open {
            // the receiver is here
            let _ = sender.send(QuestionChange::Open(key.clone(), question.clone()));
        }
        inner.senders.push(sender);
        received(receiver)
    }

    /// Those of a Repository.
    pub fn of(&self, namespace: &str, repository: &str) -> Vec<(ApprovalKey, Question)> {
        let inner = self.lock();
        let of = inner
            .open
            .iter()
            .filter(|(key, question)| key.namespace() == namespace && question.repository == repository);
        of.map(|(key, question)| (key.clone(), question.clone()))
            .collect()
    }

    /// A new listing begins.
    pub(super) fn relisting(&self) {
        self.lock().listing = Some(HashMap::new());
    }

    /// The listing brings an open approval.
    pub(super) fn listed(&self, key: &ApprovalKey, approval: &Approval) {
        if let Some(question) = Question::of(approval) {
            let mut inner = self.lock();
            let listing = inner.listing.get_or_insert_default();
            listing.insert(key.clone(), question);
        }
    }

    /// The listing is whole.
    pub(super) fn relisted(&self) {
        let mut inner = self.lock();
        let now = inner.listing.take().unwrap_or_default();
        let before = std::mem::replace(&mut inner.open, now);
        // any of them may have changed in what is not kept here
        let open = inner.open.iter();
        let open = open.map(|(key, question)| QuestionChange::Open(key.clone(), question.clone()));
        let over = before.keys().filter(|key| !inner.open.contains_key(key));
        let changes: Vec<_> = open.chain(over.cloned().map(QuestionChange::Over)).collect();
        inner.tell(&changes);
    }

    /// The watch shows an open approval.
    pub(super) fn shown(&self, key: &ApprovalKey, approval: &Approval) {
        let mut inner = self.lock();
        match Question::of(approval) {
            Some(question) => {
                inner.open.insert(key.clone(), question.clone());
                inner.tell(&[QuestionChange::Open(key.clone(), question)]);
            }
            None => inner.over(key),
        }
    }

    /// An approval is closed or gone.
    pub(super) fn over(&self, key: &ApprovalKey) {
        self.lock().over(key);
    }

    /// An approval cannot be decoded any more. What is on its forge stays there: it can be decoded again one day.
    pub(super) fn unreadable(&self, key: &ApprovalKey) {
        self.lock().open.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn over(&mut self, key: &ApprovalKey) {
        if self.open.remove(key).is_some() {
            self.tell(&[QuestionChange::Over(key.clone())]);
        }
    }

    fn tell(&mut self, changes: &[QuestionChange]) {
        // one whose controller has ended is dropped
        self.senders
            .retain(|sender| changes.iter().all(|change| sender.send(change.clone()).is_ok()));
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use serde_json::json;

    use super::*;

    fn approval(name: &str, repository: Option<&str>) -> (ApprovalKey, Approval) {
        let mut approval = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval",
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"subject": {"run": "r", "step": "s"}, "purpose": "Step", "title": "go?",
                "digest": format!("sha256:{}", "0".repeat(64)), "quorum": 1, "selfApproval": false, "verdicts": ["Approve"]}});
        if let Some(repository) = repository {
            approval["metadata"]["labels"] = json!({ names::REPOSITORY: repository });
            approval["spec"]["repository"] = json!(repository);
        }
        let approval: Approval = serde_json::from_value(approval).unwrap();
        (ApprovalKey::of(&approval), approval)
    }

    fn told(changes: &mut (impl Stream<Item = QuestionChange> + Unpin)) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(Some(change)) = changes.next().now_or_never() {
            told.push(match change {
                QuestionChange::Open(key, question) => format!("{} at {}", key.name(), question.repository),
                QuestionChange::Over(key) => format!("{} is over", key.name()),
            });
        }
        told.sort();
        told
    }

    #[test]
    fn only_questions_of_repositories_are_told_of_and_who_joins_sees_those_that_are_open() {
        let questions = RepositoryQuestions::default();
        let mut early = Box::pin(questions.subscribe());
        let (home, away) = (approval("home", Some("flows")), approval("away", None));
        questions.relisting();
        questions.listed(&home.0, &home.1);
        questions.listed(&away.0, &away.1);
        questions.relisted();
        let mut late = Box::pin(questions.subscribe());
        assert_eq!(told(&mut early), ["home at flows"]);
        assert_eq!(told(&mut late), ["home at flows"]);
        assert_eq!(questions.of("ns", "flows").len(), 1);
        assert_eq!(questions.of("other", "flows").len(), 0);
        questions.over(&away.0);
        questions.over(&home.0);
        assert_eq!(told(&mut late), ["home is over"]);
        assert_eq!(questions.of("ns", "flows").len(), 0);
    }

    #[test]
    fn a_new_listing_tells_of_what_was_closed_meanwhile_and_of_what_may_have_changed() {
        let questions = RepositoryQuestions::default();
        let all = ["stays", "closed"].map(|name| approval(name, Some("flows")));
        for (key, approval) in &all {
            questions.shown(key, approval);
        }
        let mut changes = Box::pin(questions.subscribe());
        told(&mut changes);
        questions.relisting();
        questions.listed(&all[0].0, &all[0].1);
        questions.relisted();
        assert_eq!(told(&mut changes), ["closed is over", "stays at flows"]);
    }

    #[test]
    fn a_question_whose_label_is_taken_off_is_over_and_one_that_cannot_be_read_is_not() {
        let questions = RepositoryQuestions::default();
        let (key, labelled) = approval("q", Some("flows"));
        questions.shown(&key, &labelled);
        let mut changes = Box::pin(questions.subscribe());
        told(&mut changes);
        questions.unreadable(&key);
        assert_eq!(told(&mut changes), [""; 0]);
        questions.shown(&key, &labelled);
        questions.shown(&key, &approval("q", None).1);
        assert_eq!(told(&mut changes), ["q at flows", "q is over"]);
    }
}
