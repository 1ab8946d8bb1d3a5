//! What is still to be sent about a run, as its state lists it.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use crate::{facts::RunFacts, plan::Plan};
use signoff_api::{
    Approval, RunStatus,
    notification::NotificationEvent,
    run::{Channel, PendingNotification, StepOutcome},
};

/// Most messages that wait at the same time. Of what happens beyond that, nobody is told.
pub const MOST_PENDING: usize = 1_000;
/// Of those, so many are left for the end of the run: each notification tells of it once.
const KEPT_FOR_THE_END: usize = 16;

/// What is asked, as the Approval says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The question.
    pub title: String,
    /// Until when it may be answered.
    pub expires_at: Option<Timestamp>,
}

impl Asked {
    /// What an Approval asks.
    pub fn of(approval: &Approval) -> Self {
        Self {
            title: approval.spec.title.clone(),
            expires_at: approval.spec.expires_at.as_ref().map(|at| at.0),
        }
    }
}

/// Something that people may be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) on: NotificationEvent,
    pub(crate) question: Option<Question>,
}

/// The question that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Name of the Approval.
    pub(crate) approval: String,
    /// Name of the step.
    pub(crate) step: String,
    /// What came of it, if it is over.
    pub(crate) outcome: Option<StepOutcome>,
    /// The users who decided.
    pub(crate) by: Vec<String>,
}

impl Happened {
    /// Something about the run as a whole.
    pub(crate) fn of_run(on: NotificationEvent) -> Self {
        Self { on, question: None }
    }

    /// Something about a question that is open.
    pub(crate) fn of_question(on: NotificationEvent, approval: &str, step: &str) -> Self {
        let question = Question {
            approval: approval.to_owned(),
            step: step.to_owned(),
            outcome: None,
            by: vec![],
        };
        Self {
            on,
            question: Some(question),
        }
    }

    /// A question is over.
    pub(crate) fn closed(approval: &str, step: &str, outcome: StepOutcome, by: Vec<String>) -> Self {
        let mut closed = Self::of_question(NotificationEvent::ApprovalClosed, approval, step);
        if let Some(question) = &mut closed.question {
            question.outcome = Some(outcome);
            question.by = by;
        }
        closed
    }
}

/// Adds what happened to what is to be sent, once for each notification that is about it.
pub(crate) fn note(plan: &Plan, state: &mut RunStatus, happened: &Happened, now: Timestamp) {
    let Happened { on, question } = happened;
    for (index, _) in plan
        .notifications()
        .iter()
        .enumerate()
        .filter(|(_, notification)| notification.on.contains(on))
    {
        let most = match on {
            NotificationEvent::RunEnded => MOST_PENDING,
            NotificationEvent::ApprovalOpened
            | NotificationEvent::ApprovalReminder
            | NotificationEvent::ApprovalEscalated
            | NotificationEvent::ApprovalClosed
            | NotificationEvent::RunStarted => MOST_PENDING - KEPT_FOR_THE_END,
        };
        if state.notifications.len() >= most {
            return;
        }
        let of = question
            .as_ref()
            .map(|question| format!(".{}", question.approval));
        let key = format!("{index}.{on}{}", of.unwrap_or_default());
        let question = question.clone();
        // one that waits already says the same
        state
            .notifications
            .entry(key)
            .or_insert_with(|| PendingNotification {
                notification: i64::try_from(index).unwrap_or_default(),
                event: *on,
                at: MicroTime(now),
                approval: question.as_ref().map(|question| question.approval.clone()),
                step: question.as_ref().map(|question| question.step.clone()),
                outcome: question.as_ref().and_then(|question| question.outcome),
                by: question.map(|question| question.by).unwrap_or_default(),
            });
        state.has_notifications = Some(true);
    }
}

/// Adds that a run ended whose end is no turn's: it did not begin.
pub fn note_end(plan: &Plan, run: &RunFacts, state: &mut RunStatus, now: Timestamp) {
    if run.channel == Channel::Live && state.phase.is_finished() {
        note(plan, state, &Happened::of_run(NotificationEvent::RunEnded), now);
    }
}
