//! The tasks of a queue that nobody has, the oldest first.

use std::{collections::BTreeMap, pin::Pin};

use futures::{Stream, StreamExt as _};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Config, Event, watcher},
    },
};

use crate::cluster::objects::Decoded;
use signoff_api::{WorkItem, WorkItemPhase, name::DnsLabel};

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<Decoded<WorkItem>>>> + Send>>;

/// The queue as the watch shows it.
pub(super) struct Queue {
    events: Events,
    /// By age and name.
    waiting: BTreeMap<(Option<Timestamp>, String), WorkItem>,
}

impl Queue {
    pub(super) fn watch(api: &Api<WorkItem>, queue: &DnsLabel) -> Self {
        let taken = [WorkItemPhase::Claimed].into_iter().chain(WorkItemPhase::CLOSED);
        let nobodys = taken.map(|phase| format!(",status.phase!={phase}"));
        let which = format!("spec.queue={queue}{}", nobodys.collect::<String>());
        let client = api.clone().into_client();
        let namespace = api.namespace().unwrap_or_default().to_owned();
        let api: Api<Decoded<WorkItem>> = Api::namespaced(client, &namespace);
        let events = watcher(api, Config::default().fields(&which)).default_backoff();
        Self {
            events: Box::pin(events),
            waiting: BTreeMap::new(),
        }
    }

    /// The oldest task that nobody has, once there is one. It is not given again, unless it comes back.
    pub(super) async fn next(&mut self) -> kube::Result<WorkItem> {
        loop {
            // what has happened meanwhile, so that none is offered that others have
            while let Some(Some(event)) = futures::FutureExt::now_or_never(self.events.next()) {
                self.take(event)?;
            }
            if let Some((_, item)) = self.waiting.pop_first() {
                return Ok(item);
            }
            if let Some(event) = self.events.next().await {
                self.take(event)?;
            }
        }
    }

    /// Offers a task again that could not be taken.
    pub(super) fn put_back(&mut self, item: WorkItem) {
        self.waiting.entry(key(&item)).or_insert(item);
    }

    fn take(&mut self, event: watcher::Result<Event<Decoded<WorkItem>>>) -> kube::Result<()> {
        match event {
            Ok(Event::Init) => self.waiting.clear(),
            Ok(Event::InitDone) => {}
            Ok(Event::InitApply(item) | Event::Apply(item)) => {
                // one that cannot be decoded is for a newer worker
                if let Decoded::Object(item) = item {
                    self.waiting.insert(key(&item), item);
                }
            }
            Ok(Event::Delete(Decoded::Object(item))) => {
                self.waiting.remove(&key(&item));
            }
            Ok(Event::Delete(Decoded::Undecodable(_))) => {}
            Err(watcher::Error::InitialListFailed(error)) if is_forbidden(&error) => return Err(error),
            // it starts again
            Err(error) => tracing::warn!(%error, "the watch of the queue broke; it starts again"),
        }
        Ok(())
    }
}

fn key(item: &WorkItem) -> (Option<Timestamp>, String) {
    (item.creation_timestamp().map(|time| time.0), item.name_any())
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
}
