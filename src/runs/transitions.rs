//! What people are told about a run: the transitions between two acknowledged states.

use kube::runtime::events::EventType;

use signoff_api::{
    RunPhase, RunStatus,
    resolution::ResolutionStatus,
    run::{ProcessPhase, ProcessStatus, StepOutcome, StepPhase, StepStatus},
};

/// One thing to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub type_: EventType,
    pub reason: &'static str,
    pub note: String,
}

fn normal(reason: &'static str, note: String) -> Transition {
    Transition {
        type_: EventType::Normal,
        reason,
        note,
    }
}

pub(super) fn warning(reason: &'static str, note: String) -> Transition {
    Transition {
        type_: EventType::Warning,
        reason,
        note,
    }
}

/// What happened between two states. A run that fails in its first write is told of once; of one that succeeds in it there is nothing to
/// tell that the write itself does not say.
pub(super) fn between(before: Option<&RunStatus>, after: &RunStatus) -> Vec<Transition> {
    let mut told = Vec::new();
    let was_finished = before.is_some_and(|status| status.phase.is_finished());
    let finished = after.phase.is_finished() && !was_finished;
    let was_pinned = before.is_some_and(|status| status.release.is_some());
    if finished && !was_pinned && after.phase == RunPhase::Succeeded {
        return told;
    }
    if let Some(release) = &after.release
        && !was_pinned
        && !finished
    {
        told.push(normal(
            "Pinned",
            format!("runs on the release {} ({})", release.name, release.digest),
        ));
    }
    for step in &after.steps {
        let earlier = before.and_then(|status| {
            status.steps.iter().find(|known| {
                known.name == step.name && known.iteration == step.iteration && known.item == step.item
            })
        });
        told.extend(of_step(earlier, step));
    }
    for process in &after.processes {
        let known =
            before.and_then(|status| status.processes.iter().find(|known| known.name == process.name));
        let was_over = known.is_some_and(|known| known.phase.is_over());
        if process.phase == ProcessPhase::NotEnded && !was_over {
            told.push(not_ended(process));
        }
    }
    for (key, resolution) in &after.resolutions {
        let known = before.and_then(|status| status.resolutions.get(key));
        if known != Some(resolution) {
            told.push(resolved(key, resolution));
        }
    }
    let was_ending = before.is_some_and(|status| status.ending.is_some());
    if let Some(ending) = &after.ending
        && !was_ending
    {
        let why = after.error.as_ref().map(|error| error.message.as_str());
        let why = why.or(ending.message.as_deref()).unwrap_or_default();
        let left = after.waiting_on.as_deref().unwrap_or_default();
        told.push(normal(
            "Ending",
            format!(
                "the run is to end {}: {why}; it waits for {left}",
                ending.outcome.phase()
            ),
        ));
    }
    if finished {
        told.push(end(after));
    }
    told
}

/// A process that may still be there, about which nothing more is done.
fn not_ended(process: &ProcessStatus) -> Transition {
    let ProcessStatus {
        step,
        pid,
        connection,
        message,
        ..
    } = process;
    let pid = pid.map(|pid| format!(" {pid}")).unwrap_or_default();
    let why = message.as_deref().unwrap_or_default();
    let note = format!(
        "the process{pid} of step {step}, through the Connection {connection}, may still be there: {why}"
    );
    warning("ProcessNotEnded", note)
}

/// An answer by hand was taken or refused.
fn resolved(key: &str, resolution: &ResolutionStatus) -> Transition {
    let by = resolution.by.as_deref().unwrap_or("somebody");
    let message = &resolution.message;
    match &resolution.refused {
        None => normal(
            "CallbackResolved",
            format!("{by} answered the callback {key} by hand: {message}"),
        ),
        Some(why) => warning(
            "ResolutionRefused",
            format!("the answer of {by} to the callback {key} was refused: {why}"),
        ),
    }
}

fn of_step(before: Option<&StepStatus>, after: &StepStatus) -> Option<Transition> {
    if let Some(error) = &after.error
        && after.phase == StepPhase::Retrying
        // there may be many items
        && after.item.is_none()
        && before.is_none_or(|step| step.error.is_none())
    {
        // later attempts are told by the status alone
        let failed = format!(
            "an attempt of the step {} failed, and another one follows: {} ({})",
            after.name, error.message, error.reason
        );
        return Some(warning("Retrying", failed));
    }
    let approval = after.approval.as_ref()?;
    let name = &after.name;
    let item = after
        .item
        .map(|item| format!("item {item} of "))
        .unwrap_or_default();
    if after.phase == StepPhase::Waiting && before.is_none_or(|step| step.approval.as_ref() != Some(approval))
    {
        return Some(normal(
            "WaitingForApproval",
            format!("{item}the step {name} waits for the approval {approval}"),
        ));
    }
    if before.is_some_and(|step| step.outcome == after.outcome) {
        return None;
    }
    let people = after
        .decision
        .as_ref()
        .map(|decision| decision.by.join(", "))
        .filter(|by| !by.is_empty());
    let by = people.map(|people| format!(" by {people}")).unwrap_or_default();
    match after.outcome? {
        StepOutcome::Approved => Some(normal("Approved", format!("the step {name} was approved{by}"))),
        StepOutcome::Rejected => Some(warning("Rejected", format!("the step {name} was rejected{by}"))),
        StepOutcome::ChangesRequested => Some(normal(
            "ChangesRequested",
            format!("changes were requested at the step {name}{by}"),
        )),
        StepOutcome::TimedOut => Some(warning(
            "ApprovalTimedOut",
            format!("nobody decided on the step {name} in time"),
        )),
        StepOutcome::Succeeded
        | StepOutcome::Failed
        | StepOutcome::Skipped
        | StepOutcome::Omitted
        | StepOutcome::Callback
        | StepOutcome::Event
        | StepOutcome::Elapsed
        | StepOutcome::Cancelled => None,
    }
}

fn end(status: &RunStatus) -> Transition {
    let why = status
        .error
        .as_ref()
        .map(|error| format!(": {} ({})", error.message, error.reason))
        .unwrap_or_default();
    match status.phase {
        RunPhase::Succeeded => normal("Succeeded", "the run succeeded".into()),
        RunPhase::Cancelled => normal("Cancelled", format!("the run was cancelled{why}")),
        RunPhase::Rejected => warning("RunRejected", format!("the run was rejected{why}")),
        RunPhase::TimedOut => warning("RunTimedOut", format!("the run timed out{why}")),
        RunPhase::Failed | RunPhase::Pending | RunPhase::Queued | RunPhase::Running | RunPhase::Waiting => {
            warning("Failed", format!("the run failed{why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(value: Value) -> RunStatus {
        serde_json::from_value(value).unwrap()
    }

    fn release() -> Value {
        json!({"name": "f-0", "digest": format!("sha256:{}", "0".repeat(64))})
    }

    fn reasons(before: Option<&RunStatus>, after: &RunStatus) -> Vec<&'static str> {
        between(before, after)
            .into_iter()
            .map(|told| told.reason)
            .collect()
    }

    #[test]
    fn a_run_that_fails_at_once_is_told_of_once() {
        let after = status(json!({"phase": "Failed", "release": release()}));
        assert_eq!(reasons(None, &after), ["Failed"]);
        assert_eq!(reasons(Some(&after), &after), Vec::<&str>::new());
    }

    #[test]
    fn a_run_that_succeeds_is_told_of_if_it_was_seen_before() {
        let running = status(json!({"phase": "Running", "release": release()}));
        let after = status(json!({"phase": "Succeeded", "release": release()}));
        assert_eq!(reasons(None, &after), Vec::<&str>::new());
        assert_eq!(reasons(Some(&RunStatus::default()), &after), Vec::<&str>::new());
        assert_eq!(reasons(Some(&running), &after), ["Succeeded"]);
    }

    #[test]
    fn the_first_attempt_that_fails_is_told_of_and_later_ones_are_not() {
        let after = |attempt: i64| {
            let step = json!({"name": "call", "iteration": 1, "phase": "Retrying", "attempt": attempt,
                "error": {"reason": "Unreachable", "message": "no such host"}});
            status(json!({"phase": "Waiting", "release": release(), "steps": [step]}))
        };
        assert_eq!(reasons(None, &after(1)), ["Pinned", "Retrying"]);
        assert_eq!(reasons(Some(&after(1)), &after(2)), Vec::<&str>::new());
    }

    #[test]
    fn questions_and_answers_are_told_with_names() {
        let step = json!({"name": "review", "iteration": 1, "phase": "Waiting", "approval": "r-review"});
        let waiting = status(json!({"phase": "Waiting", "release": release(), "steps": [step]}));
        assert_eq!(reasons(None, &waiting), ["Pinned", "WaitingForApproval"]);
        let decision = json!({"verdict": "Approve", "by": ["alice", "bob"]});
        let step = json!({"name": "review", "iteration": 1, "phase": "Succeeded", "outcome": "Approved",
            "approval": "r-review", "decision": decision});
        let approved = status(json!({"phase": "Running", "release": release(), "steps": [step]}));
        let told = between(Some(&waiting), &approved);
        assert_eq!(
            (told.len(), told[0].note.as_str()),
            (1, "the step review was approved by alice, bob")
        );
    }
}
