//! How two versions of a `task` step differ.

use crate::difference::{Answerless, Field, Loosened, LooseningKind};
use signoff_api::step::{TaskStep, WaitTimeout};

pub(super) fn fields(step: &TaskStep) -> Vec<Field> {
    let TaskStep {
        queue,
        input,
        instructions,
        schema,
        heartbeat,
        respond_within,
        on_timeout,
    } = step;
    let outcome = on_timeout.as_ref().map(|WaitTimeout { outcome }| outcome);
    vec![
        Field::required("task.queue", queue),
        Field::new("task.input", input.as_ref()),
        Field::new("task.instructions", instructions.as_ref()),
        Field::new("task.schema", schema.as_ref()),
        Field::new("task.heartbeat", heartbeat.as_ref()).default("5m"),
        Field::new("task.respondWithin", respond_within.as_ref()).default("as long as it takes"),
        Field::new("task.onTimeout.outcome", outcome).default("Fail"),
    ]
}

/// What a task leaves to less control than it did: the run goes on without a result, or later steps get one that nothing
/// checks.
pub(super) fn loosened(old: &TaskStep, new: &TaskStep) -> Vec<Loosened> {
    let mut found = Vec::new();
    let (then, now) = (answerless(old), answerless(new));
    if now.is_looser_than(&then) {
        found.push(Loosened {
            kind: LooseningKind::ContinuesUnanswered,
            before: then.words(None),
            after: now.words(None),
        });
    }
    if old.schema.is_some() && new.schema.is_none() {
        found.push(Loosened {
            kind: LooseningKind::TaskCheckRemoved,
            before: Some("schema".to_owned()),
            after: None,
        });
    }
    found
}

fn answerless(step: &TaskStep) -> Answerless<'_> {
    if step.continues_after_timeout()
        && let Some(within) = &step.respond_within
    {
        Answerless::GoesOn(Some(within))
    } else {
        Answerless::Stops
    }
}
