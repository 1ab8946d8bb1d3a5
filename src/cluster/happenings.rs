//! Tells whoever sends notifications what has happened to runs.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::inbox::{Inbox, inbox};
use signoff_api::{Run, RunStatus};
use signoff_engine::notification::{Happened, happened};

/// What has happened to a run, as the API server has acknowledged it.
#[derive(Clone, Debug)]
pub struct RunHappened {
    /// The run afterwards.
    pub run: Arc<Run>,
    /// What happened.
    pub happened: Vec<Happened>,
}

/// Tells of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HappeningSender(UnboundedSender<RunHappened>);

/// Both ends.
pub fn happenings() -> (HappeningSender, Inbox<RunHappened>) {
    let (sender, inbox) = inbox();
    (HappeningSender(sender), inbox)
}

impl HappeningSender {
    /// A state was acknowledged.
    pub fn acknowledged(&self, before: Option<&RunStatus>, run: &Arc<Run>) {
        let Some(after) = &run.status else { return };
        let happened = happened(before, after);
        if !happened.is_empty() {
            let run = Arc::clone(run);
            // nobody listens at the end of the process
            let _ = self.0.send(RunHappened { run, happened });
        }
    }
}
