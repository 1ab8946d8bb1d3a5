//! Watches that pass over what cannot be decoded, and that do not last long.

use super::decoded::{Decoded, Kind};
use crate::cluster::{context::Context, error_chain};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use kube::{
    Resource,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Config, Event, watcher},
    },
};

/// How many seconds a watch is asked to last: it is taken up again where it was, so that one that hangs unnoticed ends soon. They differ, so
/// that not all are taken up at the same moment.
const SECONDS: std::ops::RangeInclusive<u32> = 20..=25;

/// The same selection, in watches that do not last long.
pub fn watched_briefly(which: Config) -> Config {
    which.timeout(rand::random_range(SECONDS))
}

/// Watches objects of a kind. What cannot be decoded is reported, and is seen by the caller as such.
pub fn watch<K>(
    context: &Context,
    which: Config,
) -> impl Stream<Item = watcher::Result<Event<Decoded<K>>>> + Send + use<K>
where
    K: Kind,
{
    let context = context.clone();
    watcher(context.all::<Decoded<K>>(), watched_briefly(which))
        .default_backoff()
        .inspect(move |event| match event {
            Ok(
                Event::Apply(Decoded::Undecodable(object)) | Event::InitApply(Decoded::Undecodable(object)),
            ) => {
                context.pass_over::<K>(object);
            }
            Ok(_) => {}
            Err(error) => {
                let kind = K::kind(&());
                tracing::warn!(%kind, error = %error_chain(error), "a watch broke; it starts again");
            }
        })
}

/// Watches objects of a kind into a store. One that can no longer be decoded leaves the store, as it would at the next start.
pub fn reflected<K>(
    context: &Context,
    which: Config,
    writer: Writer<K>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Kind,
{
    reflected_as(context, which, writer, |_| {})
}

/// The same, keeping of each object what `slim` leaves of it.
pub fn reflected_as<K>(
    context: &Context,
    which: Config,
    writer: Writer<K>,
    slim: fn(&mut K),
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Kind,
{
    let known = writer.as_reader();
    watch::<K>(context, which)
        .try_filter_map(move |event| future::ok(decoded(event, &known).map(|event| event.modify(slim))))
        .reflect(writer)
}

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
    use kube::{ResourceExt as _, runtime::reflector};
    use serde_json::json;

    use super::*;
    use signoff_api::Flow;

    fn flow(name: &str, duration: &str) -> Decoded<Flow> {
        let text = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Flow",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"},
            "spec": {"steps": [{"name": "pause", "wait": {"duration": duration}}]}});
        Decoded::of(&text.to_string())
    }

    #[test]
    fn what_can_no_longer_be_decoded_leaves_the_store_and_comes_back_when_it_can() {
        let (store, mut writer) = reflector::store::<Flow>();
        let mut show = |event| {
            if let Some(event) = decoded(event, &store) {
                writer.apply_watcher_event(&event);
            }
            let mut names: Vec<_> = store.state().iter().map(|flow| flow.name_any()).collect();
            names.sort();
            names
        };
        show(Event::Init);
        show(Event::InitApply(flow("a", "1m")));
        show(Event::InitApply(flow("bad", "soon")));
        assert_eq!(show(Event::InitDone), ["a"]);
        assert_eq!(show(Event::Apply(flow("b", "1m"))), ["a", "b"]);
        assert_eq!(show(Event::Apply(flow("a", "soon"))), ["b"]);
        assert_eq!(show(Event::Delete(flow("bad", "soon"))), ["b"]);
        assert_eq!(show(Event::Apply(flow("a", "2m"))), ["a", "b"]);
        assert_eq!(show(Event::Delete(flow("a", "soon"))), ["b"]);
    }
}
