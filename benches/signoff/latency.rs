//! From a decision or a callback being accepted to the start of the next step's effect.

use std::time::{Duration, Instant};

use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use signoff_api::Run;

use crate::{raw, server::Server, table::Table, target::Target};

/// Times in ascending order.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    fn at(&self, part: f64) -> f64 {
        let index = (self.0.len() as f64 * part).ceil() as usize;
        self.0[index.saturating_sub(1).min(self.0.len() - 1)].as_secs_f64() * 1_000.0
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} / {:.1} ms", self.at(0.5), self.at(0.99))
    }
}

/// Makes the flow that is measured, and gives its name.
pub async fn flow(target: &Target) -> &'static str {
    let service = target.serve().await;
    let call = |name: &str, url: &str| json!({"name": name, "http": {"method": "POST", "url": url, "body": {"callback": "${callback('wait').url}"}}});
    let steps = json!([
        {"name": "review", "approval": {"title": "go?", "selfApproval": true}},
        call("decided", &format!("{service}/${{inputs.run}}")),
        {"name": "wait", "wait": {"callback": {}}},
        call("called", &format!("{service}/${{inputs.run}}")),
    ]);
    target.flow("asking", json!({"steps": steps})).await;
    "asking"
}

pub async fn measure(table: &mut Table, server: &Server, target: &Target, count: usize, when: &str) {
    if when == "idle" {
        flow(target).await;
    }
    let (mut decisions, mut callbacks) = (Vec::new(), Vec::new());
    let http = reqwest::Client::new();
    let runs: Api<Run> = target.api();
    for number in 0..count {
        let name = format!("{when}-{number}").replace(' ', "-");
        runs.create(&PostParams::default(), &target.run(&name, "asking"))
            .await
            .unwrap();
        let question = target.question(&name).await;
        // what is still written about the question is not to be in the way of the answer
        server.operator.rests(Duration::from_millis(50)).await;
        let called = target.calls.expect(&name);
        let accepted = target.approve(&question).await;
        let (started, body) = called.await.unwrap();
        decisions.push(started.saturating_duration_since(accepted));
        until_waiting(&runs, &name).await;
        server.operator.rests(Duration::from_millis(50)).await;
        let called = target.calls.expect(&name);
        let accepted = call_back(&http, &body).await;
        callbacks.push(called.await.unwrap().0.saturating_duration_since(accepted));
    }
    let beside = if when == "idle" {
        let (seen, patched) = raw::watch(target, count).await;
        format!("{seen} (seen by a watch), {patched} (one patch)")
    } else {
        String::new()
    };
    let row = |what: &str| format!("{what} accepted → next step's effect starts, p50 / p99, {when}");
    table.row(&row("decision"), &Latencies::of(decisions).to_string(), &beside);
    table.row(&row("callback"), &Latencies::of(callbacks).to_string(), &beside);
}

async fn until_waiting(runs: &Api<Run>, name: &str) {
    crate::target::until("the wait", async || {
        let status = runs.get(name).await.unwrap().status?;
        let waits = status.steps.iter().any(|step| step.name == "wait");
        waits.then_some(())
    })
    .await;
}

async fn call_back(http: &reqwest::Client, told: &Value) -> Instant {
    let url = told["callback"].as_str().unwrap();
    let answer = http
        .post(url)
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    Instant::now()
}
