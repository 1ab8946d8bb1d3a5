//! Watches that several controllers share, each object held once.

use std::future::Future;

use futures::{StreamExt as _, channel::mpsc};
use kube::runtime::{
    WatchStreamExt as _,
    reflector::{self, ObjectRef, Store},
    watcher::{self, Event, watcher},
};

use crate::{
    api::{Approval, Flow, flow::Definition},
    controllers::{approval::Changes, context::Context, error_chain, run::RunWaker},
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

/// Approvals, for their controller and for the runs that wait for them.
pub(super) fn approvals(
    context: &Context,
    waker: RunWaker,
) -> (
    Store<Approval>,
    Changes,
    impl Future<Output = ()> + Send + 'static,
) {
    let (store, writer) = reflector::store::<Approval>();
    let (sender, changes) = mpsc::unbounded();
    let events = watcher(context.all::<Approval>(), watcher::Config::default())
        .default_backoff()
        .modify(|approval| {
            approval.metadata.managed_fields = None;
            // what is shown is bound by the digest, and judged by people only
            approval.spec.show = Vec::new();
        })
        .reflect(writer);
    let known = store.clone();
    let watch = async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let (approval, gone) = match event {
                Ok(Event::Apply(approval) | Event::InitApply(approval)) => (approval, false),
                Ok(Event::Delete(approval)) => (approval, true),
                Ok(Event::InitDone) => {
                    // before this moment the store does not show what the listing has brought
                    for approval in known.state() {
                        waker.approval_changed(&approval, false);
                        let _ = sender.unbounded_send(ObjectRef::from_obj(&*approval));
                    }
                    continue;
                }
                Ok(Event::Init) => continue,
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "the watch of approvals broke; it starts again");
                    continue;
                }
            };
            waker.approval_changed(&approval, gone);
            if sender.unbounded_send(ObjectRef::from_obj(&approval)).is_err() {
                return;
            }
        }
    };
    (store, changes, watch)
}
