//! Watches that several controllers share, each object held once.

use std::{collections::HashMap, future::Future};

use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher::{self, Event, watcher},
    },
};

use crate::{
    api::{Connection, Flow, flow::Definition},
    controllers::{context::Context, error_chain, run::RunWaker},
};

/// Flows, for their live and draft releases.
pub(super) fn flows(
    context: &Context,
    waker: RunWaker,
) -> (Store<Flow>, impl Future<Output = ()> + Send + 'static) {
    let (store, writer) = reflector::store::<Flow>();
    let events = watcher(context.all::<Flow>(), watcher::Config::default())
        .default_backoff()
        .modify(|flow| {
            flow.metadata.managed_fields = None;
            // runs go by the release; the definition would only fill the memory
            flow.spec.definition = Definition {
                description: None,
                inputs: None,
                steps: Vec::new(),
                output: None,
                promotion: None,
            };
        })
        .reflect(writer);
    let watch = async move {
        let mut touched = std::pin::pin!(events.touched_objects());
        while let Some(event) = touched.next().await {
            match event {
                Ok(flow) => waker.flow_changed(&flow),
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "the watch of flows broke; it starts again");
                }
            }
        }
    };
    (store, watch)
}

/// Connections, for what people are shown of where steps call. Runs that people decide on are told of each change.
pub(super) fn connections(
    context: &Context,
    waker: RunWaker,
) -> (Store<Connection>, impl Future<Output = ()> + Send + 'static) {
    let (store, writer) = reflector::store::<Connection>();
    let events = watcher(context.all::<Connection>(), watcher::Config::default())
        .default_backoff()
        .modify(|connection| connection.metadata.managed_fields = None)
        .reflect(writer);
    let watch = async move {
        let mut events = std::pin::pin!(events);
        // the generation counts changes of the spec
        let mut known: HashMap<(String, String), Option<i64>> = HashMap::new();
        let mut listed = false;
        while let Some(event) = events.next().await {
            let (connection, is_there) = match event {
                Ok(Event::Init) => continue,
                Ok(Event::InitDone) => {
                    // one that is gone meanwhile is in no event
                    for (namespace, _) in known.keys().filter(|_| listed) {
                        waker.connection_changed(namespace);
                    }
                    listed = true;
                    continue;
                }
                Ok(Event::Apply(connection) | Event::InitApply(connection)) => (connection, true),
                Ok(Event::Delete(connection)) => (connection, false),
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "the watch of connections broke; it starts again");
                    continue;
                }
            };
            let namespace = connection.namespace().unwrap_or_default();
            let key = (namespace.clone(), connection.name_any());
            let generation = connection.metadata.generation;
            let changed = if is_there {
                known.insert(key, generation) != Some(generation)
            } else {
                known.remove(&key).is_some()
            };
            if changed && listed {
                waker.connection_changed(&namespace);
            }
        }
    };
    (store, watch)
}
