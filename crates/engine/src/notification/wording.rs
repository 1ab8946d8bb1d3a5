//! The words of a message that has none of its own. Text of others stands on one line, with everything in it visible.

use super::{message::Told, title, url};
use signoff_api::{RunPhase, notification::NotificationEvent, run::StepOutcome, text::visible};

/// A sentence about what happened, and where people look at it. `escape` is the channel's.
pub(super) fn lines(told: Told<'_>, escape: impl Fn(&str) -> String) -> Vec<String> {
    let Told {
        known,
        pending,
        asked,
    } = told;
    let run = known.run;
    let step = pending
        .step
        .as_ref()
        .map(|step| format!(", step {}", escape(step)));
    let mut lines = vec![
        headline(told, &escape),
        format!(
            "Flow {}, run {}{}",
            escape(&known.release.flow),
            escape(&run.name),
            step.unwrap_or_default()
        ),
    ];
    let is_open = pending.outcome.is_none();
    let expires_at = asked.and_then(|asked| asked.expires_at).filter(|_| is_open);
    if let Some(expires_at) = expires_at {
        lines.push(escape(&format!("Answer until {expires_at:.0}")));
    }
    lines.push(match &pending.approval {
        // a link is ours, and is not escaped
        Some(approval) => {
            url(known, approval).unwrap_or_else(|| format!("`signoff show {approval} -n {}`", run.namespace))
        }
        None => format!("`signoff status {} -n {}`", run.name, run.namespace),
    });
    lines
}

/// One sentence about what happened.
pub(super) fn headline(told: Told<'_>, escape: impl Fn(&str) -> String) -> String {
    let Told {
        known,
        pending,
        asked,
    } = told;
    let shown = |text: &str| escape(&visible(text));
    let title = || shown(title(pending, asked));
    let name = shown(&known.run.name);
    match pending.event {
        NotificationEvent::ApprovalOpened => format!("Approval wanted: {}", title()),
        NotificationEvent::ApprovalReminder => format!("Approval still wanted: {}", title()),
        NotificationEvent::ApprovalEscalated => {
            format!("Approval still wanted, and more people may decide: {}", title())
        }
        NotificationEvent::ApprovalClosed => {
            let by = (!pending.by.is_empty()).then(|| shown(&format!(" by {}", pending.by.join(", "))));
            format!(
                "{}{}: {}",
                closed(pending.outcome),
                by.unwrap_or_default(),
                title()
            )
        }
        NotificationEvent::RunStarted => {
            let by = known.run.requested_by.as_ref();
            let by = by.map(|by| format!(", requested by {}", shown(by)));
            format!("Run {name} started{}", by.unwrap_or_default())
        }
        NotificationEvent::RunEnded => {
            let why = known.status.error.as_ref();
            let why = why.map(|error| format!(": {}", shown(&error.message)));
            format!(
                "Run {name} {}{}",
                ended(known.status.phase),
                why.unwrap_or_default()
            )
        }
    }
}

fn closed(outcome: Option<StepOutcome>) -> &'static str {
    match outcome {
        Some(StepOutcome::Approved) => "Approved",
        Some(StepOutcome::Rejected) => "Rejected",
        Some(StepOutcome::ChangesRequested) => "Changes requested",
        Some(StepOutcome::TimedOut) => "Nobody decided in time",
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
        | None => "Closed without a decision",
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
