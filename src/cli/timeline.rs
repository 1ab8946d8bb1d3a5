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
use signoff_api::{
    Run, RunStatus,
    concurrency::ConcurrencyStatus,
    items::ItemsStatus,
    run::{ProcessStatus, StepError, StepPhase, StepStatus},
};

/// The run as a heading, its steps as a table, and what it waits for.
pub(super) fn render(run: &Run) -> Lines {
    let status = run.status.clone().unwrap_or_default();
    let mut lines = Lines::from(format!("Run {}: {}", run.name_any(), status.phase));
    let requested_by = run.spec.requested_by.as_deref().unwrap_or("unknown");
    lines.field("requested by", requested_by);
    if let Some(parent) = &run.spec.parent {
        let above = parent.chain.iter();
        let above = above.map(|above| format!("run {} of flow {}", above.run, above.flow));
        let above: Vec<String> = above.collect();
        lines.field(
            "started by",
            format!("step {} of {}", parent.step, above.join(", started by ")),
        );
    }
    if let Some(of) = &run.spec.retry_of {
        let from = of.from.as_ref().map(|step| format!(" from step {step}"));
        lines.field("retries", format!("{}{}", of.run, from.unwrap_or_default()));
    }
    if let Some(by) = &status.retried_by {
        lines.field("retried by", by);
    }
    if let Some(trigger) = &run.spec.trigger {
        let ended = trigger.run.as_ref().map(|run| format!(", the end of {run}"));
        let event = format!(
            "{} ({}) at {}{}",
            trigger.name,
            trigger.kind,
            seconds(&trigger.at),
            ended.unwrap_or_default()
        );
        lines.field("trigger", event);
    }
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
    if let Some(inputs) = run.inputs() {
        lines.field("inputs", inputs.to_value().to_string());
    }
    if let Some(concurrency) = &status.concurrency {
        lines.field("concurrency", place(concurrency));
    }
    if let Some(started) = &status.started_at {
        lines.field("started", seconds(started));
    }
    if let Some(finished) = &status.finished_at {
        let took = since("", status.started_at.as_ref().map(|time| time.0), Some(finished));
        let took = if took.is_empty() {
            took
        } else {
            format!(", took {took}")
        };
        lines.field("finished", format!("{}{took}", seconds(finished)));
    }
    if run.spec.suspend == Some(true) && !status.phase.is_finished() {
        lines.field("suspended", "yes: no further step starts before `signoff resume`");
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
            Whole("state"),
            Free("by"),
            Whole("began"),
            Whole("took"),
            Whole("digest"),
        ];
        lines.append(table(&headings, &rows, terminal_width()));
    }
    for step in &status.steps {
        if let Some(of_step) = &step.items {
            lines.blank();
            for line in items(step, of_step) {
                lines.push(line);
            }
        }
        more(&mut lines, step, status.error.as_ref());
    }
    if !status.processes.is_empty() {
        lines.blank();
    }
    for process in &status.processes {
        lines.push(of_process(process));
    }
    for (key, resolution) in &status.resolutions {
        lines.blank();
        let by = resolution.by.as_deref().unwrap_or("unknown");
        lines.push(match &resolution.refused {
            None => format!("{key}: answered by hand by {by} at {}:", seconds(&resolution.at)),
            Some(why) => format!(
                "{key}: the answer of {by} at {} was refused: {why}",
                seconds(&resolution.at)
            ),
        });
        lines.block(2, &resolution.message);
    }
    lines
}

/// A process on another machine, and what came of it.
fn of_process(process: &ProcessStatus) -> String {
    let pid = process.pid.map(|pid| format!(" {pid}")).unwrap_or_default();
    let item = process.item.map(|item| format!("[{item}]")).unwrap_or_default();
    let host = process.host.as_ref().map(|host| format!(" on {host}"));
    let why = process.message.as_ref().map(|why| format!(" ({why})"));
    format!(
        "process{pid} of {}{item}{} through {}: {:?}{}",
        process.step,
        host.unwrap_or_default(),
        process.connection,
        process.phase,
        why.unwrap_or_default()
    )
}

/// The key of a run, and whether it holds a place.
fn place(concurrency: &ConcurrencyStatus) -> String {
    let ConcurrencyStatus { key, max, .. } = concurrency;
    let place = match (&concurrency.held_since, &concurrency.shares) {
        (Some(_), Some(run)) => format!(", shares the place of run {run}"),
        (Some(since), None) => format!(", holds a place since {}", seconds(since)),
        (None, _) => String::new(),
    };
    format!("key {key:?}, at most {max} at the same time{place}")
}

/// What does not fit into the table: why an attempt failed and when the next one is, and what people said.
fn more(lines: &mut Lines, step: &StepStatus, of_run: Option<&StepError>) {
    // a step may succeed after a failure, and the error of the run is told above
    let error = step.error.as_ref().filter(|error| {
        matches!(
            step.phase,
            StepPhase::Retrying | StepPhase::Running | StepPhase::Failed
        ) && Some(*error) != of_run
    });
    let next = step
        .wake_at
        .as_ref()
        .filter(|_| step.phase == StepPhase::Retrying);
    if let Some(error) = error {
        lines.blank();
        lines.push(format!("{}: {}: {}", named(step), error.reason, error.message));
        if let Some(next) = next {
            lines.push(format!("  next attempt at {}", seconds(next)));
        }
    }
    if let Some(until) = until_when(step) {
        lines.blank();
        lines.push(format!("{}: {until}", named(step)));
    }
    if let Some(run) = &step.run {
        lines.blank();
        lines.push(format!("{}: run {run}", named(step)));
    }
    if let Some(task) = &step.task {
        let worker = step.worker.as_ref().map(|worker| format!(", worker {worker}"));
        lines.blank();
        lines.push(format!(
            "{}: task {task}{}",
            named(step),
            worker.unwrap_or_default()
        ));
    }
    if let Some(job) = &step.job {
        lines.blank();
        lines.push(format!("{}: job {job}", named(step)));
    }
    if let Some(log) = &step.log {
        let resource = log
            .resource
            .as_ref()
            .map(|resource| resource.reference.to_string());
        let missing = log.missing.as_ref().map(|why| format!("none ({why})"));
        match (resource.or(missing), &log.text) {
            (Some(line), _) => lines.push(format!("  end of its log: {line}")),
            (None, Some(text)) => {
                lines.push("  end of its log:".to_owned());
                for line in text.lines() {
                    lines.push(format!("    {line}"));
                }
            }
            (None, None) => {}
        }
    }
    if let Some(decision) = &step.decision
        && let Some(comment) = &decision.comment
    {
        lines.blank();
        lines.push(format!(
            "{}, with the comment of the deciding answer:",
            named(step)
        ));
        lines.block(2, comment);
    }
}

/// Until when a step waits at most.
fn until_when(step: &StepStatus) -> Option<String> {
    if step.phase != StepPhase::Waiting {
        return None;
    }
    let answer = step.deadline.as_ref();
    let answer = answer.map(|at| format!("an answer is awaited until {}", seconds(at)));
    let goes_on = step.wake_at.as_ref();
    let goes_on = goes_on.map(|at| format!("it goes on by itself at {}", seconds(at)));
    let parts: Vec<String> = [answer, goes_on].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn named(step: &StepStatus) -> String {
    let item = step.item.map(|item| format!("[{item}]")).unwrap_or_default();
    if step.iteration > 1 {
        format!("{}{item} (pass {})", step.name, step.iteration)
    } else {
        format!("{}{item}", step.name)
    }
}

/// How many items of a step there are, and how they ended.
fn items(step: &StepStatus, items: &ItemsStatus) -> Vec<String> {
    let ended: Vec<String> = items
        .ended
        .iter()
        .map(|ended| format!("{} {}", ended.items.len(), ended.outcome))
        .collect();
    let open = items.count - i64::try_from(items.ended_count()).unwrap_or(items.count);
    let left = match (open, step.phase.is_finished()) {
        (0, _) => None,
        (open, false) => Some(format!("{open} left")),
        (open, true) => Some(format!("{open} never began")),
    };
    let parts: Vec<String> = ended.into_iter().chain(left).collect();
    let mut told = vec![format!(
        "{}: {} items: {}",
        named(step),
        items.count,
        parts.join(", ")
    )];
    if items.count == 0 {
        told = vec![format!("{}: no items", named(step))];
    }
    told.extend(items.errors.iter().map(|error| {
        let which = if error.items.len() == 1 { "item" } else { "items" };
        format!("  {which} {}: {}: {}", error.items, error.reason, error.message)
    }));
    told.extend(items.decisions.iter().map(|known| {
        let by = known.decision.by.join(", ");
        let comment = known.decision.comment.as_deref();
        let comment = comment.map(|comment| format!(": {comment}")).unwrap_or_default();
        format!(
            "  item {}: {:?} by {by}{comment}",
            known.item, known.decision.verdict
        )
    }));
    told
}

fn seconds(time: &MicroTime) -> String {
    format!("{:.0}", time.0)
}

/// How long a run took, or has taken so far.
pub(super) fn took(status: &RunStatus, now: Timestamp) -> String {
    let Some(started) = &status.started_at else {
        return String::new();
    };
    let end = status.finished_at.as_ref().map_or(now, |time| time.0);
    short_span(end.duration_since(started.0).as_secs().max(0))
}

fn row(step: &StepStatus, start: Option<Timestamp>) -> Vec<String> {
    let attempts = if step.attempt > 1 {
        format!(", attempt {}", step.attempt)
    } else {
        String::new()
    };
    let outcome = step
        .outcome
        .map_or_else(|| format!("{:?}", step.phase), |outcome| format!("{outcome:?}"));
    // it was done before this run began
    let is_taken_over = step.taken_over == Some(true);
    let outcome = outcome + if is_taken_over { " (taken over)" } else { "" };
    let start = start.filter(|_| !is_taken_over);
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
        named(step),
        format!("{outcome}{attempts}"),
        by,
        since("+", start, step.started_at.as_ref()),
        since(
            "",
            step.started_at.as_ref().map(|time| time.0),
            step.finished_at.as_ref(),
        ),
        digest,
    ]
}

/// The time between two moments, after a sign that says from where it counts.
pub(super) fn since(sign: &str, from: Option<Timestamp>, to: Option<&MicroTime>) -> String {
    let (Some(from), Some(to)) = (from, to) else {
        return String::new();
    };
    let seconds = to.0.duration_since(from).as_secs_f64();
    if seconds < 1.0 {
        format!("{sign}{:.1} ms", seconds * 1_000.0)
    } else if seconds < 120.0 {
        format!("{sign}{seconds:.1} s")
    } else if seconds < 7_200.0 {
        format!("{sign}{:.0} min", seconds / 60.0)
    } else {
        format!("{sign}{:.1} h", seconds / 3_600.0)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(status: &serde_json::Value) -> String {
        let run: Run = serde_json::from_value(json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"},
            "spec": {"flow": "f", "requestedBy": "dev", "inputs": {"order": 81}}, "status": status
        }))
        .unwrap();
        render(&run).render(None)
    }

    #[test]
    fn a_step_that_is_tried_again_tells_why_and_when() {
        let told = rendered(
            &json!({"phase": "Waiting", "startedAt": "2026-11-29T12:00:00.000000Z", "steps": [{
                "name": "propose", "iteration": 2, "phase": "Retrying", "attempt": 1, "wakeAt": "2026-11-29T12:00:09.000000Z",
                "startedAt": "2026-11-29T12:00:01.500000Z", "error": {"reason": "Unreachable", "message": "no such host"}
            }]}),
        );
        for part in [
            "  inputs        {\"order\":81}",
            "  started       2026-11-29T12:00:00Z",
            "propose (pass 2)   Retrying        +1.5 s",
            "propose (pass 2): Unreachable: no such host\n  next attempt at 2026-11-29T12:00:09Z",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
    }

    #[test]
    fn a_step_that_waits_tells_until_when() {
        let told = rendered(&json!({"phase": "Waiting", "steps": [
            {"name": "settled", "iteration": 1, "phase": "Waiting", "deadline": "2026-11-29T14:00:00.000000Z"},
            {"name": "pause", "iteration": 2, "phase": "Waiting", "wakeAt": "2026-11-29T13:00:00.000000Z"},
            {"name": "first", "iteration": 1, "phase": "Waiting", "wakeAt": "2026-11-29T13:00:00.000000Z",
                "deadline": "2026-11-29T12:30:00.000000Z"},
            {"name": "over", "iteration": 1, "phase": "Succeeded", "outcome": "Callback", "deadline": "2026-11-29T14:00:00.000000Z"},
        ]}));
        for part in [
            "settled: an answer is awaited until 2026-11-29T14:00:00Z",
            "pause (pass 2): it goes on by itself at 2026-11-29T13:00:00Z",
            "first: an answer is awaited until 2026-11-29T12:30:00Z; it goes on by itself at 2026-11-29T13:00:00Z",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
        assert!(!told.contains("over:"), "{told}");
    }

    #[test]
    fn a_run_that_ended_tells_when_and_what_was_said() {
        let told = rendered(&json!({
            "phase": "Rejected", "startedAt": "2026-11-29T12:00:00.000000Z", "finishedAt": "2026-11-29T12:00:30.000000Z",
            "error": {"reason": "Rejected", "message": "no"},
            "steps": [{
                "name": "review", "iteration": 1, "phase": "Failed", "outcome": "Rejected",
                "error": {"reason": "Rejected", "message": "no"},
                "decision": {"verdict": "Reject", "by": ["alice"], "comment": "not\ntoday"}
            }]
        }));
        assert!(
            told.contains("  finished      2026-11-29T12:00:30Z, took 30.0 s\n"),
            "{told}"
        );
        assert!(
            told.contains("review, with the comment of the deciding answer:\n  │ not\n  │ today"),
            "{told}"
        );
        assert_eq!(told.matches("Rejected: no").count(), 1, "{told}");
    }

    #[test]
    fn a_step_with_items_tells_how_they_ended_and_how_many_are_left() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let told = rendered(&json!({"phase": "Running", "steps": [
            {"name": "pay", "iteration": 1, "phase": "Running", "items": {"count": 9, "digest": digest,
                "ended": [{"outcome": "Succeeded", "items": "0-3,5"}, {"outcome": "Failed", "items": "4"}],
                "errors": [{"items": "4", "reason": "Unreachable", "message": "no such host"}],
                "decisions": [{"item": 5, "decision": {"verdict": "Approve", "by": ["alice"], "comment": "fine"}}]}},
            {"name": "pay", "iteration": 1, "item": 6, "phase": "Running", "attempt": 1},
        ]}));
        for part in [
            "pay[6]",
            "pay: 9 items: 5 Succeeded, 1 Failed, 3 left\n  item 4: Unreachable: no such host\n  item 5: Approve by alice: fine",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
    }
}
