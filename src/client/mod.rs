//! What a user asks of the API server, with the user's own rights. The command line, the page and the tools of agents ask the same.

mod inputs;
mod progress;
mod release;
mod resources;
mod retry;
mod rights;
mod start;
mod tasks;

pub use self::{
    inputs::{InputError, check_inputs},
    progress::{Standing, Waited, look, open_approvals, until, until_settled},
    release::{ReleaseChoice, ReleaseError, choose_release, invalid_draft},
    resources::resources_of,
    retry::{Retry, RetryError, plan_retry},
    rights::may,
    start::{StartError, Started, create_run, start_once, whoami},
    tasks::{Claim, TaskError, claim},
};
