//! `wait` steps: until a callback, an event, a duration, a time, or the first of several.

mod difference;
mod event;

use std::{any::Any, collections::BTreeMap, sync::Arc};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};

use serde_json::Value;
use signoff_expression::{Declarations, StaticType};

use self::event::EventPlan;
use super::{Done, Failure, Kind, KindPlan, Next, Wait};
use crate::{
    callback_body,
    difference::{Field, Loosened},
    expression::{Scope, Template},
    heartbeat,
    plan::{AtLeast, DurationPlan, Place, check},
    turn::StepView,
};
use signoff_api::{
    HumanDuration, OrExpression, bounds,
    reason::StepReason,
    run::{EndingOutcome, EventRecord, StepOutcome},
    step::{CallbackWait, WaitStep, WaitTimeoutOutcome},
};

/// A `wait` step with its expressions parsed.
#[derive(Debug)]
struct WaitPlan {
    callback: Option<CallbackWait>,
    event: Option<EventPlan>,
    duration: Option<DurationPlan>,
    until: Option<Template>,
    respond_within: Option<DurationPlan>,
    heartbeat: Option<HumanDuration>,
    continue_on_timeout: bool,
}

impl Kind for WaitStep {
    fn compile(&self, place: &mut Place<'_, '_>) -> Arc<dyn KindPlan> {
        let answers = self.callback.is_some() || self.event.is_some();
        if !answers && self.duration.is_none() && self.until.is_none() {
            place.problem(
                "",
                "a wait step needs at least one of callback, event, duration and until",
            );
        }
        let event = self
            .event
            .as_ref()
            .and_then(|event| EventPlan::compile(&mut place.below("event"), event));
        if let Some(callback) = &self.callback {
            place.schema("callback.schema", callback.schema.as_ref());
            if let Some(accept) = &callback.accept {
                let extra = [("body", body_type(callback)), ("headers", check::headers())];
                place.condition("callback.accept", accept, &extra);
            }
            let bounds = CallbackWait::SHORTEST_HEARTBEAT..=CallbackWait::LONGEST_HEARTBEAT;
            if let Some(heartbeat) = &callback.heartbeat
                && !bounds.contains(&heartbeat.duration())
            {
                place.problem("callback.heartbeat", "a heartbeat takes from 1m to 24h");
            }
        }
        let until = self
            .until
            .as_ref()
            .and_then(|until| place.template("until", until));
        if let Some(literal) = until.as_ref().and_then(Template::as_literal)
            && let Err(why) = time(literal)
        {
            place.problem("until", why);
        }
        let mut duration = |field, duration: Option<&OrExpression<HumanDuration>>| {
            DurationPlan::compile(place, field, field, duration?, AtLeast::ANY)
        };
        Arc::new(WaitPlan {
            callback: self.callback.clone(),
            event,
            duration: duration("duration", self.duration.as_ref()),
            until,
            respond_within: duration("respondWithin", self.respond_within.as_ref()),
            heartbeat: self
                .callback
                .as_ref()
                .and_then(|callback| callback.heartbeat.clone()),
            continue_on_timeout: self
                .on_timeout
                .as_ref()
                .is_some_and(|then| then.outcome == WaitTimeoutOutcome::Continue),
        })
    }

    fn results(&self, declarations: &Declarations) -> Vec<check::StepResult> {
        let callback = self
            .callback
            .as_ref()
            .map(|callback| check::StepResult::new(StepOutcome::Callback).with_output(body_type(callback)));
        let event = self.event.as_ref().map(|event| {
            check::StepResult::new(StepOutcome::Event).with_output(check::event_body(declarations, event))
        });
        let elapses = self.duration.is_some() || self.until.is_some();
        let elapsed = elapses.then(|| check::StepResult::new(StepOutcome::Elapsed));
        let goes_on = self
            .on_timeout
            .as_ref()
            .is_some_and(|then| then.outcome == WaitTimeoutOutcome::Continue);
        let timed_out = goes_on.then(|| check::StepResult::new(StepOutcome::TimedOut));
        let all = [callback, event, elapsed, timed_out];
        all.into_iter().flatten().collect()
    }

    fn fields(&self) -> Vec<Field> {
        difference::fields(self)
    }

    fn loosened(&self, before: &dyn Any) -> Vec<Loosened> {
        let before = before.downcast_ref();
        before.map_or_else(Vec::new, |before| difference::loosened(before, self))
    }
}

/// A time that the status of a run takes.
fn time(text: &str) -> Result<Timestamp, String> {
    let (first, last) = (bounds::EARLIEST_TIME, bounds::LATEST_TIME);
    match text.parse::<Timestamp>() {
        Ok(time) if (first..=last).contains(&time) => Ok(time),
        Ok(time) => Err(format!("{time} does not lie between {first} and {last}")),
        Err(_) => Err(format!("{text:?} is not a time such as 2026-12-24T18:00:00Z")),
    }
}

/// The type of the body of a callback.
fn body_type(callback: &CallbackWait) -> StaticType {
    match &callback.schema {
        Some(schema) => check::type_of(schema.as_value(), check::Defaults::Ignored),
        None => StaticType::Dyn,
    }
}

impl KindPlan for WaitPlan {
    fn start(&self, step: &StepView<'_>) -> Next {
        match self.wait(step) {
            Ok(wait) => Next::Wait(wait),
            Err(failure) => Next::Fail(failure),
        }
    }

    fn go_on(&self, step: &StepView<'_>) -> Next {
        if let Some(answered) = self.answered_by(step) {
            return Next::Done(answered);
        }
        let passed = |time: &Option<MicroTime>| time.as_ref().is_some_and(|time| time.0 <= step.run.now);
        if passed(&step.status.wake_at) {
            Next::Done(Done::new(StepOutcome::Elapsed))
        } else if passed(&step.status.deadline) {
            let message = if self.callback.is_some() {
                "no callback came in time"
            } else {
                "no event came in time"
            };
            self.timed_out(Failure::timed_out(message, EndingOutcome::TimedOut))
        } else if let Some(heartbeat) = &self.heartbeat
            && self.due_at(step).is_some_and(|lost| lost <= step.run.now)
        {
            let message = format!("no heartbeat came for {}", heartbeat.as_str());
            self.timed_out(Failure::heartbeat_lost(message))
        } else {
            Next::Stay
        }
    }

    fn due_at(&self, step: &StepView<'_>) -> Option<Timestamp> {
        let heartbeat = self.heartbeat.as_ref()?;
        heartbeat::lost_at(step.run.state, step.status, heartbeat.duration())
    }

    fn takes_callback(&self) -> bool {
        self.callback.is_some()
    }

    fn takes_body(&self, body: &Value) -> Result<(), String> {
        match &self.callback {
            // nobody has sent headers
            Some(callback) => callback_body::check(callback, &BTreeMap::new(), body),
            None => Err("it waits for no callback".to_owned()),
        }
    }

    fn awaits_event(&self) -> Option<(Option<&str>, &str)> {
        self.event.as_ref().map(EventPlan::trigger)
    }
}

impl WaitPlan {
    /// The callback or the event that came, the first if both did.
    fn answered_by(&self, step: &StepView<'_>) -> Option<Done> {
        let callback = step.callback().filter(|_| self.callback.is_some());
        let event = step.event().filter(|_| self.event.is_some());
        let is_first = |event: &EventRecord| {
            callback.is_none_or(|callback| event.received_at.0 < callback.received_at.0)
        };
        if let Some(event) = event.filter(|event| is_first(event)) {
            let done = Done::new(StepOutcome::Event);
            return Some(match &event.body {
                Some(body) => done.with_output(body.0.clone()),
                None => done,
            });
        }
        let body = callback.map(|record| &record.body);
        let body = body.or_else(|| step.resolved().filter(|_| self.callback.is_some()));
        body.map(|body| Done::new(StepOutcome::Callback).with_output(body.0.clone()))
    }

    /// What comes next when nobody answered.
    fn timed_out(&self, failure: Failure) -> Next {
        if self.continue_on_timeout {
            let done = Done::new(StepOutcome::TimedOut);
            Next::Done(done.with_error(failure.reason, failure.message))
        } else {
            Next::Fail(failure)
        }
    }

    /// What is waited for, and until when.
    fn wait(&self, step: &StepView<'_>) -> Result<Wait, Failure> {
        let scope = step.scope();
        let after = |duration: &Option<DurationPlan>| {
            let span = duration
                .as_ref()
                .map(|duration| duration.value(&scope))
                .transpose()?;
            Ok::<_, Failure>(span.map(|span| step.after(span.duration())))
        };
        let wake_at = [after(&self.duration)?, self.until(&scope)?];
        let wake_at = wake_at.into_iter().flatten().min();
        let event_keys = match &self.event {
            Some(event) => event.hashes(step, &scope)?,
            None => vec![],
        };
        let callback = self.callback.as_ref().map(|_| "a callback".to_owned());
        let event = self.event.as_ref().map(EventPlan::what);
        let time = wake_at.map(|at| format!("{at:.0}"));
        let all: Vec<String> = [callback, event, time].into_iter().flatten().collect();
        let what = all.join(", or ");
        Ok(Wait {
            wake_at,
            deadline: after(&self.respond_within)?,
            event_keys,
            waiting_on: format!("{what} ({})", step.status.name),
        })
    }

    fn until(&self, scope: &Scope) -> Result<Option<Timestamp>, Failure> {
        let Some(until) = &self.until else { return Ok(None) };
        let text = until
            .text(scope)
            .map_err(|error| Failure::new(error.reason(), format!("until: {error}")))?;
        let invalid = |why| Failure::new(StepReason::InvalidTime, format!("until: {why}"));
        time(&text).map(Some).map_err(invalid)
    }
}
