//! What the API server does without Signoff.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;
use signoff::api::Run;

use crate::{latency::Latencies, load::at_once, server::Server, target::Target};

/// The same writes as runs need: a create and so many patches of about a kilobyte. Nothing reacts to them.
pub async fn writes(
    server: &Server,
    target: &Target,
    runs: usize,
    patches: usize,
    clients: usize,
) -> Duration {
    let pool: Vec<Api<Run>> = (0..clients)
        .map(|_| Api::namespaced(server.client(), &target.raw))
        .collect();
    let filler = "x".repeat(900);
    at_once(runs, clients, async |number| {
        let api = &pool[number % clients];
        let mut run = target.run(&format!("raw-{number}"), "none");
        let finished = ("signoff.dev/finished".to_owned(), "true".to_owned());
        run.metadata.labels = Some([finished].into());
        api.create(&PostParams::default(), &run).await.unwrap();
        for patch in 0..patches {
            let patch = json!({"metadata": {"annotations": {"bench": format!("{patch}-{filler}")}}});
            let name = run.metadata.name.as_ref().unwrap();
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
        }
    })
    .await
}

/// From a write being accepted to a watch showing it, and the time one patch takes.
pub async fn watch(target: &Target, count: usize) -> (Latencies, Latencies) {
    let api: Api<Run> = Api::namespaced(target.client.clone(), &target.raw);
    let mut events = watcher(api.clone(), watcher::Config::default().labels("bench=watch")).boxed();
    let (mut seen, mut patched) = (Vec::new(), Vec::new());
    while !matches!(events.next().await, Some(Ok(watcher::Event::InitDone))) {}
    for number in 0..count {
        let mut run = target.run(&format!("watch-{number}"), "none");
        let labels = [("signoff.dev/finished", "true"), ("bench", "watch")];
        run.metadata.labels = Some(
            labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        );
        let creating = async {
            api.create(&PostParams::default(), &run).await.unwrap();
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
            run.metadata.name.as_ref().unwrap(),
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
