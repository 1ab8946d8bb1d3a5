//! What people are told of a turn: it is written together with what happened, so that neither is there without the other.

use std::collections::BTreeMap;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};

use super::Turn;
use crate::{
    kinds::approval::{Reminders, decision},
    notification::{Happened, note},
    object::{ObjectFact, ObjectKey},
};
use signoff_api::{
    ApprovalPhase, RunStatus, Verdict,
    approval::ApprovalStatus,
    notification::NotificationEvent,
    run::{Channel, StepOutcome, StepPhase, StepStatus},
};

impl Turn<'_> {
    /// Adds to the state what people are to be told of this turn.
    pub(super) fn note_notifications(&mut self) {
        if !self.sends_notifications() {
            return;
        }
        let mut all = Vec::new();
        if self.before.started_at.is_none() && self.state.started_at.is_some() {
            all.push(Happened::of_run(NotificationEvent::RunStarted));
        }
        let (asked_before, asked) = (questions(self.before), questions(&self.state));
        for (approval, step) in &asked_before {
            if !asked.contains_key(approval) {
                let (outcome, by) = self.answer(approval);
                all.push(Happened::closed(approval, step, outcome, by));
            }
        }
        for (approval, step) in &asked {
            if !asked_before.contains_key(approval) {
                let on = NotificationEvent::ApprovalOpened;
                all.push(Happened::of_question(on, approval, step));
            }
        }
        all.extend(self.remind());
        if self.state.phase.is_finished() {
            all.push(Happened::of_run(NotificationEvent::RunEnded));
        }
        for happened in all {
            note(self.plan, &mut self.state, &happened, self.now);
        }
    }

    fn sends_notifications(&self) -> bool {
        !self.plan.notifications.is_empty() && self.facts.run.channel == Channel::Live
    }

    /// What came of a question that is open no more.
    fn answer(&self, approval: &str) -> (StepOutcome, Vec<String>) {
        let fact = self.facts.objects.get(&ObjectKey::approval(approval));
        let answer = fact.and_then(ObjectFact::as_approval).map(|fact| &fact.status);
        let by = |answer: &ApprovalStatus, verdict| decision(answer, verdict).by;
        match answer.map(|answer| (answer.phase, answer)) {
            Some((ApprovalPhase::Approved, answer)) => (StepOutcome::Approved, by(answer, Verdict::Approve)),
            Some((ApprovalPhase::Rejected, answer)) => (StepOutcome::Rejected, by(answer, Verdict::Reject)),
            Some((ApprovalPhase::ChangesRequested, answer)) => {
                (StepOutcome::ChangesRequested, by(answer, Verdict::RequestChanges))
            }
            Some((ApprovalPhase::Expired, _)) => (StepOutcome::TimedOut, vec![]),
            // the run goes on, or ends, without an answer
            Some((ApprovalPhase::Pending | ApprovalPhase::Cancelled | ApprovalPhase::Superseded, _))
            | None => (StepOutcome::Cancelled, vec![]),
        }
    }

    /// The questions of which people are reminded now, or on which more people may decide. Of several times that came
    /// while nothing was decided, people are told once.
    fn remind(&mut self) -> Vec<Happened> {
        let mut all = Vec::new();
        for entry in 0..self.state.steps.len() {
            let Some(reminders) = self.reminders(entry) else {
                continue;
            };
            let due = reminders.due(self.now);
            if due.is_empty() {
                continue;
            }
            let now = MicroTime(self.now);
            let status = &mut self.state.steps[entry];
            status.reminded_at = Some(now);
            let approval = status.approval.as_deref().unwrap_or_default();
            all.extend(
                due.into_iter()
                    .map(|on| Happened::of_question(on, approval, &status.name)),
            );
        }
        all
    }

    /// When people are reminded next.
    pub(super) fn reminds_at(&self) -> Option<Timestamp> {
        let entries = 0..self.state.steps.len();
        entries
            .filter_map(|entry| self.reminders(entry)?.next(self.now))
            .min()
    }

    /// When people are told of a question again, while it is open and a notification is about that.
    fn reminders(&self, entry: usize) -> Option<Times> {
        let (reminds, escalates) = (
            self.plan.tells(NotificationEvent::ApprovalReminder),
            self.plan.tells(NotificationEvent::ApprovalEscalated),
        );
        let status = &self.state.steps[entry];
        if !(reminds || escalates) || !self.sends_notifications() || !is_asking(status) {
            return None;
        }
        let step = self.plan.index_of(&status.name)?;
        let question = self.plan.steps[step].kind.question()?;
        let Reminders { every, escalations } =
            question.reminders(&self.step_view(step, entry).scope()).ok()?;
        let asked_at = status.started_at.as_ref()?.0;
        let after = |span: std::time::Duration| {
            let span = SignedDuration::try_from(span).ok()?;
            asked_at.checked_add(span).ok()
        };
        Some(Times {
            asked_at,
            since: status.reminded_at.as_ref().map_or(asked_at, |at| at.0),
            until: status.deadline.as_ref().map(|at| at.0),
            every: every
                .filter(|_| reminds)
                .and_then(|every| SignedDuration::try_from(every).ok()),
            escalations: escalations
                .into_iter()
                .filter(|_| escalates)
                .filter_map(after)
                .collect(),
        })
    }
}

/// The times at which people are told of a question again.
#[derive(Debug)]
struct Times {
    asked_at: Timestamp,
    /// Up to when they were told.
    since: Timestamp,
    /// When it is over.
    until: Option<Timestamp>,
    every: Option<SignedDuration>,
    escalations: Vec<Timestamp>,
}

impl Times {
    /// What has come since people were told last.
    fn due(&self, now: Timestamp) -> Vec<NotificationEvent> {
        let is_new = |at: &Timestamp| *at > self.since && *at <= now && self.is_open_at(*at);
        let mut due = Vec::new();
        if self.escalations.iter().any(is_new) {
            due.push(NotificationEvent::ApprovalEscalated);
        }
        if self.reminder(self.come(now)).as_ref().is_some_and(is_new) {
            due.push(NotificationEvent::ApprovalReminder);
        }
        due
    }

    /// What comes next.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let reminder = self.reminder(self.come(now).saturating_add(1));
        let escalations = self.escalations.iter().copied().filter(|at| *at > now);
        let times = escalations.chain(reminder);
        times.filter(|at| self.is_open_at(*at)).min()
    }

    fn is_open_at(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at < until)
    }

    /// How many times to remind have come.
    fn come(&self, now: Timestamp) -> i64 {
        let every = self.every.map_or(0, |every| every.as_secs());
        let passed = now.duration_since(self.asked_at).as_secs();
        passed.checked_div(every).unwrap_or_default()
    }

    /// The time to remind of this number, from 1.
    fn reminder(&self, number: i64) -> Option<Timestamp> {
        let number = i32::try_from(number).ok().filter(|number| *number > 0)?;
        self.asked_at.checked_add(self.every?.checked_mul(number)?).ok()
    }
}

/// The questions that a state says are open, by the name of their Approval, with their step.
fn questions(state: &RunStatus) -> BTreeMap<&str, &str> {
    let asking = state.steps.iter().filter(|status| is_asking(status));
    asking
        .filter_map(|status| Some((status.approval.as_deref()?, status.name.as_str())))
        .collect()
}

fn is_asking(status: &StepStatus) -> bool {
    status.phase == StepPhase::Waiting && status.approval.is_some()
}
