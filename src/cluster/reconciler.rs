//! What the controllers that hold their objects in a store have in common: one object at a time, timers, failures that stay with their object.

use std::{collections::HashMap, convert::Infallible, fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future::BoxFuture, stream};
use kube::{
    Resource,
    runtime::{
        controller::{Action, Config, ReconcileRequest, applier},
        reflector::{ObjectRef, Store},
    },
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoffs,
    context::Context,
    object_key::ObjectKey,
    parts::caught,
    timers::{Again, Timers, Wake},
};

/// The work on one object.
pub type Work<E> = BoxFuture<'static, Result<Again, E>>;

/// What a controller does with objects of a kind.
pub struct Reconciler<K, C, E> {
    /// What it is called in metrics.
    pub name: &'static str,
    /// How many objects are worked on at the same time; 0 is as many as there are.
    pub concurrency: u16,
    /// Brings an object forward.
    pub reconcile: fn(Arc<K>, Arc<C>) -> Work<E>,
    /// Says that it failed. Gives the pause before the next try.
    pub failed: fn(&K, &E, &C) -> Duration,
}

impl<K, C, E> std::fmt::Debug for Reconciler<K, C, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K, C, E> Reconciler<K, C, E>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
    E: Send + 'static,
{
    /// Works on the objects of a store, as `queue` names them and as they asked for, until `shutdown`.
    pub async fn run(
        self,
        context: &Context,
        shared: Arc<C>,
        objects: Store<K>,
        queue: impl Stream<Item = ObjectRef<K>> + Send + 'static,
        shutdown: CancellationToken,
    ) {
        let (orders, ordered) = unbounded_channel();
        let rings = rings(context.timers(), ordered)
            .map(|key: ObjectKey<K>| ObjectRef::new(key.name()).within(key.namespace()));
        let queue = stream::select(queue.boxed(), rings.boxed())
            .map(|object| Ok::<_, Infallible>(ReconcileRequest::from(object)))
            .take_until(shutdown.cancelled_owned());
        let panics = Arc::new(Backoffs::default());
        let work = |object: Arc<K>, shared: Arc<C>| {
            let (context, orders, panics) = (context.clone(), orders.clone(), Arc::clone(&panics));
            let Self {
                name,
                reconcile,
                failed,
                ..
            } = self;
            Box::pin(async move {
                let key = ObjectKey::of(&*object);
                let working = async {
                    let result = reconcile(Arc::clone(&object), Arc::clone(&shared)).await;
                    result.unwrap_or_else(|error| Some(Wake::After(failed(&object, &error, &shared))))
                };
                let again = match caught(working).await {
                    Ok(again) => {
                        panics.succeeded(&key);
                        again
                    }
                    Err(panic) => {
                        context.panicked(name, &key, &panic);
                        Some(Wake::After(panics.failed(key.clone())))
                    }
                };
                // the receiver is gone only when the operator ends
                let _ = orders.send((key, again));
                Ok::<_, Infallible>(Action::await_change())
            })
        };
        let mut config = Config::default();
        if self.concurrency > 0 {
            config = config.concurrency(self.concurrency);
        }
        let never = |_, error: &Infallible, _| match *error {};
        applier(work, never, shared, objects, queue, config)
            .for_each(|_| std::future::ready(()))
            .await;
    }
}

/// The objects whose time has come. Each waits for one time only, the one that was ordered last.
fn rings<K: 'static>(
    timers: Timers<ObjectKey<K>>,
    orders: UnboundedReceiver<(ObjectKey<K>, Again)>,
) -> impl Stream<Item = ObjectKey<K>> + Send {
    let waiting = HashMap::new();
    stream::unfold(
        (timers, orders, waiting),
        |(mut timers, mut orders, mut waiting)| async move {
            loop {
                tokio::select! {
                    biased;
                    order = orders.recv() => {
                        let (key, again) = order?;
                        if let Some(due) = waiting.remove(&key) {
                            timers.remove(key.clone(), due);
                        }
                        if let Some(wake) = again {
                            waiting.insert(key.clone(), timers.insert(key, wake));
                        }
                    }
                    Some(key) = timers.next() => {
                        waiting.remove(&key);
                        return Some((key, (timers, orders, waiting)));
                    }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::{api::core::v1::ConfigMap, jiff::Timestamp};
    use kube::{
        Client, ResourceExt as _,
        client::Body,
        core::ObjectMeta,
        runtime::{reflector, watcher::Event},
    };

    use super::*;
    use crate::cluster::context::Clock;

    #[derive(Debug, thiserror::Error)]
    #[error("it failed")]
    struct Failed;

    /// What was worked on, and the order to stop.
    #[derive(Default)]
    struct Log {
        names: Mutex<Vec<String>>,
        stop: CancellationToken,
    }

    impl Log {
        fn times(&self, name: &str) -> usize {
            self.names
                .lock()
                .unwrap()
                .iter()
                .filter(|done| *done == name)
                .count()
        }
    }

    #[allow(clippy::unused_async, reason = "a reconciler is asynchronous")]
    async fn work(object: Arc<ConfigMap>, log: Arc<Log>) -> Result<Again, Failed> {
        let name = object.name_any();
        log.names.lock().unwrap().push(name.clone());
        if log.times("good") >= 3 && log.times("panics") >= 2 && log.times("fails") >= 2 {
            log.stop.cancel();
        }
        match &*name {
            "panics" => panic!("a defect that this object shows"),
            "fails" => Err(Failed),
            _ => Ok(Some(Wake::After(Duration::from_millis(10)))),
        }
    }

    #[tokio::test]
    async fn an_object_whose_work_panics_is_tried_again_by_itself_and_holds_no_other_up() {
        let (store, mut writer) = reflector::store::<ConfigMap>();
        let names = ["panics", "good", "fails"];
        writer.apply_watcher_event(&Event::Init);
        for name in names {
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some("ns".to_owned()),
                ..ObjectMeta::default()
            };
            let object = ConfigMap {
                metadata,
                ..ConfigMap::default()
            };
            writer.apply_watcher_event(&Event::InitApply(object));
        }
        writer.apply_watcher_event(&Event::InitDone);
        let nobody = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, kube::Error>>()
        });
        let clock = Clock::from_fn(Timestamp::now).looked_at_every(Duration::from_millis(5));
        let context = Context::new(Client::new(nobody, "ns"), clock);
        let queue = stream::iter(names.map(|name| ObjectRef::new(name).within("ns")));
        let log = Arc::new(Log::default());
        let reconciler = Reconciler {
            name: "ConfigMap",
            concurrency: 4,
            reconcile: |object, log| Box::pin(work(object, log)),
            failed: |_, _: &Failed, _| Duration::from_millis(1),
        };
        let queue = queue.chain(stream::pending());
        reconciler
            .run(&context, Arc::clone(&log), store, queue, log.stop.clone())
            .await;
        let metrics = context.metrics().render().unwrap();
        assert!(
            metrics.contains("kind=\"ConfigMap\",class=\"Defect\"")
                || metrics.contains("class=\"Defect\",kind=\"ConfigMap\""),
            "{metrics}"
        );
    }
}
