//! A run's timeline: step, outcome, who, when.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use kube::ResourceExt as _;

use super::{
    lines::{Lines, terminal_width},
    table::{
        Column::{Free, Whole},
        table,
    },
};
use signoff_api::{Run, run::StepStatus};

/// The run as a heading, its steps as a table, and what it waits for.
pub(super) fn render(run: &Run) -> Lines {
    let status = run.status.clone().unwrap_or_default();
    let mut lines = Lines::from(format!("Run {}: {}", run.name_any(), status.phase));
    let requested_by = run.spec.requested_by.as_deref().unwrap_or("unknown");
    lines.field("requested by", requested_by);
    if let Some(release) = &status.release {
        let commit = release
            .commit
            .as_deref()
            .map(|commit| format!(", commit {}", short(commit)))
            .unwrap_or_default();
        lines.exact(
            "release",
            format!("{} ({}{commit})", release.name, release.digest),
        );
    }
    if let Some(waiting_on) = &status.waiting_on {
        lines.field("waiting on", waiting_on);
    }
    if let Some(error) = &status.error {
        lines.field("error", format!("{}: {}", error.reason, error.message));
    }
    if let Some(output) = &status.output {
        lines.field("output", output.0.to_string());
    }
    if !status.steps.is_empty() {
        let start = status.started_at.as_ref().map(|time| time.0);
        let rows: Vec<Vec<String>> = status.steps.iter().map(|step| row(step, start)).collect();
        lines.blank();
        let headings = [
            Whole("step"),
            Whole("outcome"),
            Free("by"),
            Whole("began"),
            Whole("took"),
            Whole("digest"),
        ];
        lines.append(table(&headings, &rows, terminal_width()));
    }
    lines
}

fn row(step: &StepStatus, start: Option<Timestamp>) -> Vec<String> {
    let name = if step.iteration > 1 {
        format!("{} (time {})", step.name, step.iteration)
    } else {
        step.name.clone()
    };
    let attempts = if step.attempt > 1 {
        format!(", attempt {}", step.attempt)
    } else {
        String::new()
    };
    let outcome = step
        .outcome
        .map_or_else(|| format!("{:?}", step.phase), |outcome| format!("{outcome:?}"));
    let by = step
        .decision
        .as_ref()
        .map(|decision| decision.by.join(", "))
        .unwrap_or_default();
    let digest = step
        .digest
        .as_ref()
        .map(|digest| format!("sha256:{}…", digest.short()))
        .unwrap_or_default();
    vec![
        name,
        format!("{outcome}{attempts}"),
        by,
        since(start, step.started_at.as_ref()),
        since(
            step.started_at.as_ref().map(|time| time.0),
            step.finished_at.as_ref(),
        ),
        digest,
    ]
}

fn since(from: Option<Timestamp>, to: Option<&MicroTime>) -> String {
    let (Some(from), Some(to)) = (from, to) else {
        return String::new();
    };
    let seconds = to.0.duration_since(from).as_secs_f64();
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1_000.0)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7_200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3_600.0)
    }
}

/// A commit as people write it.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// How long ago, as kubectl prints ages.
pub(super) fn age(
    of: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    now: Timestamp,
) -> String {
    let Some(of) = of else {
        return "<unknown>".to_owned();
    };
    short_span(now.duration_since(of.0).as_secs().max(0))
}

/// How long until then, as short.
pub(super) fn until(then: Timestamp, now: Timestamp) -> String {
    match then.duration_since(now).as_secs() {
        left @ 1.. => format!("in {}", short_span(left)),
        _ => "over".to_owned(),
    }
}

fn short_span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
