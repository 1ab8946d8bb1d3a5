//! The one watch of approvals. It shows those that are open; one that is closed leaves it.

use std::sync::Arc;

use futures::StreamExt as _;
use kube::{
    Resource as _,
    core::ObjectMeta,
    runtime::watcher::{self, Config, Event},
};
use tokio::sync::{mpsc::UnboundedSender, watch};

use super::{
    feed::{Feed, Shared, feed},
    open_approvals::{OpenApprovals, QuestionListener},
    questions::RepositoryQuestions,
};
use crate::cluster::{
    context::Context,
    inbox::{Inbox, inbox},
    object_key::ApprovalKey,
    objects::{Decoded, watch as watch_objects},
    queue::Touched,
};
use signoff_api::{Approval, ApprovalPhase};

/// What the watch of approvals fills.
#[derive(Clone, Debug)]
pub(super) struct Approvals {
    pub(super) open: OpenApprovals,
    pub(super) promotions: Shared<Approval>,
    pub(super) questions: RepositoryQuestions,
}

/// What has to be judged. It outlives the controller that reads it.
#[derive(Clone, Debug)]
pub struct ApprovalInbox {
    /// Has an approval judged.
    pub touch: UnboundedSender<Touched<Approval>>,
    /// Where it arrives.
    pub touched: Inbox<Touched<Approval>>,
}

/// Where the events of the watch go.
struct Sink<L> {
    open: OpenApprovals,
    filled: watch::Sender<bool>,
    promotions: Feed<Approval>,
    questions: RepositoryQuestions,
    touch: UnboundedSender<Touched<Approval>>,
    listener: L,
}

/// The open approvals, and the watch that has to be driven for them.
pub(super) fn watch_approvals(
    context: &Context,
    listener: impl QuestionListener,
) -> (
    Approvals,
    ApprovalInbox,
    impl Future<Output = ()> + Send + 'static,
) {
    let (mut sink, approvals, inbox) = Sink::new(listener);
    let not_closed = ApprovalPhase::CLOSED
        .map(|phase| format!("status.phase!={phase}"))
        .join(",");
    let events = watch_objects::<Approval>(context, Config::default().fields(&not_closed));
    let watching = async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            sink.take(event);
        }
    };
    (approvals, inbox, watching)
}

/// Whether it is about a promotion. There are few of those, and they are compared as a whole; those of runs are many.
fn is_about_promotion(approval: &Approval) -> bool {
    approval.spec.subject.run.is_none()
}

impl<L: QuestionListener> Sink<L> {
    fn new(listener: L) -> (Self, Approvals, ApprovalInbox) {
        let (open, filled) = OpenApprovals::new();
        let (promotions, shared) = feed();
        let questions = RepositoryQuestions::default();
        let (touch, touched) = inbox();
        let approvals = Approvals {
            open: open.clone(),
            promotions: shared,
            questions: questions.clone(),
        };
        let sink = Self {
            open,
            filled,
            promotions,
            questions,
            touch: touch.clone(),
            listener,
        };
        (sink, approvals, ApprovalInbox { touch, touched })
    }

    fn take(&mut self, event: watcher::Result<Event<Decoded<Approval>>>) {
        match event {
            Ok(Event::Init) => {
                self.open.relisting();
                self.questions.relisting();
                self.promotions.take(&Event::Init);
            }
            Ok(Event::InitApply(Decoded::Object(approval))) => {
                let key = ApprovalKey::of(&approval);
                self.questions.listed(&key, &approval);
                if is_about_promotion(&approval) {
                    self.promotions.take(&Event::InitApply(approval.clone()));
                }
                self.show(key, approval);
            }
            Ok(Event::InitDone) => {
                for (key, open) in self.open.relisted() {
                    self.listener.approval_is_over(&key, open.run.as_deref());
                }
                self.questions.relisted();
                self.promotions.take(&Event::InitDone);
                self.filled.send_replace(true);
            }
            Ok(Event::Apply(Decoded::Object(approval))) => {
                let key = ApprovalKey::of(&approval);
                self.questions.shown(&key, &approval);
                if is_about_promotion(&approval) {
                    self.promotions.take(&Event::Apply(approval.clone()));
                }
                self.show(key, approval);
            }
            // not listed, it is as good as gone
            Ok(Event::InitApply(Decoded::Undecodable(_))) => {}
            Ok(
                Event::Apply(Decoded::Undecodable(unreadable))
                | Event::Delete(Decoded::Undecodable(unreadable)),
            ) => {
                let key = key_of(&unreadable.metadata);
                self.questions.unreadable(&key);
                self.leave(&key, None);
            }
            Ok(Event::Delete(Decoded::Object(approval))) => {
                let key = key_of(approval.meta());
                self.questions.over(&key);
                self.leave(&key, Some(approval));
            }
            // it starts again
            Err(_) => {}
        }
    }

    fn show(&self, key: ApprovalKey, approval: Approval) {
        self.open.put(key, &approval);
        // the receiver is gone only when the operator ends
        let _ = self.touch.send(Touched::Shown(Arc::new(approval)));
    }

    /// Tells that a question has left the watch, unless somebody else does.
    fn leave(&mut self, key: &ApprovalKey, last: Option<Approval>) {
        let held = self.promotions.get(key.namespace(), key.name());
        if let Some(held) = held {
            let last = last.unwrap_or_else(|| (*held).clone());
            self.promotions.take(&Event::Delete(last));
        }
        let (open, is_answered_here) = self.open.is_over(key);
        if let Some(open) = open.filter(|_| !is_answered_here) {
            self.listener.approval_is_over(key, open.run.as_deref());
        }
    }
}

fn key_of(meta: &ObjectMeta) -> ApprovalKey {
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    ApprovalKey::new(namespace.unwrap_or_default(), name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::shared::Change;

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl QuestionListener for Told {
        fn approval_is_over(&self, approval: &ApprovalKey, run: Option<&str>) {
            let line = format!("{} of {}", approval.name(), run.unwrap_or("no run"));
            self.0.lock().unwrap().push(line);
        }
    }

    impl Told {
        fn lines(&self) -> Vec<String> {
            let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
            lines.sort();
            lines
        }
    }

    fn approval(name: &str, subject: &Value) -> Decoded<Approval> {
        let approval = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Approval",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"},
            "spec": {"subject": subject, "purpose": "Step", "title": "go?",
                "digest": format!("sha256:{}", "0".repeat(64)), "quorum": 1, "selfApproval": false, "verdicts": ["Approve"]}});
        Decoded::of(&approval.to_string())
    }

    fn of_run(name: &str) -> Decoded<Approval> {
        approval(name, &json!({"run": "r", "step": "s"}))
    }

    fn of_release(name: &str) -> Decoded<Approval> {
        approval(name, &json!({"release": "f-1"}))
    }

    fn unreadable(name: &str) -> Decoded<Approval> {
        approval(name, &json!("nothing"))
    }

    #[test]
    fn every_open_question_is_a_row_and_only_those_about_promotions_are_held_whole() {
        let told = Told::default();
        let (mut sink, approvals, _inbox) = Sink::new(told.clone());
        assert!(approvals.open.are_known().now_or_never().is_none());
        sink.take(Ok(Event::Init));
        sink.take(Ok(Event::InitApply(of_run("r-s"))));
        sink.take(Ok(Event::InitApply(of_release("f-1-gate"))));
        sink.take(Ok(Event::InitApply(unreadable("bad"))));
        sink.take(Ok(Event::InitDone));
        assert!(approvals.open.are_known().now_or_never().is_some());
        assert_eq!(approvals.open.keys().len(), 2);
        let whole = approvals.promotions.store().state();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].metadata.name.as_deref(), Some("f-1-gate"));
        assert_eq!(told.lines(), [""; 0]);
    }

    #[test]
    fn one_that_leaves_or_cannot_be_read_is_over_for_all_who_wait_for_it() {
        let told = Told::default();
        let (mut sink, approvals, _inbox) = Sink::new(told.clone());
        let mut promotions = Box::pin(approvals.promotions.subscribe());
        for event in [Event::Init, Event::InitDone] {
            sink.take(Ok(event));
        }
        for shown in [of_run("a"), of_run("b"), of_release("p"), of_release("q")] {
            sink.take(Ok(Event::Apply(shown)));
        }
        sink.take(Ok(Event::Delete(of_run("a"))));
        sink.take(Ok(Event::Apply(unreadable("b"))));
        sink.take(Ok(Event::Delete(of_release("p"))));
        sink.take(Ok(Event::Apply(unreadable("q"))));
        assert_eq!(told.lines(), ["a of r", "b of r", "p of no run", "q of no run"]);
        assert_eq!(approvals.open.keys().len(), 0);
        let mut gone = Vec::new();
        while let Some(Some(change)) = promotions.next().now_or_never() {
            if let Change::Removed(approval) = change {
                gone.push(approval.metadata.name.clone().unwrap());
            }
        }
        assert_eq!(gone, ["p", "q"]);
    }

    #[test]
    fn one_that_is_answered_here_is_told_of_by_whoever_answers_it() {
        let told = Told::default();
        let (mut sink, approvals, _inbox) = Sink::new(told.clone());
        for name in ["answered", "given-up"] {
            sink.take(Ok(Event::Apply(of_run(name))));
        }
        let keys = ["answered", "given-up"].map(|name| ApprovalKey::new("ns", name));
        let [answered, given_up] = keys
            .each_ref()
            .map(|key| approvals.open.answering(key, Some("r"), &told));
        for name in ["answered", "given-up"] {
            sink.take(Ok(Event::Delete(of_run(name))));
        }
        assert_eq!(told.lines(), [""; 0]);
        answered.told();
        drop(given_up);
        assert_eq!(told.lines(), ["given-up of r"]);
    }

    #[test]
    fn a_new_listing_tells_of_what_was_closed_meanwhile() {
        let told = Told::default();
        let (mut sink, approvals, _inbox) = Sink::new(told.clone());
        for name in ["stays", "closed"] {
            sink.take(Ok(Event::Apply(of_run(name))));
        }
        sink.take(Ok(Event::Init));
        sink.take(Ok(Event::InitApply(of_run("stays"))));
        assert!(
            approvals.open.keeps(&ApprovalKey::new("ns", "closed")),
            "not known yet"
        );
        sink.take(Ok(Event::InitDone));
        assert_eq!(told.lines(), ["closed of r"]);
    }
}
