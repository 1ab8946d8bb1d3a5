//! A run of a flow that limits how many runs go on at the same time: before its first step, it needs a place.
//!
//! That it holds one is written down first, in a write of its own. The first step begins with the next one. So a process
//! that has lost its lead, and whose last write arrives late, has begun nothing that its successor does not know of.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Turn, cut, sentence};
use crate::{advance::Advance, concurrency::Place};
use signoff_api::{RunPhase, reason::StepReason, run::EndingOutcome};

impl Turn<'_> {
    /// Whether nothing of it has begun, and it needs a place first.
    pub(super) fn is_without_place(&self) -> bool {
        self.state.concurrency.is_some() && self.state.started_at.is_none()
    }

    /// Whether the run begins nothing in this turn. It ends if there is no place for it and it is not to wait.
    pub(crate) fn is_held_back(&mut self) -> bool {
        if self.ending.is_some() || !self.is_without_place() {
            return false;
        }
        let held_since = MicroTime(self.now);
        let Some(concurrency) = &mut self.state.concurrency else {
            return false;
        };
        match &self.facts.place {
            Place::Unlimited => false,
            Place::Held | Place::Shared(_) if concurrency.held_since.is_some() => false,
            place @ (Place::Held | Place::Shared(_)) => {
                if let Place::Shared(run) = place {
                    concurrency.shares = Some(run.clone());
                }
                concurrency.held_since = Some(held_since);
                concurrency.position = None;
                concurrency.position_at = None;
                // it is about to begin
                self.state.phase = RunPhase::Running;
                self.state.waiting_on = None;
                true
            }
            Place::Queued { position, holders } => {
                let position = i64::try_from(*position).unwrap_or(i64::MAX);
                let is_next = position == 1;
                let was_next = concurrency.position.map(|position| position == 1);
                // the position is not written again each time a run ends
                if self.state.phase == RunPhase::Queued && was_next == Some(is_next) {
                    return true;
                }
                concurrency.held_since = None;
                concurrency.shares = None;
                concurrency.position = Some(position);
                concurrency.position_at = Some(held_since);
                let place = if is_next {
                    "next in the queue".to_owned()
                } else {
                    format!("position {position} in the queue at {:.0}", self.now)
                };
                let key = &concurrency.key;
                self.state.waiting_on = Some(sentence(format!(
                    "a place for the key \"{key}\": {place}; {holders}"
                )));
                self.state.phase = RunPhase::Queued;
                true
            }
            Place::Full(holders) => {
                let (key, max) = (&concurrency.key, concurrency.max);
                let message = cut(format!(
                    "at most {max} at the same time for the key \"{key}\": {holders}"
                ));
                self.end_because(EndingOutcome::Failed, StepReason::ConcurrencyRejected, message);
                false
            }
        }
    }

    /// The decision that a run does not begin now.
    pub(crate) fn hold_back(mut self) -> Advance {
        self.note_coming_events();
        self.state.observed_generation = self.facts.run.generation;
        self.set_condition();
        Advance {
            state: self.state,
            effects: self.effects,
            is_deferrable: false,
            wake_at: None,
        }
    }
}
