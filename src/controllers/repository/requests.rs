//! Requests for a sync at once, as a push webhook makes them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, stream};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{broadcast, mpsc};

use crate::api::Repository;

/// Most requests that one who listens may be behind; one further behind learns that it missed some.
const LISTENING: usize = 256;

/// Asks for a sync of a Repository at once. Cheap to clone; many requests before a sync begins are one.
#[derive(Clone, Debug)]
pub struct SyncRequests {
    asked: Arc<Mutex<HashSet<ObjectRef<Repository>>>>,
    queue: mpsc::UnboundedSender<ObjectRef<Repository>>,
    listening: broadcast::Sender<ObjectRef<Repository>>,
}

/// The other end of [`SyncRequests`], for the controller.
#[derive(Debug)]
pub struct SyncQueue {
    asked: Arc<Mutex<HashSet<ObjectRef<Repository>>>>,
    queue: mpsc::UnboundedReceiver<ObjectRef<Repository>>,
}

/// The controller's record of who was asked for.
#[derive(Debug)]
pub(super) struct Asked(Arc<Mutex<HashSet<ObjectRef<Repository>>>>);

/// Both ends.
pub fn sync_requests() -> (SyncRequests, SyncQueue) {
    // bounded by the number of Repositories: one is queued once until it is taken
    let (sender, receiver) = mpsc::unbounded_channel();
    let asked = Arc::<Mutex<HashSet<_>>>::default();
    (
        SyncRequests {
            asked: Arc::clone(&asked),
            queue: sender,
            listening: broadcast::Sender::new(LISTENING),
        },
        SyncQueue {
            asked,
            queue: receiver,
        },
    )
}

impl SyncRequests {
    /// Asks for a sync. A Repository that does not exist is ignored.
    pub fn request(&self, namespace: &str, name: &str) {
        let repository = ObjectRef::new(name).within(namespace);
        // nobody may listen
        let _ = self.listening.send(repository.clone());
        if lock(&self.asked).insert(repository.clone()) {
            // without a controller there is nobody to sync, and nothing to tell
            let _ = self.queue.send(repository);
        }
    }

    /// Hears of every request too: a forge that tells of a push tells the same way of what became of pull requests.
    pub fn listen(&self) -> broadcast::Receiver<ObjectRef<Repository>> {
        self.listening.subscribe()
    }
}

impl SyncQueue {
    pub(super) fn split(self) -> (Asked, impl Stream<Item = ObjectRef<Repository>> + Send + 'static) {
        let queue = stream::unfold(self.queue, |mut queue| async move {
            queue.recv().await.map(|next| (next, queue))
        });
        (Asked(self.asked), queue)
    }
}

impl Asked {
    /// Whether a sync was asked for that has not begun.
    pub(super) fn has(&self, repository: &ObjectRef<Repository>) -> bool {
        lock(&self.0).contains(repository)
    }

    /// Whether a sync was asked for since this was last asked.
    pub(super) fn take(&self, repository: &ObjectRef<Repository>) -> bool {
        lock(&self.0).remove(repository)
    }
}

fn lock(asked: &Mutex<HashSet<ObjectRef<Repository>>>) -> MutexGuard<'_, HashSet<ObjectRef<Repository>>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn many_requests_before_a_sync_are_one() {
        let (requests, queue) = sync_requests();
        for _ in 0..3 {
            requests.request("default", "flows");
        }
        let (asked, queue) = queue.split();
        drop(requests);
        let queued: Vec<_> = queue.collect().await;
        assert_eq!(queued.len(), 1);
        assert_eq!((asked.take(&queued[0]), asked.take(&queued[0])), (true, false));
    }
}
