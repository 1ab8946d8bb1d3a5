//! The decision function of a run.

use k8s_openapi::jiff::Timestamp;

use super::effect::Effect;
use crate::api::RunStatus;

/// What a decision came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// The run's next state; equal to the one given when nothing has changed.
    pub state: RunStatus,
    /// What to do in the world.
    pub effects: Vec<Effect>,
    /// When to decide again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}
