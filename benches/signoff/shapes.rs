//! Runs of other shapes than a few steps in a row: many items, many steps, polling, a queue, and events from outside.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use signoff_api::Run;

use crate::{Args, ends::Ends, load::at_once, raw, server::Server, table::Table, target::Target};

const SECRET: &str = "a secret of the benchmark";

/// What the steps call.
#[derive(Clone, Debug, Default)]
struct Service {
    calls: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
}

impl Service {
    async fn serve(&self) -> String {
        let service = self.clone();
        let answer = async move || {
            service.calls.fetch_add(1, Ordering::Relaxed);
            axum::Json(json!({"done": service.done.load(Ordering::Relaxed)}))
        };
        let router = Router::new().route("/", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

pub async fn measure(table: &mut Table, server: &Server, target: &Target, args: &Args) {
    let service = Service::default();
    let url = service.serve().await;
    if args.items > 0 {
        eprintln!("one run of {} items", args.items);
        let items: Vec<_> = (0..args.items).collect();
        let steps = json!([{"name": "each", "forEach": {"items": items}, "http": {"url": url}}]);
        target.flow("items", json!({"steps": steps})).await;
        one(
            table,
            server,
            target,
            "items",
            &format!("{} items that call", args.items),
        )
        .await;
    }
    if args.steps > 0 {
        eprintln!("one run of {} steps", args.steps);
        let step = |number: usize| json!({"name": format!("s{number}"), "http": {"url": url}});
        let steps: Vec<_> = (0..args.steps).map(step).collect();
        target.flow("steps", json!({"steps": steps})).await;
        one(
            table,
            server,
            target,
            "steps",
            &format!("{} steps that call", args.steps),
        )
        .await;
    }
    if args.polling > 0 {
        eprintln!("{} runs that poll", args.polling);
        polling(table, server, target, args, &service, &url).await;
    }
    if args.queued > 0 {
        eprintln!("{} runs in one queue", args.queued);
        queue(table, server, target, args).await;
    }
    if args.events > 0 {
        eprintln!("{} events", args.events);
        events(table, server, target, args).await;
    }
}

/// One run alone, from its creation to its end.
async fn one(table: &mut Table, server: &Server, target: &Target, flow: &str, what: &str) {
    server.operator.rests(Duration::from_millis(500)).await;
    let before = server.writes().await;
    let mut ends = Ends::watch(target).await;
    let began = Instant::now();
    let run = target.run(&format!("{flow}-0"), flow);
    target
        .api::<Run>()
        .create(&PostParams::default(), &run)
        .await
        .unwrap();
    let took = ends.succeeded(flow, 1).await - began;
    server.operator.rests(Duration::from_millis(500)).await;
    let writes = server.writes().await - before;
    table.row(
        &format!("one run of {what}, and the operator's writes for it"),
        &format!("{:.2} s, {writes:.0}", took.as_secs_f64()),
        "",
    );
}

/// Creates these runs of a flow.
async fn create(server: &Server, target: &Target, args: &Args, flow: &str, count: usize) {
    let pool: Vec<Api<Run>> = (0..args.clients)
        .map(|_| Api::namespaced(server.client(), &target.namespace))
        .collect();
    at_once(count, pool.len(), async |number| {
        let run = target.run(&format!("{flow}-{number}"), flow);
        pool[number % pool.len()]
            .create(&PostParams::default(), &run)
            .await
            .unwrap();
    })
    .await;
}

async fn polling(
    table: &mut Table,
    server: &Server,
    target: &Target,
    args: &Args,
    service: &Service,
    url: &str,
) {
    let every = 10;
    let repeat = json!({"until": "${steps.poll.output.done}", "every": format!("{every}s"), "max": 10_000});
    let steps = json!([{"name": "poll", "http": {"url": url}, "repeat": repeat}]);
    target.flow("polling", json!({"steps": steps})).await;
    let mut ends = Ends::watch(target).await;
    create(server, target, args, "polling", args.polling).await;
    tokio::time::sleep(Duration::from_secs(every)).await;
    let writes = server.writes().await;
    let calls = service.calls.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let writes = server.writes().await - writes;
    let calls = service.calls.load(Ordering::Relaxed) - calls;
    service.done.store(true, Ordering::Relaxed);
    ends.succeeded("polling", args.polling).await;
    let polls = args.polling * 60 / usize::try_from(every).unwrap();
    table.row(
        &format!(
            "{} runs that ask every {every} s: API writes, and calls, in a minute",
            args.polling
        ),
        &format!("{writes:.0}, {calls} of {polls}"),
        "",
    );
}

async fn queue(table: &mut Table, server: &Server, target: &Target, args: &Args) {
    let steps = json!([{"name": "a", "set": {"x": "${1 + 1}"}}]);
    let concurrency = json!({"key": "one", "whenFull": "Queue"});
    target
        .flow("queued", json!({"steps": steps, "concurrency": concurrency}))
        .await;
    server.operator.rests(Duration::from_millis(500)).await;
    let before = server.writes().await;
    let mut ends = Ends::watch(target).await;
    let began = Instant::now();
    let (ended, ()) = tokio::join!(
        ends.succeeded("queued", args.queued),
        create(server, target, args, "queued", args.queued)
    );
    let took = ended - began;
    server.operator.rests(Duration::from_millis(500)).await;
    let writes = (server.writes().await - before) / args.queued as f64;
    let alone = raw::writes(server, target, "queued", args.queued, 2, args.clients).await;
    let rate = |took: Duration| args.queued as f64 / took.as_secs_f64();
    table.row(
        &format!(
            "{} runs of one key, one at a time, per second, and writes for one",
            args.queued
        ),
        &format!("{:.0}, {writes:.2}", rate(took)),
        &format!(
            "{:.0} (create and 2 patches of 1 kB, {} at a time)",
            rate(alone),
            args.clients
        ),
    );
}

async fn events(table: &mut Table, server: &Server, target: &Target, args: &Args) {
    let mut secret = Secret::default();
    secret.metadata.name = Some("events".to_owned());
    secret.data = Some([("key".to_owned(), ByteString(SECRET.into()))].into());
    let params = PostParams::default();
    target.api::<Secret>().create(&params, &secret).await.unwrap();
    let trigger = json!({"name": "hook", "inputs": {"run": "${body.n}"},
        "webhook": {"auth": {"bearer": {"name": "events", "key": "key"}}}});
    let steps = json!([{"name": "a", "set": {"x": "${inputs.run}"}}]);
    target
        .flow("events", json!({"steps": steps, "triggers": [trigger]}))
        .await;
    let url = format!(
        "{}/v1/triggers/{}/events/hook",
        server.operator.gateway(),
        target.namespace
    );
    let client = reqwest::Client::new();
    let mut ends = Ends::watch(target).await;
    let began = Instant::now();
    let sending = at_once(args.events, args.clients, async |number| {
        send(&client, &url, number).await;
    });
    let (ended, accepted) = tokio::join!(ends.succeeded("events", args.events), sending);
    let took = ended - began;
    let alone = raw::writes(server, target, "events", args.events, 1, args.clients).await;
    let rate = |took: Duration| args.events as f64 / took.as_secs_f64();
    table.row(
        &format!(
            "{} webhook events: accepted, and run to the end, per second",
            args.events
        ),
        &format!("{:.0}, {:.0}", rate(accepted), rate(took)),
        &format!("{:.0} (create and a patch of 1 kB)", rate(alone)),
    );
}

async fn send(client: &reqwest::Client, url: &str, number: usize) {
    let answer = client
        .post(url)
        .bearer_auth(SECRET)
        .header("webhook-id", number.to_string())
        .json(&json!({"n": number.to_string()}))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let said: Value = answer.json().await.unwrap_or_default();
    assert_eq!(status, 202, "{said}");
}
