//! The steps of a run as the page lists them.

use k8s_openapi::jiff::Timestamp;

use super::{
    advice::advice,
    bars::{Bar, bars},
};
use crate::{
    drawing::since,
    web::{
        content::{Extent, View},
        shown, shown_lines,
        when::When,
    },
};
use signoff_api::run::{StepError, StepPhase, StepStatus};

/// A failure, and what to do about it.
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) advice: Option<&'static str>,
}

impl Failure {
    pub(super) fn of(error: &StepError) -> Self {
        Self {
            message: shown_lines(&format!("{}: {}", error.reason, error.message)),
            advice: advice(error.reason),
        }
    }
}

pub(super) struct StepRow {
    /// Tells it from the others of the page.
    pub(super) id: usize,
    pub(super) name: String,
    pub(super) phase: String,
    pub(super) state: &'static str,
    pub(super) bar: Option<Bar>,
    pub(super) began: Option<When>,
    pub(super) took: String,
    pub(super) by: String,
    pub(super) comment: Option<String>,
    pub(super) waits_for: String,
    /// When it is tried again, or goes on by itself, and when it ends for want of an answer.
    pub(super) next: Option<(&'static str, When)>,
    pub(super) deadline: Option<When>,
    /// The question that it waits for.
    pub(super) approval: Option<String>,
    /// The run that it started.
    pub(super) run: Option<String>,
    pub(super) task: Option<String>,
    /// How its items ended.
    pub(super) items: Vec<String>,
    pub(super) failure: Option<Failure>,
    pub(super) output: Option<View>,
}

/// All steps, in the order in which they began.
pub(super) fn rows(steps: &[StepStatus], now: Timestamp) -> Vec<StepRow> {
    let bars = bars(steps, now);
    let rows = steps.iter().zip(bars).enumerate();
    rows.map(|(id, (step, bar))| row(id, step, bar, now)).collect()
}

fn row(id: usize, step: &StepStatus, bar: Option<Bar>, now: Timestamp) -> StepRow {
    let pass = (step.iteration > 1).then(|| format!(", pass {}", step.iteration));
    let item = step.item.map(|item| format!(", item {item}"));
    let attempt = (step.attempt > 1).then(|| format!(", attempt {}", step.attempt));
    let parts: String = [pass, item, attempt].into_iter().flatten().collect();
    let outcome = step.outcome.map(|outcome| outcome.to_string());
    let taken_over = if step.taken_over == Some(true) {
        " in the earlier run"
    } else {
        ""
    };
    let began = step.started_at.as_ref().map(|at| at.0);
    let decision = step.decision.as_ref();
    let wake = step.wake_at.as_ref().map(|at| When::of(at.0, now));
    StepRow {
        id,
        name: shown(&format!("{}{parts}", step.name)),
        phase: format!(
            "{}{taken_over}",
            outcome.unwrap_or_else(|| format!("{:?}", step.phase))
        ),
        state: match step.phase {
            StepPhase::Running => "running",
            StepPhase::Retrying | StepPhase::Waiting => "waiting",
            StepPhase::Succeeded => "good",
            StepPhase::Failed | StepPhase::Cancelled => "bad",
            StepPhase::Skipped | StepPhase::Omitted => "none",
        },
        bar,
        began: began.map(|at| When::of(at, now)),
        took: since("", began, step.finished_at.as_ref()),
        by: shown(
            &decision
                .map(|decision| decision.by.join(", "))
                .unwrap_or_default(),
        ),
        comment: decision.and_then(|decision| decision.comment.as_deref().map(shown_lines)),
        waits_for: shown(step.waiting_on.as_deref().unwrap_or_default()),
        next: match step.phase {
            StepPhase::Retrying => wake.map(|at| ("the next attempt is", at)),
            StepPhase::Waiting => wake.map(|at| ("it goes on by itself", at)),
            StepPhase::Running
            | StepPhase::Succeeded
            | StepPhase::Failed
            | StepPhase::Skipped
            | StepPhase::Omitted
            | StepPhase::Cancelled => None,
        },
        deadline: step
            .deadline
            .as_ref()
            .filter(|_| step.phase == StepPhase::Waiting)
            .map(|at| When::of(at.0, now)),
        approval: step.approval.clone(),
        run: step.run.clone(),
        task: step.task.as_deref().map(shown),
        items: items(step),
        failure: step.error.as_ref().map(Failure::of),
        output: step.output.as_ref().map(|output| of_value(&output.0)),
    }
}

/// How the items of a step ended, a line each.
fn items(step: &StepStatus) -> Vec<String> {
    let Some(items) = &step.items else {
        return Vec::new();
    };
    let ended = items.ended.iter();
    let ended: Vec<String> = ended
        .map(|ended| format!("{} {}", ended.items.len(), ended.outcome))
        .collect();
    let mut lines = vec![match ended.as_slice() {
        [] => format!("{} items", items.count),
        ended => format!("{} items: {}", items.count, ended.join(", ")),
    }];
    lines.extend(items.errors.iter().map(|error| {
        let which = if error.items.len() == 1 { "item" } else { "items" };
        shown(&format!(
            "{which} {}: {}: {}",
            error.items, error.reason, error.message
        ))
    }));
    lines
}

/// A value of the run.
pub(super) fn of_value(value: &serde_json::Value) -> View {
    View::json(&format!("{value:#}"), Extent::Beginning)
}
