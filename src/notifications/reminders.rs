//! Questions that people are reminded of, and when more people may decide.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use tokio::time::Instant;

use crate::cluster::happenings::RunHappened;
use signoff_api::{Approval, Run, notification::NotificationEvent};
use signoff_engine::notification::Happened;

/// Timers wait in pieces: the clock may be set, and the machine may sleep.
const PIECE: Duration = Duration::from_mins(1);

/// A question that is open.
#[derive(Clone, Debug)]
pub(super) struct Reminding {
    run: Arc<Run>,
    happened: Happened,
    asked_at: Timestamp,
    every: Option<SignedDuration>,
    escalations: Vec<SignedDuration>,
}

impl Reminding {
    pub(super) fn of(run: &Arc<Run>, happened: Happened, approval: &Approval) -> Self {
        let spec = &approval.spec;
        let signed = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let escalations = spec.escalate.iter().flatten();
        Self {
            run: Arc::clone(run),
            happened,
            asked_at: approval.creation_timestamp().map(|at| at.0).unwrap_or_default(),
            every: spec.remind_every.as_ref().map(|every| signed(every.duration())),
            escalations: escalations.map(|one| signed(one.after.duration())).collect(),
        }
    }

    /// What comes next after a time.
    fn next(&self, after: Timestamp) -> Option<(Timestamp, NotificationEvent)> {
        let escalated = self
            .escalations
            .iter()
            .filter_map(|span| self.asked_at.checked_add(*span).ok());
        let escalated = escalated.filter(|at| *at > after).min();
        let reminded = self.every.filter(|every| !every.is_zero()).and_then(|every| {
            let passed = after.duration_since(self.asked_at).as_secs().max(0);
            let times = passed / every.as_secs().max(1) + 1;
            let times = i32::try_from(times).ok()?;
            self.asked_at.checked_add(every.checked_mul(times)?).ok()
        });
        let escalated = escalated.map(|at| (at, NotificationEvent::ApprovalEscalated));
        let reminded = reminded.map(|at| (at, NotificationEvent::ApprovalReminder));
        [escalated, reminded].into_iter().flatten().min()
    }
}

/// Namespace and name of an Approval.
type Key = (String, String);

/// The questions that are open, each with what comes next of it.
#[derive(Debug, Default)]
pub(super) struct Reminders(HashMap<Key, Open>);

#[derive(Debug)]
struct Open {
    of: Reminding,
    at: Timestamp,
    on: NotificationEvent,
}

impl Reminders {
    /// Nobody is reminded of a question that is over.
    pub(super) fn heard(&mut self, news: &RunHappened) {
        let namespace = news.run.namespace().unwrap_or_default();
        for one in &news.happened {
            if let (NotificationEvent::ApprovalClosed, Some(question)) = (one.on, &one.question) {
                self.0.remove(&(namespace.clone(), question.approval.clone()));
            }
            if one.on == NotificationEvent::RunEnded {
                let ended = |open: &Open| open.of.run.uid() == news.run.uid();
                self.0.retain(|_, open| !ended(open));
            }
        }
    }

    pub(super) fn add(&mut self, all: Vec<Reminding>, now: Timestamp) {
        for of in all {
            self.schedule(of, now);
        }
    }

    fn schedule(&mut self, of: Reminding, after: Timestamp) {
        let namespace = of.run.namespace().unwrap_or_default();
        let Some(question) = &of.happened.question else {
            return;
        };
        let key = (namespace, question.approval.clone());
        if let Some((at, on)) = of.next(after) {
            self.0.insert(key, Open { of, at, on });
        }
    }

    /// When it is looked again.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.0.values().map(|open| open.at).min()?;
        let wait = Duration::try_from(first.duration_since(Timestamp::now())).unwrap_or_default();
        Some(Instant::now() + wait.min(PIECE))
    }

    /// What people are told now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<RunHappened> {
        let due: Vec<Key> = self
            .0
            .iter()
            .filter(|(_, open)| open.at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        let mut news = Vec::new();
        for key in due {
            let Some(open) = self.0.remove(&key) else { continue };
            let happened = Happened {
                on: open.on,
                ..open.of.happened.clone()
            };
            news.push(RunHappened {
                run: Arc::clone(&open.of.run),
                happened: vec![happened],
            });
            self.schedule(open.of, now);
        }
        news
    }
}
