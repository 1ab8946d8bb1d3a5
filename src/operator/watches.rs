//! Watches that several controllers share, each object held once.

use std::{collections::HashMap, future::Future};

use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher::{self, Event},
    },
};

use crate::{
    cluster::{context::Context, objects::reflected_as},
    runs::RunWaker,
};
use signoff_api::{Connection, Flow, flow::Definition};

/// Flows, for their live and draft releases.
pub(super) fn flows(
    context: &Context,
    waker: RunWaker,
) -> (Store<Flow>, impl Future<Output = ()> + Send + 'static) {
    let (store, writer) = reflector::store::<Flow>();
    let events = reflected_as(context, watcher::Config::default(), writer, |flow| {
        flow.metadata.managed_fields = None;
        // runs go by the release; the definition would only fill the memory
        flow.spec.definition = Definition {
            description: None,
            inputs: None,
            steps: Vec::new(),
            finally: None,
            output: None,
            promotion: None,
        };
    });
    let watch = async move {
        let mut touched = std::pin::pin!(events.touched_objects());
        while let Some(event) = touched.next().await {
            // a watch that broke starts again
            if let Ok(flow) = event {
                waker.flow_changed(&flow);
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
    let slim = |connection: &mut Connection| connection.metadata.managed_fields = None;
    let events = reflected_as(context, watcher::Config::default(), writer, slim);
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
                // a watch that broke starts again
                Err(_) => continue,
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
