//! The words of a notification that has none of its own. Each thing of others stands on one line with everything in it visible.

use super::{Happened, Known, Question};
use signoff_api::{RunPhase, notification::NotificationEvent, run::StepOutcome, text::visible};

/// A sentence about what happened, and where and how people look at it. `escape` is the channel's.
pub(super) fn text(known: Known<'_>, happened: &Happened, escape: impl Fn(&str) -> String) -> String {
    let run = known.run;
    let step = happened.question.as_ref().map(|question| &question.step);
    let step = step.map(|step| format!(", step {step}")).unwrap_or_default();
    let mut lines = vec![
        headline(known, happened, &escape),
        format!(
            "Flow {}, run {}{step}",
            escape(&known.release.flow),
            escape(&run.name)
        ),
    ];
    let question = happened.question.as_ref();
    let open = question.filter(|question| question.outcome.is_none());
    if let Some(expires_at) = open.and_then(|question| question.expires_at) {
        lines.push(format!("Answer until {expires_at}"));
    }
    lines.push(match open {
        Some(question) => format!("`signoff show {} -n {}`", question.approval, run.namespace),
        None => format!("`signoff status {} -n {}`", run.name, run.namespace),
    });
    lines.join("\n")
}

/// One sentence about what happened.
pub(super) fn headline(known: Known<'_>, happened: &Happened, escape: impl Fn(&str) -> String) -> String {
    let shown = |text: &str| escape(&visible(text));
    match (happened.on, &happened.question) {
        (NotificationEvent::ApprovalOpened, Some(question)) => {
            format!("Approval wanted: {}", shown(question.title()))
        }
        (NotificationEvent::ApprovalReminder, Some(question)) => {
            format!("Approval still wanted: {}", shown(question.title()))
        }
        (NotificationEvent::ApprovalEscalated, Some(question)) => {
            format!(
                "Approval still wanted, and more people may decide: {}",
                shown(question.title())
            )
        }
        (NotificationEvent::ApprovalClosed, Some(question)) => {
            format!("{}: {}", shown(&closed(question)), shown(question.title()))
        }
        (
            NotificationEvent::ApprovalOpened
            | NotificationEvent::ApprovalReminder
            | NotificationEvent::ApprovalEscalated
            | NotificationEvent::ApprovalClosed,
            None,
        ) => "A question".to_owned(),
        (NotificationEvent::RunStarted, _) => {
            let by = known.run.requested_by.as_ref();
            let by = by
                .map(|by| format!(", requested by {}", shown(by)))
                .unwrap_or_default();
            format!("Run {} started{by}", shown(&known.run.name))
        }
        (NotificationEvent::RunEnded, _) => {
            let why = known.status.error.as_ref();
            let why = why
                .map(|error| format!(": {}", shown(&error.message)))
                .unwrap_or_default();
            format!(
                "Run {} {}{why}",
                shown(&known.run.name),
                ended(known.status.phase)
            )
        }
    }
}

fn closed(question: &Question) -> String {
    let by = if question.by.is_empty() {
        String::new()
    } else {
        format!(" by {}", question.by.join(", "))
    };
    match question.outcome {
        Some(StepOutcome::Approved) => format!("Approved{by}"),
        Some(StepOutcome::Rejected) => format!("Rejected{by}"),
        Some(StepOutcome::ChangesRequested) => format!("Changes requested{by}"),
        Some(StepOutcome::TimedOut) => "Nobody decided in time".to_owned(),
        Some(
            StepOutcome::Succeeded
            | StepOutcome::Failed
            | StepOutcome::Skipped
            | StepOutcome::Omitted
            | StepOutcome::Callback
            | StepOutcome::Event
            | StepOutcome::Elapsed
            | StepOutcome::Cancelled,
        )
        | None => "Closed without a decision".to_owned(),
    }
}

fn ended(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Succeeded => "succeeded",
        RunPhase::Rejected => "was rejected",
        RunPhase::TimedOut => "timed out",
        RunPhase::Cancelled => "was cancelled",
        RunPhase::Failed | RunPhase::Pending | RunPhase::Queued | RunPhase::Running | RunPhase::Waiting => {
            "failed"
        }
    }
}
