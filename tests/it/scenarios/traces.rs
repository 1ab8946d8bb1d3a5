//! A run has one trace, over restarts, and the services that its steps call are told of it.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message as _;
use serde_json::json;
use signoff::{
    net::{AddressPolicy, Network},
    traces::TraceExporter,
};
use signoff_api::Approval;
use tokio::net::TcpListener;

use crate::support::rig::{Rig, Running, eventually};

/// A service that steps call, and a receiver of traces that is away at first.
#[derive(Clone)]
struct Outside {
    url: String,
    asked: Arc<Mutex<Vec<HeaderMap>>>,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Outside {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            spans: Arc::default(),
        };
        let (asked, spans) = (Arc::clone(&outside.asked), Arc::clone(&outside.spans));
        let called = post(move |headers: HeaderMap| async move {
            asked.lock().unwrap().push(headers);
            Json(json!({}))
        });
        let refused = Arc::<Mutex<usize>>::default();
        let taken = post(move |body: Bytes| async move {
            let mut refused = refused.lock().unwrap();
            *refused += 1;
            if *refused <= 2 {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let found = request.resource_spans.into_iter().flat_map(|one| one.scope_spans);
            spans.lock().unwrap().extend(found.flat_map(|one| one.spans));
            StatusCode::OK
        });
        let routes = Router::new().route("/call", called).route("/v1/traces", taken);
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        outside
    }

    async fn operator(&self, rig: &Rig) -> Running {
        let network = Network::new(AddressPolicy::local());
        let exporter = TraceExporter::new(&self.url.parse().unwrap(), &network).unwrap();
        rig.operator_as(rig.operator_client(), |options| options.traces = Some(exporter))
            .await
            .unwrap()
    }

    fn call(&self) -> serde_json::Value {
        json!({"method": "POST", "url": format!("{}/call", self.url), "body": {}})
    }
}

fn traceparent(span: &Span) -> String {
    let trace = u128::from_be_bytes(span.trace_id.as_slice().try_into().unwrap());
    let id = u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap());
    format!("00-{trace:032x}-{id:016x}-01")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_outlives_its_operator_has_one_trace_which_its_calls_belong_to() {
    let (rig, outside) = (Rig::open().await, Outside::open().await);
    let first = outside.operator(&rig).await;
    let steps = json!([
        {"name": "quote", "http": outside.call()},
        {"name": "review", "approval": {"title": "go?"}},
        {"name": "pay", "http": outside.call()},
    ]);
    rig.flow("f", json!({ "steps": steps })).await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.until::<Approval>("r-review", |_| true).await;
    first.stop().await;
    assert!(outside.spans.lock().unwrap().is_empty());

    let second = outside.operator(&rig).await;
    rig.decide("alice", "r-review", "Approve").await;
    rig.phase("r", "Succeeded").await;
    eventually("the trace arrives", || !outside.spans.lock().unwrap().is_empty()).await;
    second.stop().await;

    let spans = outside.spans.lock().unwrap().clone();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["f", "quote", "review", "pay"]);
    let asked = outside.asked.lock().unwrap().clone();
    let told: Vec<&str> = asked
        .iter()
        .map(|headers| headers["traceparent"].to_str().unwrap())
        .collect();
    let expected = [&spans[1], &spans[3]].map(traceparent);
    assert_eq!(told, expected);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_receiver_services_are_told_of_no_trace() {
    let (rig, outside) = (Rig::open().await, Outside::open().await);
    let operator = rig.operator().await;
    rig.flow("f", json!({"steps": [{"name": "call", "http": outside.call()}]}))
        .await;
    rig.start("r", json!({"flow": "f"})).await;
    rig.phase("r", "Succeeded").await;
    operator.stop().await;
    let asked = outside.asked.lock().unwrap().clone();
    assert!(!asked[0].contains_key("traceparent"));
}
