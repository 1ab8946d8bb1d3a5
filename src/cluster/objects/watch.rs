//! Watches that pass over what cannot be decoded, and that do not last long.

use super::decoded::{Decoded, Kind};
use crate::cluster::{context::Context, error_chain};
use futures::{Stream, StreamExt as _};
use kube::runtime::{
    WatchStreamExt as _,
    watcher::{self, Config, Event, watcher},
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
