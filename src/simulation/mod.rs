//! Flows without a server: a scenario says what others answer, and when people decide; the real engine and the real
//! judge do the rest against a clock that jumps. Nothing is called, and nothing sleeps.

mod children;
mod compare;
mod expectation;
mod flows;
mod junit;
mod replay;
mod scenario;
mod stubs;
mod trigger;
mod update;
mod world;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use signoff_api::{Connection, Definition, name::FlowName};

pub use self::{
    expectation::check,
    flows::{children, run_each_other},
    junit::junit,
    replay::{Difference, Recorded, Replay, ReplayError, StepReplay, Verdict, replay},
    scenario::{API_GROUP, API_VERSION, KIND, Scenario, ScenarioError, is_scenario},
    update::{UpdateError, update},
    world::{Call, Question, Record, simulate},
};

/// The objects that the files of a scenario hold.
#[derive(Debug, Default)]
pub struct Objects {
    /// Definitions, by the name of the flow.
    pub flows: BTreeMap<FlowName, Definition>,
    /// Connections, by name.
    pub connections: BTreeMap<String, Connection>,
}
