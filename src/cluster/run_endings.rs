//! Tells whoever keeps releases that runs have ended.

use futures::Stream;
use tokio::sync::mpsc;

use super::inbox::{Inbox, inbox};

/// Tells of runs that have ended or are gone. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunEndings(mpsc::UnboundedSender<String>);

/// Where [`RunEndings`] arrive. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct EndedRuns(Inbox<String>);

/// Both ends.
pub fn run_endings() -> (RunEndings, EndedRuns) {
    let (sender, receiver) = inbox();
    (RunEndings(sender), EndedRuns(receiver))
}

impl EndedRuns {
    /// Their namespaces.
    pub fn stream(self) -> impl Stream<Item = String> + Send + 'static {
        self.0.stream()
    }
}

impl RunEndings {
    /// A run of this namespace has ended or is gone.
    pub fn tell(&self, namespace: &str) {
        // nobody listens at the end of the process
        let _ = self.0.send(namespace.to_owned());
    }
}
