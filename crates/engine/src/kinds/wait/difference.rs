//! How two versions of a `wait` step differ.

use std::time::Duration;

use crate::difference::{Answerless, Field, Loosened, LooseningKind};
use signoff_api::{
    HumanDuration,
    step::{CallbackWait, WaitStep, WaitTimeout, WaitTimeoutOutcome},
};

pub(super) fn fields(step: &WaitStep) -> Vec<Field> {
    let WaitStep {
        callback,
        event,
        duration,
        until,
        respond_within,
        on_timeout,
    } = step;
    let outcome = on_timeout.as_ref().map(|WaitTimeout { outcome }| outcome);
    vec![
        Field::new("wait.callback", callback.as_ref()),
        Field::new("wait.event", event.as_ref()),
        Field::new("wait.duration", duration.as_ref()),
        Field::new("wait.until", until.as_ref()),
        Field::new("wait.respondWithin", respond_within.as_ref()).default("as long as it takes"),
        Field::new("wait.onTimeout.outcome", outcome).default("Fail"),
    ]
}

/// What a wait leaves to less control than it did.
pub(super) fn loosened(old: &WaitStep, new: &WaitStep) -> Vec<Loosened> {
    let mut found = Vec::new();
    let (then, now) = (answerless(old), answerless(new));
    if old.callback.is_some() && now.is_looser_than(&then) {
        found.push(Loosened {
            kind: LooseningKind::ContinuesUnanswered,
            before: then.words(None),
            after: now.words(None),
        });
    }
    let gone = checks_gone(old, new);
    if !gone.is_empty() {
        found.push(Loosened {
            kind: LooseningKind::CallbackCheckRemoved,
            before: Some(gone.join(", ")),
            after: None,
        });
    }
    found
}

/// A wait goes on when the first of what it waits for is there, so a duration beside a callback does without the
/// callback.
fn answerless(step: &WaitStep) -> Answerless<'_> {
    let WaitStep {
        callback: _, // the answer itself
        event: _,    // another answer
        duration,
        until,
        respond_within,
        on_timeout,
    } = step;
    let outcome = on_timeout.as_ref().map(|timeout| timeout.outcome);
    let late = (outcome == Some(WaitTimeoutOutcome::Continue)).then_some(respond_within.as_ref());
    let spans = duration.iter().chain(late.flatten());
    // a computed one may be the soonest of all
    let soonest = spans.min_by_key(|span| span.literal().map_or(Duration::ZERO, HumanDuration::duration));
    match soonest {
        Some(soonest) => Answerless::GoesOn(Some(soonest)),
        None if until.is_some() || late.is_some() => Answerless::GoesOn(None),
        None => Answerless::Stops,
    }
}

/// The checks of a callback that were there and are not any more, or the whole callback.
fn checks_gone(old: &WaitStep, new: &WaitStep) -> Vec<&'static str> {
    let (old, new) = match (&old.callback, &new.callback) {
        (Some(old), Some(new)) => (old, new),
        (Some(_), None) => return vec!["callback"],
        (None, _) => return vec![],
    };
    let CallbackWait {
        schema,
        accept,
        hmac,
        heartbeat: _, // says when nobody will call any more, not who may call
    } = new;
    let gone = [
        ("schema", old.schema.is_some() && schema.is_none()),
        ("accept", old.accept.is_some() && accept.is_none()),
        ("hmac", old.hmac.is_some() && hmac.is_none()),
    ];
    gone.into_iter()
        .filter(|(_, gone)| *gone)
        .map(|(check, _)| check)
        .collect()
}
