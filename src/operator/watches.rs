//! Watches that several controllers share, each object held once.

use std::future::Future;

use futures::StreamExt as _;
use kube::runtime::{
    WatchStreamExt as _,
    reflector::{self, Store},
    watcher::{self, watcher},
};

use crate::{
    api::{Flow, flow::Definition},
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
