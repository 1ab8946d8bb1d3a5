//! Runs that come to their ends.

use std::{pin::Pin, time::Instant};

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher;
use signoff_api::{Run, RunPhase};

use crate::target::Target;

/// A watch of the runs that are neither pending nor under way.
pub struct Ends(Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<Run>>> + Send>>);

impl Ends {
    /// Watches from now on; runs that have ended before do not count.
    pub async fn watch(target: &Target) -> Self {
        let ended = watcher::Config::default().fields("status.phase!=Pending,status.phase!=Running");
        let mut events = watcher(target.api::<Run>(), ended).boxed();
        while !matches!(events.next().await, Some(Ok(watcher::Event::InitDone))) {}
        Self(events)
    }

    /// Waits until so many runs whose names begin so have succeeded.
    pub async fn succeeded(&mut self, name: &str, count: usize) -> Instant {
        let mut left = count;
        while left > 0 {
            if let Some(Ok(watcher::Event::Apply(run))) = self.0.next().await
                && run.metadata.name.as_ref().is_some_and(|it| it.starts_with(name))
                && let Some(status) = run.status
                && status.phase.is_finished()
            {
                // a run that fails is no measure of one that works
                assert_eq!(status.phase, RunPhase::Succeeded, "{:?}", status.waiting_on);
                left -= 1;
            }
        }
        Instant::now()
    }
}
