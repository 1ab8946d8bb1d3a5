//! The decision function of a run.

use k8s_openapi::jiff::Timestamp;

use super::{effect::Effect, facts::Facts, plan::Plan, turn::Turn};
use signoff_api::RunStatus;

/// Most steps that one decision begins: more than a flow without loops has. What a loop does beyond that is for the next decision, so that
/// no run keeps others waiting, or what it has done from being written.
pub const MAX_BEGUN: usize = 256;

/// What a decision came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// The run's next state; equal to the one given when nothing has changed.
    pub state: RunStatus,
    /// What to do in the world.
    pub effects: Vec<Effect>,
    /// Whether the next state need not be written now: nothing has happened but passes of loops of one call that may be
    /// repeated, which go on. After a crash, the passes that were not written are done again under the same keys.
    pub is_deferrable: bool,
    /// When to decide again even if nothing happens. It is the time of the decision if a loop has more to do: a decision is of bounded
    /// length.
    pub wake_at: Option<Timestamp>,
}

/// Decides what a run does next: a pure function of its plan, its state, what is known about the world, and the time.
///
/// It may be called at any moment and any number of times. A step is begun only when everything it needs is done, an effect is asked for
/// only while its outcome is not known, and nothing changes once the run has ended. A run whose flow limits how many runs go on at the same
/// time begins its first step only when the state says that it holds a place.
pub fn advance(plan: &Plan, state: &RunStatus, facts: &Facts, now: Timestamp) -> Advance {
    if state.phase.is_finished() {
        return Advance {
            state: state.clone(),
            effects: vec![],
            is_deferrable: false,
            wake_at: None,
        };
    }
    let mut turn = Turn::new(plan, state, facts, now);
    if facts.run.terminate {
        turn.terminate();
    } else if facts.run.cancel {
        turn.cancel();
    }
    if turn.is_held_back() {
        return turn.hold_back();
    }
    turn.look_at_resolutions();
    turn.hear_outcomes();
    turn.look_at_unfinished();
    // a step may wait for the end of its earlier process
    turn.look_after_processes();
    turn.start_what_is_ready();
    turn.conclude()
}
