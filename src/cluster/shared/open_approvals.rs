//! The questions that are open, as the watch shows them: a name and two numbers for each. The whole approval is read when it is judged.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use compact_str::CompactString;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::{mpsc, watch};

use crate::{
    cluster::{
        object_key::{ApprovalKey, UidMark, created_at},
        queue::Touched,
    },
    telemetry::metrics::Metrics,
};
use signoff_api::Approval;

/// Learns that questions are over.
pub trait QuestionListener: Clone + Send + Sync + 'static {
    /// A question is closed or gone, and it is not known which. `run` is the name of the run it was put for, if it was.
    fn approval_is_over(&self, approval: &ApprovalKey, run: Option<&str>);
}

/// What is kept of an open question.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// When it was put, in seconds of Unix time.
    created: i64,
    /// Which of that name it is.
    uid: UidMark,
    /// Whether it was found to be a question that we ask.
    asked: bool,
    /// The object it belongs to.
    owner: UidMark,
    /// The run it was put for, if it was.
    pub(super) run: Option<CompactString>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<ApprovalKey, Open>,
    /// What a new listing has brought so far.
    listing: Option<HashMap<ApprovalKey, Open>>,
    /// Those that are being answered here, and whether the watch has shown them closed meanwhile.
    answering: HashMap<ApprovalKey, bool>,
}

/// While it lives, the watch tells nobody that this question is closed: whoever writes the answer does, and knows more.
#[derive(Debug)]
pub struct Answering<'a, L: QuestionListener> {
    open: &'a OpenApprovals,
    listener: &'a L,
    key: &'a ApprovalKey,
    run: Option<&'a str>,
}

impl<L: QuestionListener> Answering<'_, L> {
    /// The answer was told by whoever wrote it.
    pub fn told(self) {
        self.open.lock().answering.insert(self.key.clone(), false);
    }
}

impl<L: QuestionListener> Drop for Answering<'_, L> {
    fn drop(&mut self) {
        let shown_closed = self.open.lock().answering.remove(self.key);
        if shown_closed == Some(true) {
            self.listener.approval_is_over(self.key, self.run);
        }
    }
}

/// The questions that are open. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct OpenApprovals(Arc<Mutex<Inner>>, watch::Receiver<bool>);

impl OpenApprovals {
    /// None, before the first listing; and what is to be told when that is whole.
    pub(super) fn new() -> (Self, watch::Sender<bool>) {
        let (filled, is_filled) = watch::channel(false);
        (Self(Arc::default(), is_filled), filled)
    }

    /// None, and none will come.
    #[cfg(test)]
    pub fn none() -> Self {
        Self::new().0
    }

    /// Returns when the watch has shown all there are.
    pub async fn are_known(&self) {
        let mut filled = self.1.clone();
        // an error says that the watch has ended, and with it everything else
        let _ = filled.wait_for(|filled| *filled).await;
    }

    /// Whether this question is open, and put by this very owner.
    pub fn is_open(&self, key: &ApprovalKey, owner: &str) -> bool {
        self.lock()
            .open
            .get(key)
            .is_some_and(|open| open.owner == UidMark::of(owner))
    }

    /// Whether a question of that name is open.
    pub fn keeps(&self, key: &ApprovalKey) -> bool {
        self.lock().open.contains_key(key)
    }

    /// Whether it was found before that we ask this question.
    pub fn is_asked(&self, key: &ApprovalKey, approval: &Approval) -> bool {
        let uid = UidMark::of_object(approval);
        self.lock()
            .open
            .get(key)
            .is_some_and(|open| open.uid == uid && open.asked)
    }

    /// It was found that we ask this question.
    pub fn found_asked(&self, key: &ApprovalKey, approval: &Approval) {
        let uid = UidMark::of_object(approval);
        if let Some(open) = self.lock().open.get_mut(key).filter(|open| open.uid == uid) {
            open.asked = true;
        }
    }

    /// A question is about to be answered here.
    pub fn answering<'a, L: QuestionListener>(
        &'a self,
        key: &'a ApprovalKey,
        run: Option<&'a str>,
        listener: &'a L,
    ) -> Answering<'a, L> {
        self.lock().answering.insert(key.clone(), false);
        Answering {
            open: self,
            listener,
            key,
            run,
        }
    }

    /// All that are open.
    pub fn keys(&self) -> Vec<ApprovalKey> {
        self.lock().open.keys().cloned().collect()
    }

    /// Has all that are open looked at.
    pub fn touch_all(&self, touch: &mpsc::UnboundedSender<Touched<Approval>>) {
        for key in self.keys() {
            // the receiver is gone only when the operator ends
            let _ = touch.send(Touched::Named(key));
        }
    }

    /// Those that were put for runs, each with the run's name.
    pub fn of_runs(&self) -> Vec<(ApprovalKey, String)> {
        let inner = self.lock();
        let open = inner.open.iter();
        open.filter_map(|(key, open)| Some((key.clone(), open.run.as_deref()?.to_owned())))
            .collect()
    }

    /// Tells how many are pending in all of these and how long the oldest has been.
    pub fn count(all: &[Self], metrics: &Metrics) {
        let pending = all.iter().map(|open| open.lock().open.len()).sum();
        let oldest = all.iter().filter_map(Self::oldest).min();
        let oldest = oldest.map(|created| Timestamp::from_second(created).unwrap_or_default());
        metrics.approvals_pending(pending, oldest.map(|oldest| oldest.as_duration().as_secs_f64()));
    }

    /// When the oldest was put, in seconds of Unix time.
    fn oldest(&self) -> Option<i64> {
        self.lock().open.values().map(|open| open.created).min()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the watch shows.
impl OpenApprovals {
    /// A new listing begins.
    pub(super) fn relisting(&self) {
        self.lock().listing = Some(HashMap::new());
    }

    /// The listing is whole. Gives what is no longer open.
    pub(super) fn relisted(&self) -> Vec<(ApprovalKey, Open)> {
        let mut inner = self.lock();
        let listing = inner.listing.take().unwrap_or_default();
        let before = std::mem::replace(&mut inner.open, listing);
        before
            .into_iter()
            .filter(|(key, _)| !inner.open.contains_key(key))
            .collect()
    }

    /// The watch shows an open question, in a listing or by itself.
    pub(super) fn put(&self, key: ApprovalKey, approval: &Approval) {
        let owner = approval.owner_references().first();
        let uid = UidMark::of_object(approval);
        let mut inner = self.lock();
        let known = inner.open.get(&key).filter(|known| known.uid == uid);
        let open = Open {
            uid,
            asked: known.is_some_and(|known| known.asked),
            created: created_at(approval).as_second(),
            owner: UidMark::of(owner.map(|owner| owner.uid.as_str()).unwrap_or_default()),
            run: approval.spec.subject.run.as_deref().map(Into::into),
        };
        match &mut inner.listing {
            Some(listing) => listing.insert(key, open),
            None => inner.open.insert(key, open),
        };
    }

    /// A question has left the watch. Gives what was known of it, and whether somebody else will tell.
    pub(super) fn is_over(&self, key: &ApprovalKey) -> (Option<Open>, bool) {
        let mut inner = self.lock();
        let open = inner.open.remove(key);
        let answering = inner
            .answering
            .get_mut(key)
            .map(|shown_closed| *shown_closed = true);
        (open, answering.is_some())
    }
}
