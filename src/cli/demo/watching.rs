//! Waits until an object is as the story needs it, by watching.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;

use super::DemoError;

/// Longest wait for one thing to happen; far above what it takes even on a busy machine.
pub(super) const CAP: Duration = Duration::from_secs(60);

/// The first object that the watch shows and that passes.
pub(super) async fn until<K>(
    api: Api<K>,
    selection: watcher::Config,
    what: &str,
    passes: impl Fn(&K) -> bool,
    describe: impl Fn(&K) -> String,
) -> Result<K, DemoError>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut seen = "nothing".to_owned();
    let search = async {
        let stream = watcher(api, selection).default_backoff().applied_objects();
        pin_mut!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(object) if passes(&object) => return Some(object),
                Ok(object) => seen = describe(&object),
                Err(error) => seen = error.to_string(),
            }
        }
        None
    };
    match tokio::time::timeout(CAP, search).await {
        Ok(Some(object)) => Ok(object),
        _ => Err(DemoError::NotSeen {
            what: what.to_owned(),
            within: CAP,
            seen,
        }),
    }
}

/// Waits for one named object.
pub(super) async fn until_named<K>(
    api: Api<K>,
    name: &str,
    what: &str,
    passes: impl Fn(&K) -> bool,
    describe: impl Fn(&K) -> String,
) -> Result<K, DemoError>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let selection = watcher::Config::default().fields(&format!("metadata.name={name}"));
    until(api, selection, what, passes, describe).await
}
