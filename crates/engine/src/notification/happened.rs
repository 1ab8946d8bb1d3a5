//! What happened to a run between two states that people may be told of.

use k8s_openapi::jiff::Timestamp;

use signoff_api::{
    Approval, RunStatus,
    notification::NotificationEvent,
    run::{StepOutcome, StepStatus},
};

/// Something that people may be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub on: NotificationEvent,
    /// The question that it is about.
    pub question: Option<Question>,
}

/// A question that people are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Name of the Approval.
    pub approval: String,
    /// Name of the step.
    pub step: String,
    /// What came of it, if it is over.
    pub outcome: Option<StepOutcome>,
    /// The users who decided.
    pub by: Vec<String>,
    /// What is asked, if it was read.
    pub title: Option<String>,
    /// Until when it may be answered, if it was read.
    pub expires_at: Option<Timestamp>,
}

impl Question {
    /// What is asked.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.step)
    }

    /// The same with what its Approval says.
    #[must_use]
    pub fn as_read(self, approval: &Approval) -> Self {
        Self {
            title: Some(approval.spec.title.clone()),
            expires_at: approval.spec.expires_at.as_ref().map(|at| at.0),
            ..self
        }
    }
}

/// What happened between two states that were written.
pub fn happened(before: Option<&RunStatus>, after: &RunStatus) -> Vec<Happened> {
    let of_run = |on| Happened { on, question: None };
    let mut all = Vec::new();
    let had_begun = before.is_some_and(|status| status.started_at.is_some());
    if after.started_at.is_some() && !had_begun {
        all.push(of_run(NotificationEvent::RunStarted));
    }
    for step in &after.steps {
        let Some(approval) = &step.approval else {
            continue;
        };
        let same = |known: &&StepStatus| {
            known.name == step.name && known.iteration == step.iteration && known.item == step.item
        };
        let known = before.and_then(|status| status.steps.iter().find(same));
        let was_asked = known.is_some_and(|known| known.approval.as_ref() == Some(approval));
        let was_over = known.is_some_and(|known| known.phase.is_finished());
        let is_over = step.phase.is_finished();
        if !was_asked && !is_over {
            all.push(about(NotificationEvent::ApprovalOpened, step, approval));
        }
        if is_over && !was_over && was_asked {
            all.push(about(NotificationEvent::ApprovalClosed, step, approval));
        }
    }
    let had_ended = before.is_some_and(|status| status.phase.is_finished());
    if after.phase.is_finished() && !had_ended {
        all.push(of_run(NotificationEvent::RunEnded));
    }
    all
}

fn about(on: NotificationEvent, step: &StepStatus, approval: &str) -> Happened {
    let decision = step.decision.as_ref();
    Happened {
        on,
        question: Some(Question {
            approval: approval.to_owned(),
            step: step.name.clone(),
            outcome: step.outcome,
            by: decision.map(|decision| decision.by.clone()).unwrap_or_default(),
            title: None,
            expires_at: None,
        }),
    }
}
