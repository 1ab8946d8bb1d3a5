//! The objects of a kind, held once, and those who are told of changes.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _, stream};
use kube::{
    Resource,
    runtime::{
        reflector::{ObjectRef, Store, store, store::Writer},
        watcher::{Config, Event},
    },
};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::change::{Change, applied, relisted};
use crate::cluster::{
    context::Context,
    objects::{Decoded, Kind, watch},
};

/// The objects of a kind as their one watch shows them. Clones are handles on the same.
pub struct Shared<K: Kind> {
    store: Store<K>,
    subscribers: Arc<Mutex<Subscribers<K>>>,
}

/// Where the events of the one watch go.
pub(super) struct Feed<K: Kind> {
    writer: Writer<K>,
    shared: Shared<K>,
}

/// Those who are told of changes. Whoever holds the lock may write the store and tell of it, so that who joins misses nothing and hears nothing
/// twice.
struct Subscribers<K> {
    senders: Vec<UnboundedSender<Change<K>>>,
    /// Whether the first listing is whole.
    listed: bool,
}

/// Both ends.
pub(super) fn feed<K: Kind>() -> (Feed<K>, Shared<K>) {
    let (store, writer) = store::<K>();
    let subscribers = Subscribers {
        senders: Vec::new(),
        listed: false,
    };
    let shared = Shared {
        store,
        subscribers: Arc::new(Mutex::new(subscribers)),
    };
    let feed = Feed {
        writer,
        shared: shared.clone(),
    };
    (feed, shared)
}

impl<K: Kind> Shared<K> {
    /// All objects of a kind, each as `slim` leaves it, and the watch that has to be driven for them. One that can no longer be decoded is as
    /// good as gone, as it would be at the next start.
    pub(super) fn watch(
        context: &Context,
        slim: fn(&mut K),
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::watch_some(context, Config::default(), slim)
    }

    /// The same for the objects that a selector takes. One that it does not take any more is as good as gone.
    pub(super) fn watch_some(
        context: &Context,
        config: Config,
        slim: fn(&mut K),
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (mut feed, shared) = feed::<K>();
        let events = watch::<K>(context, config);
        let watching = async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                // a watch that broke starts again
                let Ok(event) = event else { continue };
                if let Some(event) = decoded(event, &feed.shared.store) {
                    feed.take(&event.modify(slim));
                }
            }
        };
        (shared, watching)
    }

    /// The objects, for those who look them up.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Returns when the watch has shown all there are. Whether it has: otherwise it has ended, and with it everything else.
    pub async fn is_known(&self) -> bool {
        self.store.wait_until_ready().await.is_ok()
    }

    /// What is there now, then each change.
    pub fn subscribe(&self) -> impl Stream<Item = Change<K>> + Send + use<K> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut subscribers = self.lock();
        if subscribers.listed {
            for object in self.store.state() {
                // the receiver is here
                let _ = sender.send(Change::Present(object));
            }
        }
        subscribers.senders.push(sender);
        received(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers<K>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kind> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            subscribers: Arc::clone(&self.subscribers),
        }
    }
}

impl<K: Kind> fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("kind", &K::kind(&()))
            .finish_non_exhaustive()
    }
}

impl<K: Kind> Feed<K> {
    /// An object as it was shown last.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Takes in what the watch shows, and tells of what has changed by it.
    pub(super) fn take(&mut self, event: &Event<K>) {
        let Self { writer, shared } = self;
        let mut subscribers = shared.lock();
        let changes = match event {
            Event::Init | Event::InitApply(_) => {
                writer.apply_watcher_event(event);
                return;
            }
            Event::InitDone => {
                let before = shared.store.state();
                writer.apply_watcher_event(event);
                let now = shared.store.state();
                if std::mem::replace(&mut subscribers.listed, true) {
                    relisted(before, now)
                } else {
                    now.into_iter().map(Change::Present).collect()
                }
            }
            Event::Apply(object) => {
                let key = ObjectRef::from_obj(object);
                let before = shared.store.get(&key);
                writer.apply_watcher_event(event);
                let now = shared.store.get(&key);
                now.map(|now| applied(before, now)).unwrap_or_default()
            }
            Event::Delete(object) => {
                writer.apply_watcher_event(event);
                vec![Change::Removed(Arc::new(object.clone()))]
            }
        };
        subscribers.tell(&changes);
    }
}

impl<K> Subscribers<K> {
    fn tell(&mut self, changes: &[Change<K>]) {
        // one whose controller has ended is dropped
        self.senders
            .retain(|sender| changes.iter().all(|change| sender.send(change.clone()).is_ok()));
    }
}

/// What arrives, as a stream.
pub(super) fn received<T: Send + 'static>(
    receiver: UnboundedReceiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    })
}

/// An event about objects that were decoded. What can no longer be decoded is gone.
fn decoded<K>(event: Event<Decoded<K>>, known: &Store<K>) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(object) => object.ok().map(Event::InitApply),
        Event::Apply(Decoded::Object(object)) => Some(Event::Apply(object)),
        Event::Delete(Decoded::Object(object)) => Some(Event::Delete(object)),
        Event::Apply(Decoded::Undecodable(object)) | Event::Delete(Decoded::Undecodable(object)) => {
            let key = ObjectRef::<K>::new(&object.metadata.name.clone().unwrap_or_default())
                .within(&object.metadata.namespace.clone().unwrap_or_default());
            let last = known.get(&key)?;
            Some(Event::Delete((*last).clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::*;
    use signoff_api::Flow;

    fn flow(name: &str, duration: &str, version: &str) -> Decoded<Flow> {
        let text = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": version},
            "spec": {"steps": [{"name": "pause", "wait": {"duration": duration}}]}});
        Decoded::of(&text.to_string())
    }

    fn show(feed: &mut Feed<Flow>, event: Event<Decoded<Flow>>) {
        if let Some(event) = decoded(event, &feed.shared.store) {
            feed.take(&event);
        }
    }

    fn names(shared: &Shared<Flow>) -> Vec<String> {
        let mut names: Vec<_> = shared
            .store()
            .state()
            .iter()
            .map(|flow| flow.name_any())
            .collect();
        names.sort();
        names
    }

    /// What a subscriber has been told and not yet read, in order.
    fn told(changes: &mut (impl Stream<Item = Change<Flow>> + Unpin)) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(Some(change)) = changes.next().now_or_never() {
            let name = change.object().name_any();
            told.push(match change {
                Change::Present(_) => format!("present {name}"),
                Change::Added(_) => format!("added {name}"),
                Change::Updated { .. } => format!("updated {name}"),
                Change::Removed(_) => format!("removed {name}"),
            });
        }
        told
    }

    #[test]
    fn what_can_no_longer_be_decoded_leaves_the_store_and_comes_back_when_it_can() {
        let (mut feed, shared) = feed::<Flow>();
        let mut show = |event| {
            show(&mut feed, event);
            names(&shared)
        };
        show(Event::Init);
        show(Event::InitApply(flow("a", "1m", "1")));
        show(Event::InitApply(flow("bad", "soon", "1")));
        assert_eq!(show(Event::InitDone), ["a"]);
        assert_eq!(show(Event::Apply(flow("b", "1m", "2"))), ["a", "b"]);
        assert_eq!(show(Event::Apply(flow("a", "soon", "3"))), ["b"]);
        assert_eq!(show(Event::Delete(flow("bad", "soon", "1"))), ["b"]);
        assert_eq!(show(Event::Apply(flow("a", "2m", "4"))), ["a", "b"]);
        assert_eq!(show(Event::Delete(flow("a", "soon", "5"))), ["b"]);
    }

    #[test]
    fn who_joins_early_or_late_sees_all_that_is_there_once_and_then_each_change() {
        let (mut feed, shared) = feed::<Flow>();
        let mut early = Box::pin(shared.subscribe());
        show(&mut feed, Event::Init);
        show(&mut feed, Event::InitApply(flow("a", "1m", "1")));
        assert_eq!(told(&mut early), [""; 0], "the listing is not whole yet");
        show(&mut feed, Event::InitDone);
        assert_eq!(told(&mut early), ["present a"]);
        show(&mut feed, Event::Apply(flow("b", "1m", "2")));
        let mut late = Box::pin(shared.subscribe());
        show(&mut feed, Event::Apply(flow("b", "2m", "3")));
        show(&mut feed, Event::Delete(flow("a", "1m", "4")));
        assert_eq!(told(&mut early), ["added b", "updated b", "removed a"]);
        let (present, later) = {
            let mut told = told(&mut late);
            let later = told.split_off(2);
            told.sort();
            (told, later)
        };
        assert_eq!(present, ["present a", "present b"]);
        assert_eq!(later, ["updated b", "removed a"]);
    }

    #[test]
    fn a_new_listing_tells_only_of_what_has_changed_and_shows_the_old_until_it_is_whole() {
        let (mut feed, shared) = feed::<Flow>();
        show(&mut feed, Event::Init);
        for name in ["a", "b"] {
            show(&mut feed, Event::InitApply(flow(name, "1m", "1")));
        }
        show(&mut feed, Event::InitDone);
        let mut changes = Box::pin(shared.subscribe());
        told(&mut changes);
        show(&mut feed, Event::Init);
        show(&mut feed, Event::InitApply(flow("a", "1m", "1")));
        show(&mut feed, Event::InitApply(flow("c", "1m", "2")));
        assert_eq!(names(&shared), ["a", "b"]);
        show(&mut feed, Event::InitDone);
        assert_eq!(names(&shared), ["a", "c"]);
        assert_eq!(told(&mut changes), ["added c", "removed b"]);
    }

    #[test]
    fn a_version_that_is_shown_twice_is_told_once_and_who_has_left_is_forgotten() {
        let (mut feed, shared) = feed::<Flow>();
        show(&mut feed, Event::Init);
        show(&mut feed, Event::InitDone);
        let mut stays = Box::pin(shared.subscribe());
        drop(shared.subscribe());
        for _ in 0..2 {
            show(&mut feed, Event::Apply(flow("a", "1m", "1")));
        }
        assert_eq!(told(&mut stays), ["added a"]);
        assert_eq!(shared.lock().senders.len(), 1);
    }
}
