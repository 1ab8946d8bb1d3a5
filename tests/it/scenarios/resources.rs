//! Content that is large or binary: kept in the object store, sent on, given out to those who may read it, and collected with
//! its run.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    routing::{get, post},
};
use serde_json::{Value, json};
use signoff_api::{Digest, Resource, Run, run::StepPhase};

use crate::support::{
    faults::{Cut, cut, cut_around_each_write},
    rig::{Rig, eventually},
};

/// A service that gives out a report and takes uploads.
struct Reports {
    address: std::net::SocketAddr,
    report: Bytes,
    /// Digests of what was uploaded.
    uploads: Arc<Mutex<Vec<String>>>,
}

impl Reports {
    async fn open(size: usize) -> Self {
        let report: Bytes = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let uploads = Arc::new(Mutex::new(Vec::new()));
        let (body, taken) = (report.clone(), Arc::clone(&uploads));
        let give = move || async move { ([("content-type", "application/pdf")], body) };
        let take = move |body: Bytes| async move {
            taken.lock().unwrap().push(Digest::of(&body).to_string());
            axum::Json(json!({ "bytes": body.len() }))
        };
        let router = Router::new()
            .route("/report", get(give))
            .route("/upload", post(take))
            .layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            report,
            uploads,
        }
    }

    fn fetch(&self) -> Value {
        json!({"name": "fetch", "http": {"url": format!("http://{}/report", self.address), "save": true}})
    }

    /// A step that uploads what an expression gives.
    fn send(&self, from: &str) -> Value {
        json!({"name": "send", "http": {"url": format!("http://{}/upload", self.address), "from": from}})
    }

    fn uploads(&self) -> Vec<String> {
        self.uploads.lock().unwrap().clone()
    }
}

fn error_of(run: &Run) -> String {
    let error = run.status.as_ref().and_then(|status| status.error.clone());
    error.map(|error| error.reason.to_string()).unwrap_or_default()
}

fn resource_of(run: &Run, step: &str) -> Resource {
    let steps = &run.status.as_ref().unwrap().steps;
    let entry = steps.iter().find(|entry| entry.name == step).unwrap();
    serde_json::from_value(entry.output.clone().unwrap().0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_has_kept_a_later_step_sends_byte_for_byte() {
    let (rig, reports) = (Rig::open().await, Reports::open(7_000_000).await);
    let operator = rig.operator().await;
    let steps = json!([reports.fetch(), reports.send("${steps.fetch.output}")]);
    rig.flow("f", json!({"steps": steps, "output": {"size": "${steps.fetch.output.size}", "sent": "${steps.send.output.bytes}"}}))
        .await;
    rig.start("r", json!({"flow": "f"})).await;
    let run = rig.phase("r", "Succeeded").await;
    operator.stop().await;
    let expected = Digest::of(&reports.report);
    assert_eq!(reports.uploads(), [expected.to_string()]);
    let resource = resource_of(&run, "fetch");
    let reference = format!("res://{}/r/fetch/body", rig.namespace());
    assert_eq!(
        (resource.reference.to_string(), resource.size),
        (reference, 7_000_000)
    );
    assert_eq!(
        (resource.media_type.as_str(), &resource.sha256),
        ("application/pdf", &expected)
    );
    let output = run.status.unwrap().output.unwrap().0;
    assert_eq!(output, json!({"size": 7_000_000, "sent": 7_000_000}));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_a_step_that_needs_one_fails_and_nothing_is_sent() {
    let (rig, reports) = (Rig::open().await, Reports::open(10).await);
    let operator = rig.operator_as(rig.operator_client(), |options| options.store = None);
    let operator = operator.await.unwrap();
    rig.flow("f", json!({"steps": [reports.fetch()]})).await;
    rig.start("r", json!({"flow": "f"})).await;
    assert_eq!(error_of(&rig.phase("r", "Failed").await), "NoStore");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_somebody_writes_is_refused() {
    let (rig, reports) = (Rig::open().await, Reports::open(100).await);
    let operator = rig.operator().await;
    rig.flow("keeps", json!({"steps": [reports.fetch()]})).await;
    rig.flow(
        "sends",
        json!({
            "inputs": {"type": "object", "properties": {"file": {"type": "object"}}, "required": ["file"]},
            "steps": [reports.send("${inputs.file}")],
        }),
    )
    .await;
    rig.start("kept", json!({"flow": "keeps"})).await;
    let kept = rig.phase("kept", "Succeeded").await;
    let file = json!(resource_of(&kept, "fetch"));
    let mut elsewhere = file.clone();
    elsewhere["ref"] = json!("res://elsewhere/kept/fetch/body");
    let mut more = file.clone();
    more["more"] = json!(1);
    for (name, file) in [("a", &file), ("b", &elsewhere), ("c", &more), ("d", &json!({}))] {
        rig.start(name, json!({"flow": "sends", "inputs": {"file": file}}))
            .await;
        let run = rig.phase(name, "Failed").await;
        assert_eq!(
            error_of(&run),
            "NotAResource",
            "{name}: {:?}",
            run.status.unwrap().error
        );
    }
    operator.stop().await;
    assert!(reports.uploads().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_handed_down_to_a_run_that_a_step_starts_and_back_up() {
    let (rig, reports) = (Rig::open().await, Reports::open(2_000_000).await);
    let operator = rig.operator().await;
    let file = json!({"type": "object", "properties": {"file": {"type": "object"}}, "required": ["file"]});
    rig.flow(
        "keeps",
        json!({"steps": [reports.fetch()], "output": {"file": "${steps.fetch.output}"}}),
    )
    .await;
    rig.flow(
        "sends",
        json!({"inputs": file, "steps": [reports.send("${inputs.file}")]}),
    )
    .await;
    let top = json!([
        {"name": "keep", "flow": {"name": "keeps"}},
        {"name": "pass", "flow": {"name": "sends", "inputs": {"file": "${steps.keep.output.file}"}}},
        reports.send("${steps.keep.output.file}"),
    ]);
    rig.flow("top", json!({"steps": top})).await;
    rig.start("r", json!({"flow": "top"})).await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
    let expected = Digest::of(&reports.report).to_string();
    assert_eq!(reports.uploads(), [expected.clone(), expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_of_a_deleted_run_goes_and_that_of_others_stays() {
    let (rig, reports) = (Rig::open().await, Reports::open(2_000_000).await);
    let often = |options: &mut signoff::operator::OperatorOptions| {
        options.collect_every = Duration::from_millis(100);
    };
    let operator = rig.operator_as(rig.operator_client(), often).await.unwrap();
    rig.flow("f", json!({"steps": [reports.fetch()]})).await;
    for name in ["r", "s"] {
        rig.start(name, json!({"flow": "f"})).await;
        rig.phase(name, "Succeeded").await;
    }
    let folder = rig.store_folder().join("runs").join(rig.namespace());
    let names = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let runs = entries.map(|entry| entry.file_name().to_string_lossy()[..1].to_owned());
        let mut runs: Vec<String> = runs.collect();
        runs.sort();
        runs
    };
    assert_eq!(names(), ["r", "s"]);
    rig.delete_run("r").await;
    eventually("the content of the run is gone", || names() == ["s"]).await;
    operator.stop().await;
    // one that is deleted while no operator runs is found by the next one
    rig.delete_run("s").await;
    let operator = rig.operator_as(rig.operator_client(), often).await.unwrap();
    eventually("the content of both is gone", || names().is_empty()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_gives_content_to_those_who_may_read_resources_of_the_run() {
    let (rig, reports) = (Rig::open().await, Reports::open(3_000_000).await);
    let operator = rig.operator().await;
    rig.flow("f", json!({"steps": [reports.fetch()]})).await;
    rig.start("r", json!({"flow": "f"})).await;
    let resource = resource_of(&rig.phase("r", "Succeeded").await, "fetch");
    let ask = async |run: &str, digest: &Digest, token: Option<String>| {
        let url = format!(
            "http://{}/v1/resources/{}/{run}/{}",
            rig.gateway(),
            rig.namespace(),
            digest.hex()
        );
        let request = reqwest::Client::new().get(url);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap()
    };
    let dev = || Some(rig.server.token("dev"));
    let found = ask("r", &resource.sha256, dev()).await;
    assert_eq!(found.status(), 200);
    assert_eq!(found.headers()["content-type"], "application/octet-stream");
    assert_eq!(found.bytes().await.unwrap(), reports.report);
    for (status, run, digest, token) in [
        (401, "r", &resource.sha256, None),
        (401, "r", &resource.sha256, Some("made-up".to_owned())),
        (404, "other", &resource.sha256, dev()),
        (404, "r", &Digest::of(b"other"), dev()),
    ] {
        let refused = ask(run, digest, token).await;
        assert_eq!(refused.status(), status, "{run} {digest}");
        let problem: Value = refused.json().await.unwrap();
        assert!(problem["detail"].is_string(), "{problem}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_cut_off_at_any_write_keeps_and_sends_the_same_content() {
    cut_around_each_write(2, survives).await;
}

/// Plays one run under a cut. Says whether the cut was reached.
async fn survives(at: Cut) -> bool {
    let (rig, reports) = (Rig::open().await, Reports::open(2_000_000).await);
    let operator = rig.operator().await;
    let steps = json!([reports.fetch(), reports.send("${steps.fetch.output}")]);
    rig.flow("f", json!({"steps": steps})).await;
    operator.stop().await;
    let (client, fault) = cut(rig.operator_client(), at);
    let first = rig.operator_with(client).await.ok();
    rig.start("r", json!({"flow": "f"})).await;
    let (reached, second) = rig.play_over(&fault, first, rig.phase("r", "Succeeded")).await;
    let run = rig.phase("r", "Succeeded").await;
    second.stop().await;
    let expected = Digest::of(&reports.report);
    assert_eq!(resource_of(&run, "fetch").sha256, expected, "{at:?}");
    let uploads = reports.uploads();
    assert!(
        !uploads.is_empty() && uploads.iter().all(|sent| *sent == expected.to_string()),
        "{at:?}"
    );
    let steps = run.status.unwrap().steps;
    assert!(
        steps.iter().all(|step| step.phase == StepPhase::Succeeded),
        "{at:?}"
    );
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_read_the_text_of_a_resource_also_after_a_restart() {
    let rig = Rig::open().await;
    let numbers = Router::new()
        .route(
            "/numbers",
            get(|| async { axum::Json(json!({"total": 7, "pad": "x".repeat(100_000)})) }),
        )
        .route("/long", get(|| async { "x".repeat(300_000) }))
        .route(
            "/binary",
            get(|| async { ([("content-type", "application/zip")], vec![0xff_u8; 10]) }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, numbers).await });
    let fetch = |path: &str| json!({"name": "fetch", "http": {"url": format!("http://{address}{path}"), "save": true}});
    let operator = rig.operator().await;
    let steps = json!([
        fetch("/numbers"),
        {"name": "ask", "approval": {"title": "${json.decode(read(steps.fetch.output)).total} of them?"}},
        {"name": "then", "set": {"total": "${json.decode(read(steps.fetch.output)).total + 1}"}},
    ]);
    rig.flow(
        "f",
        json!({"steps": steps, "output": {"total": "${steps.then.output.total}"}}),
    )
    .await;
    for (name, path) in [("long", "/long"), ("binary", "/binary")] {
        let steps = json!([fetch(path), {"name": "then", "set": {"x": "${read(steps.fetch.output)}"}}]);
        rig.flow(name, json!({"steps": steps})).await;
        rig.start(name, json!({"flow": name})).await;
    }
    rig.start("r", json!({"flow": "f"})).await;
    let question = rig.asked("r-ask").await;
    assert_eq!(question.spec.title, "7 of them?");
    for (name, expected) in [
        ("long", "at most 262144 are read"),
        ("binary", "is not text in UTF-8"),
    ] {
        let run = rig.phase(name, "Failed").await;
        let error = run.status.unwrap().error.unwrap();
        assert_eq!(error.reason.to_string(), "ExpressionFailed", "{name}");
        assert!(error.message.contains(expected), "{name}: {}", error.message);
    }
    operator.stop().await;
    let operator = rig.operator().await;
    rig.decide("alice", "r-ask", "Approve").await;
    let run = rig.phase("r", "Succeeded").await;
    operator.stop().await;
    assert_eq!(run.status.unwrap().output.unwrap().0, json!({"total": 8}));
}
