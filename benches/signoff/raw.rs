//! What the API server does without Signoff.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;
use signoff_api::Connection;

use crate::{latency::Latencies, load::at_once, server::Server, target::Target};

/// An object of one of our kinds that nothing watches.
fn connection(name: &str) -> Connection {
    let object = json!({"apiVersion": "signoff.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name},
        "spec": {"http": {"baseURL": "http://127.0.0.1"}}});
    serde_json::from_value(object).unwrap()
}

/// The same writes as runs need: a create and so many patches of about a kilobyte. Nothing reacts to them.
pub async fn writes(
    server: &Server,
    target: &Target,
    name: &str,
    runs: usize,
    patches: usize,
    clients: usize,
) -> Duration {
    let pool: Vec<Api<Connection>> = (0..clients)
        .map(|_| Api::namespaced(server.client(), &target.raw))
        .collect();
    let filler = "x".repeat(900);
    at_once(runs, clients, async |number| {
        let api = &pool[number % clients];
        let object = connection(&format!("{name}-{number}"));
        api.create(&PostParams::default(), &object).await.unwrap();
        for patch in 0..patches {
            let patch = json!({"metadata": {"annotations": {"bench": format!("{patch}-{filler}")}}});
            let name = object.metadata.name.as_ref().unwrap();
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
        }
    })
    .await
}

/// From a write being accepted to a watch showing it, and the time one patch takes.
pub async fn watch(target: &Target, count: usize) -> (Latencies, Latencies) {
    let api: Api<Connection> = Api::namespaced(target.client.clone(), &target.raw);
    let mut events = watcher(api.clone(), watcher::Config::default().labels("bench=watch")).boxed();
    let (mut seen, mut patched) = (Vec::new(), Vec::new());
    while !matches!(events.next().await, Some(Ok(watcher::Event::InitDone))) {}
    for number in 0..count {
        let mut object = connection(&format!("watch-{number}"));
        object.metadata.labels = Some([("bench".to_owned(), "watch".to_owned())].into());
        let creating = async {
            api.create(&PostParams::default(), &object).await.unwrap();
            Instant::now()
        };
        let watching = async {
            while !matches!(events.next().await, Some(Ok(watcher::Event::Apply(_)))) {}
            Instant::now()
        };
        let (created, shown) = tokio::join!(creating, watching);
        seen.push(shown.saturating_duration_since(created));
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"bench": "x"}}}));
        let began = Instant::now();
        api.patch(
            object.metadata.name.as_ref().unwrap(),
            &PatchParams::default(),
            &patch,
        )
        .await
        .unwrap();
        patched.push(began.elapsed());
        while !matches!(events.next().await, Some(Ok(watcher::Event::Apply(_)))) {}
    }
    (Latencies::of(seen), Latencies::of(patched))
}
