//! Scenarios with the operator and the forge. Each runs on an embedded API server here; `tests/controlplane/scenarios.sh` runs all of them on a
//! real one too.

mod bindings;
mod clusters;
mod decisions;
mod endings;
mod feedback;
mod git_steps;
mod outages;
mod refusals;
mod remotes;
mod replays;
mod scopes;
mod strangers;
mod ways;
mod webhooks;
