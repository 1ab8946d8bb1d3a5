//! Requests for a sync at once, as a push webhook makes them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::Stream;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{broadcast, mpsc};

use super::cycle::request_of;
use crate::cluster::inbox::{Inbox, inbox};
use signoff_api::Repository;

/// Most requests that one who listens may be behind; one further behind learns that it missed some.
const LISTENING: usize = 256;

/// Asks for a sync of a Repository at once. Cheap to clone; many requests before a sync begins are one.
#[derive(Clone, Debug)]
pub struct SyncRequests {
    asked: Arc<Mutex<HashSet<ObjectRef<Repository>>>>,
    queue: mpsc::UnboundedSender<ObjectRef<Repository>>,
    listening: broadcast::Sender<ObjectRef<Repository>>,
}

/// The other end of [`SyncRequests`], for the controller. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct SyncQueue {
    asked: Arc<Mutex<HashSet<ObjectRef<Repository>>>>,
    queue: Inbox<ObjectRef<Repository>>,
    listening: broadcast::Sender<ObjectRef<Repository>>,
}

/// The controller's record of who was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    here: Arc<Mutex<HashSet<ObjectRef<Repository>>>>,
    /// The newest request by annotation that was passed on.
    passed_on: Mutex<HashMap<ObjectRef<Repository>, String>>,
    listening: broadcast::Sender<ObjectRef<Repository>>,
}

/// Both ends.
pub fn sync_requests() -> (SyncRequests, SyncQueue) {
    // bounded by the number of Repositories: one is queued once until it is taken
    let (sender, receiver) = inbox();
    let asked = Arc::<Mutex<HashSet<_>>>::default();
    let listening = broadcast::Sender::new(LISTENING);
    (
        SyncRequests {
            asked: Arc::clone(&asked),
            queue: sender,
            listening: listening.clone(),
        },
        SyncQueue {
            asked,
            queue: receiver,
            listening,
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
        let queue = self.queue.stream();
        let asked = Asked {
            here: self.asked,
            passed_on: Mutex::default(),
            listening: self.listening,
        };
        (asked, queue)
    }
}

impl Asked {
    /// Whether a sync was asked for that has not begun.
    pub(super) fn has(&self, repository: &ObjectRef<Repository>) -> bool {
        lock(&self.here).contains(repository)
    }

    /// Whether a sync was asked for since this was last asked.
    pub(super) fn take(&self, repository: &ObjectRef<Repository>) -> bool {
        lock(&self.here).remove(repository)
    }

    /// Passes on a request that came as an annotation, once: so a gateway that is a process of its own tells of what a forge has told it.
    pub(super) fn pass_on(&self, repository: &Repository) {
        let Some(request) = request_of(repository) else {
            return;
        };
        let handled = repository.status.as_ref();
        if handled.and_then(|status| status.last_handled_request.as_ref()) == Some(&request) {
            return;
        }
        let name = ObjectRef::from_obj(repository);
        let before = lock(&self.passed_on).insert(name.clone(), request.clone());
        if before != Some(request) {
            // nobody may listen
            let _ = self.listening.send(name);
        }
    }

    /// Forgets a Repository that is gone.
    pub(super) fn forget(&self, repository: &ObjectRef<Repository>) {
        lock(&self.passed_on).remove(repository);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    fn repository(requested: &str, handled: &str) -> Repository {
        let metadata = serde_json::json!({"name": "flows", "namespace": "default",
            "annotations": {"signoff.dev/requestedAt": requested}});
        serde_json::from_value(serde_json::json!({
            "apiVersion": "signoff.dev/v1alpha1", "kind": "Repository", "metadata": metadata,
            "spec": {"url": "https://git.example.com/flows.git", "draft": {"ref": "main"}},
            "status": {"lastHandledRequest": handled},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_request_by_annotation_is_passed_on_once_to_who_listens() {
        let (requests, queue) = sync_requests();
        let mut heard = requests.listen();
        let (asked, queue) = queue.split();
        for (requested, handled) in [("1", "1"), ("2", "1"), ("2", "1"), ("2", "2"), ("3", "2")] {
            asked.pass_on(&repository(requested, handled));
        }
        drop((requests, asked, queue));
        let (mut count, expected) = (0, ObjectRef::new("flows").within("default"));
        while let Ok(name) = heard.recv().await {
            assert_eq!(name, expected);
            count += 1;
        }
        assert_eq!(count, 2);
    }

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
